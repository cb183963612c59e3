//! The stored row of each primary key, and where it is now: in memory if it changed since the last checkpoint, else in
//! the store. A random-key insert per change would cap the writer at 80 k changes a second; the journal makes a change
//! durable, and a checkpoint writes the changed rows in key order.

use std::collections::hash_map::Entry as MapEntry;

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::ROWS;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};
use rustc_hash::FxHashMap;

use crate::event::{Cell, Format, Id, Row, Table};

const ROW_VERSION: u8 = 1;
const LIVE: u8 = 0x80;
const RAISED: u8 = 0x40;
/// Bytes that the map spends on a changed row besides its own.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The version of a row (N6): the log sequence number decides within an epoch, the offset between equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    pub epoch: u16,
    /// 0 where the format carries none.
    pub lsn: u64,
    pub offset: i64,
}

impl Version {
    /// One number of the same order, for ClickHouse: 16 bits of epoch, 64 of LSN, 48 of offset.
    pub fn number(&self) -> u128 {
        const OFFSET_MASK: i64 = (1 << 48) - 1;
        u128::from(self.epoch) << 112 | u128::from(self.lsn) << 48 | (self.offset & OFFSET_MASK) as u128
    }
}

/// What is stored under a primary key, its cells still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow<'a> {
    pub version: Version,
    pub format: Format,
    /// The LSN that the record came with, where the version's was raised above it. A null value deletes, has no LSN, and can
    /// be repeated by the connector: the older rows repeated after it have lower LSNs, and must have higher versions.
    pub raised_from: Option<u64>,
    /// Time of the source's commit, epoch microseconds; `None` where the format does not carry it.
    pub source_ts_us: Option<i64>,
    /// The encoded cells; `None` is a tombstone.
    pub cells: Option<&'a [u8]>,
}

impl<'a> StoredRow<'a> {
    pub fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(32 + self.cells.map_or(0, <[u8]>::len));
        out.put_u8(ROW_VERSION);
        let (live, raised) = (self.cells.is_some(), self.raised_from.is_some());
        out.put_u8(self.format as u8 | if live { LIVE } else { 0 } | if raised { RAISED } else { 0 });
        out.put_varint(u64::from(self.version.epoch));
        out.put_varint(self.version.lsn);
        self.raised_from.into_iter().for_each(|lsn| out.put_varint(lsn));
        out.put_zigzag(self.version.offset);
        // Zero is a time of its own, so absence takes a value that no commit has.
        out.put_zigzag(self.source_ts_us.unwrap_or(i64::MIN));
        out.put_fixed(self.cells.unwrap_or_default());
        out.into_boxed_slice()
    }

    pub fn decode(bytes: &'a [u8]) -> Result<StoredRow<'a>, CodecError> {
        const WHAT: &str = "stored row";
        let (mut reader, _) = Reader::versioned(WHAT, bytes, ROW_VERSION)?;
        let flags = reader.u8()?;
        let format = match flags & !(LIVE | RAISED) {
            0 => Format::Envelope,
            1 => Format::FlatRewrite,
            2 => Format::FlatTombstone,
            _ => return Err(CodecError::Invalid(WHAT)),
        };
        let epoch = u16::try_from(reader.varint()?).map_err(|_| CodecError::Invalid(WHAT))?;
        let lsn = reader.varint()?;
        let raised_from = if flags & RAISED != 0 { Some(reader.varint()?) } else { None };
        let version = Version { epoch, lsn, offset: reader.zigzag()? };
        let source_ts_us = Some(reader.zigzag()?).filter(|ts| *ts != i64::MIN);
        let cells = reader.rest();
        let live = flags & LIVE != 0;
        if !live && !cells.is_empty() {
            return Err(CodecError::Trailing(WHAT));
        }
        Ok(StoredRow { version, format, raised_from, source_ts_us, cells: live.then_some(cells) })
    }

    /// The LSN that the next record is compared with; nothing is older than a null value that deleted.
    pub fn lsn(&self) -> u64 {
        match self.cells.is_none() && self.format == Format::FlatTombstone {
            true => 0,
            false => self.raised_from.unwrap_or(self.version.lsn),
        }
    }

    pub fn row(&self) -> Result<Option<Row>, CodecError> {
        self.cells.map(decode_cells).transpose()
    }
}

/// Encodes the cells and the extra columns of a row, the same bytes for the same content.
pub fn encode_cells(row: &Row, out: &mut Vec<u8>) {
    out.put_varint(row.cells.len() as u64);
    for cell in &row.cells {
        match cell {
            Cell::Missing => out.put_u8(0),
            Cell::Null => out.put_u8(1),
            Cell::Unavailable => out.put_u8(2),
            Cell::Bool(false) => out.put_u8(3),
            Cell::Bool(true) => out.put_u8(4),
            Cell::Uuid(id) => {
                out.put_u8(5);
                out.put_id(*id);
            }
            Cell::Micros(micros) => {
                out.put_u8(6);
                out.put_zigzag(*micros);
            }
            Cell::Text(text) => {
                out.put_u8(7);
                out.put_bytes(text.as_bytes());
            }
            Cell::Json(text) => {
                out.put_u8(8);
                out.put_bytes(text.as_bytes());
            }
        }
    }
    out.put_optional_bytes(row.extra.as_deref().map(str::as_bytes));
}

/// The inverse of [`encode_cells`].
pub fn decode_cells(bytes: &[u8]) -> Result<Row, CodecError> {
    const WHAT: &str = "row cells";
    let mut reader = Reader::new(WHAT, bytes);
    let count = reader.varint()?;
    let mut cells = Vec::new();
    for _ in 0..count {
        cells.push(match reader.u8()? {
            0 => Cell::Missing,
            1 => Cell::Null,
            2 => Cell::Unavailable,
            3 => Cell::Bool(false),
            4 => Cell::Bool(true),
            5 => Cell::Uuid(reader.id()?),
            6 => Cell::Micros(reader.zigzag()?),
            7 => Cell::Text(reader.text()?.into()),
            8 => Cell::Json(reader.text()?.into()),
            _ => return Err(CodecError::Invalid(WHAT)),
        });
    }
    let extra = match reader.optional_bytes()? {
        None => None,
        Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| CodecError::Invalid(WHAT))?.into()),
    };
    reader.end()?;
    Ok(Row { cells: cells.into_boxed_slice(), extra, extra_unavailable: Box::default() })
}

/// Every row, changed or not.
#[derive(Debug, Default)]
pub struct Rows {
    changed: FxHashMap<(Table, Id), Box<[u8]>>,
    changed_bytes: usize,
}

impl Rows {
    /// Hands the stored bytes of a key to `read`; `stored` sees the last commit.
    pub fn with<T>(
        &self,
        table: Table,
        key: Id,
        stored: &ReadTxn,
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, ReadError> {
        if let Some(bytes) = self.changed.get(&(table, key)) {
            return Ok(read(Some(bytes)));
        }
        let mut read = Some(read);
        let found = stored.get_with(ROWS, (table as u8, &key.0), |bytes| read.take().map(|read| read(Some(bytes))))?;
        match (found.flatten(), read) {
            (Some(result), _) => Ok(result),
            (None, Some(read)) => Ok(read(None)),
            // `get_with` either calls its closure or leaves it.
            (None, None) => unreachable!("a present value was not handed on"),
        }
    }

    pub fn put(&mut self, table: Table, key: Id, bytes: Box<[u8]>) {
        let new = bytes.len() + ENTRY_OVERHEAD_BYTES;
        let old = match self.changed.entry((table, key)) {
            MapEntry::Occupied(mut slot) => slot.insert(bytes).len() + ENTRY_OVERHEAD_BYTES,
            MapEntry::Vacant(slot) => {
                slot.insert(bytes);
                0
            }
        };
        self.changed_bytes = self.changed_bytes + new - old;
    }

    /// Bytes of rows that wait for a checkpoint.
    pub fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// Writes the changed rows in key order; after the commit, [`Rows::flushed`].
    pub fn flush(&self, write: &WriteTxn) -> Result<(), WriteError> {
        let mut sorted: Vec<_> = self.changed.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| **key);
        write.put_all(ROWS, sorted.into_iter().map(|((table, id), bytes)| ((*table as u8, &id.0), &**bytes)))
    }

    pub fn flushed(&mut self) {
        self.changed = FxHashMap::default();
        self.changed_bytes = 0;
    }

    /// Calls `each` for every row of the table, tombstones included, in key order.
    pub fn scan(&self, table: Table, stored: &ReadTxn, mut each: impl FnMut(Id, &[u8])) -> Result<(), ReadError> {
        let mut changed: Vec<_> = self.changed.iter().filter(|((of, _), _)| *of == table).collect();
        changed.sort_unstable_by_key(|((_, id), _)| *id);
        let mut changed = changed.into_iter().peekable();
        let bounds = (table as u8, &[0u8; 16])..=(table as u8, &[0xff; 16]);
        stored.scan(ROWS, bounds, |(_, key), bytes| {
            let key = Id(*key);
            while let Some(((_, id), newer)) = changed.next_if(|((_, id), _)| *id < key) {
                each(*id, newer);
            }
            match changed.next_if(|((_, id), _)| *id == key) {
                Some((_, newer)) => each(key, newer),
                None => each(key, bytes),
            }
            true
        })?;
        changed.for_each(|((_, id), newer)| each(*id, newer));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::Store;
    use nova_storage::testing::Recorder;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    pub(crate) fn rows() -> impl Strategy<Value = Row> {
        let cell = prop_oneof![
            Just(Cell::Missing),
            Just(Cell::Null),
            Just(Cell::Unavailable),
            any::<bool>().prop_map(Cell::Bool),
            any::<u128>().prop_map(|id| Cell::Uuid(Id::from_u128(id))),
            any::<i64>().prop_map(Cell::Micros),
            any::<String>().prop_map(|text| Cell::Text(text.into())),
            any::<String>().prop_map(|text| Cell::Json(text.into())),
        ];
        (proptest::collection::vec(cell, 0..9), any::<Option<String>>()).prop_map(|(cells, extra)| Row {
            cells: cells.into(),
            extra: extra.map(Into::into),
            extra_unavailable: Box::default(),
        })
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            row in rows(),
            numbers: (u16, u64, i64),
            raised_from: Option<u64>,
            ts in proptest::option::of(0i64..),
        ) {
            let mut cells = Vec::new();
            encode_cells(&row, &mut cells);
            prop_assert_eq!(decode_cells(&cells), Ok(row));
            let version = Version { epoch: numbers.0, lsn: numbers.1, offset: numbers.2 };
            for cells in [None, Some(cells.as_slice())] {
                let format = Format::FlatRewrite;
                let stored = StoredRow { version, format, raised_from, source_ts_us: ts, cells };
                let bytes = stored.encode();
                prop_assert_eq!(StoredRow::decode(&bytes), Ok(stored));
            }
        }

        #[test]
        fn malformed_rows_are_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = StoredRow::decode(&bytes);
            let _ = decode_cells(&bytes);
        }

        #[test]
        fn changed_and_flushed_rows_read_as_one_map(
            steps in proptest::collection::vec((0u8..20, any::<u8>(), any::<bool>()), 0..60),
        ) {
            let store = Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap();
            let (mut rows, mut model) = (Rows::default(), BTreeMap::new());
            for (key, value, flush) in steps {
                rows.put(Table::Posts, Id([key; 16]), Box::new([value]));
                rows.put(Table::Likes, Id([key; 16]), Box::new([1]));
                model.insert(Id([key; 16]), vec![value]);
                if flush {
                    let write = store.write().unwrap();
                    rows.flush(&write).unwrap();
                    write.commit().unwrap();
                    rows.flushed();
                    prop_assert_eq!(rows.changed_bytes(), 0);
                }
                let read = store.read().unwrap();
                let mut seen = Vec::new();
                rows.scan(Table::Posts, &read, |id, bytes| seen.push((id, bytes.to_vec()))).unwrap();
                prop_assert_eq!(&seen, &model.clone().into_iter().collect::<Vec<_>>());
                let found = rows.with(Table::Posts, Id([key; 16]), &read, |bytes| bytes.map(<[u8]>::to_vec)).unwrap();
                prop_assert_eq!(found.as_ref(), model.get(&Id([key; 16])));
            }
        }
    }
}
