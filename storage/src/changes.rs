//! The changes of one commit as bytes, for the commit log. nova applies the changes of a record to the state that the
//! commit before it left, so a change may be a range: the same range has the same entries again.

use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};

use redb::Key;

use crate::codec::{CodecError, Put as _, Reader};
use crate::error::WriteError;
use crate::schema::{self, Blobs};
use crate::write::WriteTxn;

const WHAT: &str = "a record of the commit log";

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_RANGE: u8 = 3;
const REMOVE_FIRST: u8 = 4;
const CLEAR: u8 = 5;

const UNBOUNDED: u8 = 0;
const INCLUDED: u8 = 1;
const EXCLUDED: u8 = 2;

/// The changes of one write transaction, up to a number of bytes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    bytes: Vec<u8>,
    /// The maximum number of bytes. Changes that need more bytes are not kept.
    max: usize,
    /// Whether a change was not kept.
    over: bool,
}

impl Changes {
    pub fn up_to(max: usize) -> Changes {
        Changes { bytes: Vec::new(), max, over: max == 0 }
    }

    /// Returns the bytes of all changes. Returns `None` if the changes need more bytes than the maximum.
    pub fn bytes(&self) -> Option<&[u8]> {
        (!self.over && self.bytes.len() <= self.max).then_some(&self.bytes)
    }

    /// Begins a change, unless the change does not fit. `begin` only keeps large values out of memory:
    /// [`Changes::bytes`] decides whether all changes fit.
    fn begin<K: Key + 'static>(&mut self, kind: u8, table: &Blobs<K>, length: usize) -> bool {
        use redb::TableHandle as _;
        if !self.over && self.bytes.len() + length > self.max {
            self.over = true;
            self.bytes = Vec::new();
        }
        if !self.over {
            self.bytes.put_u8(kind);
            self.bytes.put_bytes(table.name().as_bytes());
        }
        !self.over
    }

    pub fn put<K: Key + 'static>(&mut self, table: &Blobs<K>, key: &K::SelfType<'_>, value: &[u8]) {
        if self.begin(PUT, table, value.len()) {
            self.bytes.put_bytes(K::as_bytes(key).as_ref());
            self.bytes.put_bytes(value);
        }
    }

    pub fn remove<K: Key + 'static>(&mut self, table: &Blobs<K>, key: &K::SelfType<'_>) {
        if self.begin(REMOVE, table, 0) {
            self.bytes.put_bytes(K::as_bytes(key).as_ref());
        }
    }

    pub fn remove_range<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &mut self,
        table: &Blobs<K>,
        range: &impl RangeBounds<R>,
    ) {
        if self.begin(REMOVE_RANGE, table, 0) {
            self.bound::<K, R>(range.start_bound());
            self.bound::<K, R>(range.end_bound());
        }
    }

    pub fn remove_first<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &mut self,
        table: &Blobs<K>,
        range: &impl RangeBounds<R>,
        bytes: usize,
    ) {
        if self.begin(REMOVE_FIRST, table, 0) {
            self.bound::<K, R>(range.start_bound());
            self.bound::<K, R>(range.end_bound());
            self.bytes.put_varint(bytes as u64);
        }
    }

    pub fn clear<K: Key + 'static>(&mut self, table: &Blobs<K>) {
        self.begin(CLEAR, table, 0);
    }

    fn bound<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>>>(&mut self, bound: Bound<&R>) {
        let (kind, key) = match bound {
            Bound::Unbounded => return self.bytes.put_u8(UNBOUNDED),
            Bound::Included(key) => (INCLUDED, key),
            Bound::Excluded(key) => (EXCLUDED, key),
        };
        self.bytes.put_u8(kind);
        self.bytes.put_bytes(K::as_bytes(key.borrow()).as_ref());
    }
}

/// Applies the changes of one record.
pub(crate) fn apply(write: &WriteTxn, changes: &[u8]) -> Result<(), WriteError> {
    let mut reader = Reader::new(WHAT, changes);
    while !reader.is_empty() {
        let kind = reader.u8()?;
        let name = reader.bytes()?;
        let mut known = false;
        schema::for_each_table!(|table| {
            if redb::TableHandle::name(&table).as_bytes() == name {
                known = true;
                apply_one(write, table, kind, &mut reader)?;
            }
        });
        if !known {
            return Err(CodecError::Invalid(WHAT).into());
        }
    }
    Ok(())
}

fn apply_one<K: Key + 'static>(
    write: &WriteTxn,
    table: Blobs<K>,
    kind: u8,
    reader: &mut Reader<'_>,
) -> Result<(), WriteError> {
    match kind {
        PUT => {
            let key = reader.bytes()?;
            write.put(table, K::from_bytes(key), reader.bytes()?)
        }
        REMOVE => write.remove(table, K::from_bytes(reader.bytes()?)).map(drop),
        REMOVE_RANGE => {
            let range = (bound::<K>(reader)?, bound::<K>(reader)?);
            write.remove_range::<K, K::SelfType<'_>>(table, range)
        }
        REMOVE_FIRST => {
            let range = (bound::<K>(reader)?, bound::<K>(reader)?);
            write.remove_first::<K, K::SelfType<'_>>(table, range, reader.varint()? as usize).map(drop)
        }
        CLEAR => write.clear(table),
        _ => Err(CodecError::Invalid(WHAT).into()),
    }
}

fn bound<'a, K: Key + 'static>(reader: &mut Reader<'a>) -> Result<Bound<K::SelfType<'a>>, CodecError> {
    match reader.u8()? {
        UNBOUNDED => Ok(Bound::Unbounded),
        INCLUDED => Ok(Bound::Included(K::from_bytes(reader.bytes()?))),
        EXCLUDED => Ok(Bound::Excluded(K::from_bytes(reader.bytes()?))),
        _ => Err(CodecError::Invalid(WHAT)),
    }
}
