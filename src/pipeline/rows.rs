//! The stored row of each primary key, and where it is now: in memory if it changed since the last checkpoint, else in
//! the store. A random-key insert per change would cap the writer at 80 k changes a second; the journal makes a change
//! durable, and a checkpoint writes the changed rows in key order.

use std::collections::hash_map::Entry as MapEntry;

use nova_storage::schema::ROWS;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};
use rustc_hash::FxHashMap;

use crate::event::{Id, Table};

/// Bytes that the map spends on a changed row besides its own.
const ENTRY_OVERHEAD_BYTES: usize = 64;

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
        let found =
            stored.get_with(ROWS, (table.number(), &key.0), |bytes| read.take().map(|read| read(Some(bytes))))?;
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
        write.put_all(ROWS, sorted.into_iter().map(|((table, id), bytes)| ((table.number(), &id.0), &**bytes)))
    }

    pub fn flushed(&mut self) {
        self.changed = FxHashMap::default();
        self.changed_bytes = 0;
    }

    /// Whether any row of the table is there, a tombstone included.
    pub fn any(&self, table: Table, stored: &ReadTxn) -> Result<bool, ReadError> {
        let mut found = self.changed.keys().any(|(of, _)| *of == table);
        let bounds = (table.number(), &[0u8; 16])..=(table.number(), &[0xff; 16]);
        stored.scan(ROWS, bounds, |_, _| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// Calls `each` for every row of the table, tombstones included, in key order.
    pub fn scan(&self, table: Table, stored: &ReadTxn, mut each: impl FnMut(Id, &[u8])) -> Result<(), ReadError> {
        let mut changed: Vec<_> = self.changed.iter().filter(|((of, _), _)| *of == table).collect();
        changed.sort_unstable_by_key(|((_, id), _)| *id);
        let mut changed = changed.into_iter().peekable();
        let bounds = (table.number(), &[0u8; 16])..=(table.number(), &[0xff; 16]);
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

    proptest! {
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
