//! The file and its transactions: a few verbs over the tables of [`crate::schema`].

use std::borrow::Borrow;
use std::ops::RangeBounds;
use std::path::Path;

use redb::{
    Builder, Database, DatabaseError, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageBackend, WriteTransaction,
};

use crate::error::{CopyError, OpenError, ReadError, WriteError};
use crate::schema::{self, Blobs, META};

/// The format this build writes; an older file is read, a newer one refused.
pub const FORMAT: u8 = 1;
const FORMAT_KEY: &str = "format";

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// redb's page cache. Serving is from our own memory, so it stays small.
    pub cache_bytes: usize,
    /// Whether each commit saves what makes opening after a crash instant, at the price of a second sync.
    pub quick_repair: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 48 << 20, quick_repair: false }
    }
}

/// The one file of a nova node. One process at a time, one write transaction at a time.
pub struct Store {
    database: Database,
    quick_repair: bool,
}

impl Store {
    /// Opens or creates the file. `progress` is told how far a repair after a crash is, 0 to 1.
    pub fn open(path: &Path, options: &Options, progress: impl Fn(f64) + 'static) -> Result<Store, OpenError> {
        let name = path.display().to_string();
        if !path.exists() {
            // A file that a crash left half-created would be refused later: create it aside, then rename.
            let aside = path.with_extension("redb.new");
            let io = |error: std::io::Error| OpenError::Io { path: name.clone(), detail: error.to_string() };
            let database = Builder::new().create(&aside).map_err(|error| open_error(&name, error))?;
            drop(Store::prepare(database, options, &name)?);
            std::fs::rename(&aside, path).map_err(io)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)?;
            }
        }
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes);
        builder.set_repair_callback(move |session| progress(session.progress()));
        let database = builder.open(path).map_err(|error| open_error(&name, error))?;
        Store::prepare(database, options, &name)
    }

    /// Opens over a backend of the caller's: memory, or one that injects faults.
    pub fn open_backend(backend: impl StorageBackend, options: &Options) -> Result<Store, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes);
        let name = "(backend)";
        let database = builder.create_with_backend(backend).map_err(|error| open_error(name, error))?;
        Store::prepare(database, options, name)
    }

    fn prepare(database: Database, options: &Options, path: &str) -> Result<Store, OpenError> {
        let store = Store { database, quick_repair: options.quick_repair };
        let io = |detail: String| OpenError::Io { path: path.to_owned(), detail };
        // A new file has no table yet.
        let known = store.read().map_err(|e| io(e.to_string()))?.get(META, FORMAT_KEY).unwrap_or(None);
        match known.as_deref() {
            Some([found]) if *found <= FORMAT => {}
            Some(found) => {
                let found = found.first().copied().unwrap_or(u8::MAX);
                return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT });
            }
            None => {
                let write = store.write().map_err(|e| io(e.to_string()))?;
                schema::create_all(&write.txn).map_err(|e| io(e.to_string()))?;
                write.put(META, FORMAT_KEY, &[FORMAT]).map_err(|e| io(e.to_string()))?;
                write.commit().map_err(|e| io(e.to_string()))?;
            }
        }
        Ok(store)
    }

    pub fn read(&self) -> Result<ReadTxn, ReadError> {
        Ok(ReadTxn { txn: self.database.begin_read()? })
    }

    /// Begins the write transaction; blocks while another one is open.
    pub fn write(&self) -> Result<WriteTxn, WriteError> {
        let mut txn = self.database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(self.quick_repair);
        Ok(WriteTxn { txn })
    }
}

/// Entries copied in one write transaction.
const COPY_ENTRIES: usize = 20_000;

impl Store {
    /// Writes the last commit into a new file: a consistent copy, also while the store is written. Returns how many
    /// entries it has. The file must not be there yet, and is there whole or not at all.
    pub fn copy_to(&self, path: &Path) -> Result<u64, CopyError> {
        if path.exists() {
            return Err(CopyError::Exists { path: path.display().to_string() });
        }
        // A name of its own: copies of other names may be under way.
        let mut aside = path.as_os_str().to_owned();
        aside.push(".copying");
        let aside = std::path::PathBuf::from(aside);
        let io = |source: std::io::Error| CopyError::Io { path: aside.display().to_string(), source };
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let copied = {
            let copy = Store::open(&aside, &Options::default(), |_| {})?;
            let read = self.read()?;
            let mut copied = 0;
            schema::for_each_table!(|table| copied += copy_table(&read, &copy, table)?);
            copied
        };
        std::fs::rename(&aside, path).map_err(io)?;
        Ok(copied)
    }
}

fn copy_table<K: Key + 'static>(read: &ReadTxn, copy: &Store, table: Blobs<K>) -> Result<u64, CopyError> {
    let from = read.txn.open_table(table).map_err(ReadError::from)?;
    let mut entries = from.range::<K::SelfType<'_>>(..).map_err(ReadError::from)?.peekable();
    let mut copied = 0;
    while entries.peek().is_some() {
        let write = copy.write()?;
        {
            let mut to = write.txn.open_table(table).map_err(WriteError::from)?;
            for entry in entries.by_ref().take(COPY_ENTRIES) {
                let (key, value) = entry.map_err(ReadError::from)?;
                to.insert(key.value(), value.value()).map_err(WriteError::from)?;
                copied += 1;
            }
        }
        write.commit()?;
    }
    Ok(copied)
}

fn open_error(path: &str, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Corrupted(detail)) => OpenError::Damaged { path, detail },
        // An empty file, or one that is no store at all.
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            OpenError::Damaged { path, detail: error.to_string() }
        }
        other => OpenError::Io { path, detail: other.to_string() },
    }
}

/// A consistent view of the last commit. Long ones pin pages: page through large tables.
pub struct ReadTxn {
    txn: ReadTransaction,
}

impl ReadTxn {
    pub fn get<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        self.get_with(table, key, <[u8]>::to_vec)
    }

    /// Reads a value without copying it.
    pub fn get_with<'k, K: Key + 'static, T>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        Ok(self.txn.open_table(table)?.get(key)?.map(|guard| read(guard.value())))
    }

    /// Calls `each` for every entry of the range in key order until it answers false.
    pub fn scan<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
        mut each: impl FnMut(K::SelfType<'_>, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        for entry in self.txn.open_table(table)?.range::<R>(range)? {
            let (key, value) = entry?;
            if !each(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }

    /// The entry with the largest key.
    pub fn last<K: Key + 'static, T>(
        &self,
        table: Blobs<K>,
        read: impl FnOnce(K::SelfType<'_>, &[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        Ok(self.txn.open_table(table)?.last()?.map(|(key, value)| read(key.value(), value.value())))
    }

    /// How many entries the table has.
    pub fn len<K: Key + 'static>(&self, table: Blobs<K>) -> Result<u64, ReadError> {
        Ok(self.txn.open_table(table)?.len()?)
    }
}

/// The write transaction. Dropped without a commit, it leaves no trace.
pub struct WriteTxn {
    txn: WriteTransaction,
}

impl WriteTxn {
    pub fn put<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
        value: &[u8],
    ) -> Result<(), WriteError> {
        self.txn.open_table(table)?.insert(key, value)?;
        Ok(())
    }

    /// Puts many; fastest in key order.
    pub fn put_all<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        entries: impl Iterator<Item = (K::SelfType<'k>, &'k [u8])>,
    ) -> Result<(), WriteError> {
        let mut table = self.txn.open_table(table)?;
        for (key, value) in entries {
            table.insert(key, value)?;
        }
        Ok(())
    }

    pub fn remove<'k, K: Key + 'static>(&self, table: Blobs<K>, key: K::SelfType<'k>) -> Result<bool, WriteError> {
        Ok(self.txn.open_table(table)?.remove(key)?.is_some())
    }

    /// Removes every entry of the range.
    pub fn remove_range<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
    ) -> Result<(), WriteError> {
        self.txn.open_table(table)?.retain_in::<R, _>(range, |_, _| false)?;
        Ok(())
    }

    /// Removes every entry of the table.
    pub fn clear<K: Key + 'static>(&self, table: Blobs<K>) -> Result<(), WriteError> {
        self.txn.delete_table(table)?;
        self.txn.open_table(table)?;
        Ok(())
    }

    /// Makes everything durable at once, or nothing.
    pub fn commit(self) -> Result<(), WriteError> {
        self.txn.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{JOURNAL, ROWS};
    use crate::testing::Recorder;

    fn memory() -> Store {
        Store::open_backend(redb::backends::InMemoryBackend::new(), &Options::default()).unwrap()
    }

    #[test]
    fn a_dropped_transaction_leaves_no_trace() {
        let store = memory();
        store.write().unwrap().put(JOURNAL, 1, b"x").unwrap();
        assert_eq!(store.read().unwrap().get(JOURNAL, 1).unwrap(), None);
    }

    #[test]
    fn ranges_are_scanned_in_key_order_and_removed() {
        let store = memory();
        let write = store.write().unwrap();
        for key in [3u64, 1, 2, 9] {
            write.put(JOURNAL, key, &[key as u8]).unwrap();
        }
        write.commit().unwrap();
        let write = store.write().unwrap();
        write.remove_range(JOURNAL, ..=2u64).unwrap();
        write.commit().unwrap();
        let mut seen = Vec::new();
        let read = store.read().unwrap();
        read.scan(JOURNAL, 0u64.., |key, value| {
            seen.push((key, value.to_vec()));
            true
        })
        .unwrap();
        assert_eq!(seen, [(3, vec![3]), (9, vec![9])]);
        assert_eq!(read.last(JOURNAL, |key, _| key).unwrap(), Some(9));
        assert_eq!(read.len(JOURNAL).unwrap(), 2);
    }

    #[test]
    fn a_second_process_is_told_that_the_store_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nova.redb");
        let _first = Store::open(&path, &Options::default(), |_| {}).unwrap();
        let second = Store::open(&path, &Options::default(), |_| {});
        assert!(matches!(second, Err(OpenError::InUse { .. })));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nova.redb");
        let store = Store::open(&path, &Options::default(), |_| {}).unwrap();
        let write = store.write().unwrap();
        write.put(META, FORMAT_KEY, &[FORMAT + 1]).unwrap();
        write.commit().unwrap();
        drop(store);
        assert!(matches!(Store::open(&path, &Options::default(), |_| {}), Err(OpenError::Format { .. })));
    }

    #[test]
    fn every_sync_is_a_state_that_opens_with_whole_commits_only() {
        let recorder = Recorder::new();
        let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
        let created = recorder.syncs();
        for round in 0u64..12 {
            let write = store.write().unwrap();
            for key in 0..4u64 {
                write.put(JOURNAL, round * 4 + key, &[round as u8; 500]).unwrap();
                write.put(ROWS, (0, &[key as u8; 16]), &[round as u8]).unwrap();
            }
            write.commit().unwrap();
        }
        drop(store);
        for sync in created..recorder.syncs() {
            for seed in 0..3 {
                let image = recorder.image(sync, seed);
                let store = Store::open_backend(image, &Options::default()).unwrap();
                let read = store.read().unwrap();
                let entries = read.len(JOURNAL).unwrap();
                assert_eq!(entries % 4, 0, "half a commit survived at sync {sync}");
                if entries > 0 {
                    let round = (entries / 4 - 1) as u8;
                    assert_eq!(read.get(ROWS, (0, &[1; 16])).unwrap(), Some(vec![round]));
                }
            }
        }
    }

    #[test]
    fn a_full_disk_fails_the_commit_and_keeps_what_was() {
        let recorder = Recorder::new();
        let store = Store::open_backend(recorder.clone(), &Options::default()).unwrap();
        let write = store.write().unwrap();
        write.put(JOURNAL, 1, b"kept").unwrap();
        write.commit().unwrap();
        recorder.fail_writes_after(0);
        let failed = store.write().and_then(|write| {
            write.put(JOURNAL, 2, &[0; 1 << 20])?;
            write.commit()
        });
        assert!(failed.is_err());
        drop(store);
        let store = Store::open_backend(recorder.image(recorder.syncs(), 0), &Options::default()).unwrap();
        let read = store.read().unwrap();
        assert_eq!(read.get(JOURNAL, 1).unwrap().as_deref(), Some(&b"kept"[..]));
        assert_eq!(read.get(JOURNAL, 2).unwrap(), None);
    }
}
