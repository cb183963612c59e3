//! The store: its file and its transactions, with a few operations on the tables of [`crate::schema`].

use std::borrow::Borrow;
use std::fs::{File, OpenOptions};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageBackend, WriteTransaction,
};

use crate::check::{self, CheckError, Checked};
use crate::disk::{Backend, Disk};
use crate::error::{OpenError, ReadError, WriteError};
use crate::file::{Aside, ReadOnly};
use crate::guard::{Panicked, guarded};
use crate::schema::{self, Blobs, META};
use crate::seal;

/// The format of stores that this build writes. This build reads a store of an older format, and refuses a store of a
/// newer format.
pub const FORMAT: u8 = 3;
const FORMAT_KEY: &str = "format";

/// The options for opening a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of redb's page cache in bytes. The page cache is small, because nova serves from its own memory.
    pub cache_bytes: usize,
    /// The time limit for checking a store at its opening, if the store was closed cleanly. If `check` is `None`, the
    /// check has no time limit. After a crash every page is checked, without a time limit.
    pub check: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 48 << 20, check: Some(Duration::from_millis(500)) }
    }
}

/// The one file of a nova node. Only one process at a time can have the store open, and only one write transaction at a
/// time can be open.
pub struct Store {
    /// The database of redb, or `None` while the store is dropped.
    database: Option<Database>,
    disk: Arc<Disk>,
    name: String,
    checked: Checked,
}

/// Calls redb, and turns a panic of redb into an error.
fn guard<T, E: From<Panicked>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    guarded(work)?
}

impl From<Panicked> for CheckError {
    fn from(panicked: Panicked) -> CheckError {
        CheckError::Damaged(panicked.to_string())
    }
}

impl Store {
    /// Opens the file, or creates it. A damaged file is refused. `progress` gets the progress of the repair after a
    /// crash, as a number from 0 to 1.
    pub fn open(path: &Path, options: &Options, progress: impl Fn(f64) + 'static) -> Result<Store, OpenError> {
        let name = path.display().to_string();
        let io = |error: std::io::Error| OpenError::Io { path: name.clone(), source: error.into() };
        if !path.exists() {
            // A crash could leave an incomplete new file, which the next start would refuse. So a new file is created
            // under a temporary name and then renamed.
            let (aside, file) = Aside::new(path, ".new").map_err(io)?;
            drop(Store::create(file, &name)?);
            aside.place(path).map_err(io)?;
        }
        let bytes = ReadOnly::open(path).map_err(io)?;
        let of = |error| OpenError::of(&name, error);
        let clean = check::is_clean(&bytes).map_err(of)?;
        let checked = match clean {
            true => {
                #[expect(clippy::disallowed_methods, reason = "the store knows no clock, and a check has a bound")]
                let (began, bound) = (Instant::now(), options.check);
                let late = move |_| bound.is_some_and(|bound| began.elapsed() >= bound);
                check::check(bytes, late).map_err(of)?
            }
            // redb checks every page itself when it opens a file that was not closed cleanly.
            false => Checked::Whole,
        };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes).set_check_integrity_on_open(!clean);
        builder.set_repair_callback(move |session| progress(session.progress()));
        let store = Store::over(&builder, backend(file, &name)?, &name, checked)?;
        seal::erase(&store.disk).map_err(io)?;
        Ok(store)
    }

    /// Opens a store over a backend of the caller: a file in memory, or a backend that injects faults.
    pub fn open_backend(backend: impl StorageBackend, options: &Options) -> Result<Store, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes);
        Store::over(&builder, backend, "(backend)", Checked::Whole)
    }

    /// Makes a new store in an empty file.
    pub(crate) fn create(file: File, name: &str) -> Result<Store, OpenError> {
        Store::over(&Builder::new(), backend(file, name)?, name, Checked::Whole)
    }

    fn over(builder: &Builder, backend: impl StorageBackend, name: &str, checked: Checked) -> Result<Store, OpenError> {
        let disk = Disk::new(backend);
        let of = |error| OpenError::of(name, error);
        let database = guard(|| {
            let database = builder.create_with_backend(Backend(Arc::clone(&disk))).map_err(CheckError::of)?;
            let commits = check::commits(&database)?;
            // The number of commits is checked before anything is written, because a file that lost all its commits
            // looks like a new file.
            check::durable(disk.mark(), commits)?;
            disk.set_commits(commits);
            Ok(database)
        });
        let store = Store { database: Some(database.map_err(of)?), disk, name: name.to_owned(), checked };
        store.prepare()?;
        Ok(store)
    }

    fn prepare(&self) -> Result<(), OpenError> {
        let known = match self.read().and_then(|read| read.get(META, FORMAT_KEY)) {
            Ok(known) => known,
            // A new file has no table yet.
            Err(ReadError::Storage(_)) if self.disk.commits() == 0 => None,
            Err(error) => return Err(self.unreadable(error)),
        };
        match known.as_deref() {
            Some([FORMAT]) => Ok(()),
            Some(found) if !matches!(found, [found] if *found < FORMAT) => {
                let found = found.first().copied().unwrap_or(u8::MAX);
                Err(OpenError::Format { path: self.name.clone(), found, known: FORMAT })
            }
            // The file is new, or it has an earlier format and lacks tables.
            _ => self.write().and_then(WriteTxn::begin_store).map_err(|error| match error {
                WriteError::Damaged(detail) => OpenError::Damaged { path: self.name.clone(), detail },
                WriteError::Storage(source) => OpenError::Io { path: self.name.clone(), source },
            }),
        }
    }

    fn unreadable(&self, error: ReadError) -> OpenError {
        let path = self.name.clone();
        match error {
            ReadError::Damaged(detail) => OpenError::Damaged { path, detail },
            error => OpenError::Io { path, source: error.into() },
        }
    }

    pub fn read(&self) -> Result<ReadTxn, ReadError> {
        guard(|| Ok(ReadTxn { txn: self.open_database()?.begin_read()? }))
    }

    /// Begins a write transaction. `write` blocks while another write transaction is open.
    pub fn write(&self) -> Result<WriteTxn, WriteError> {
        guard(|| {
            let database = self.database.as_ref().ok_or_else(|| WriteError::Storage(CLOSED.into()))?;
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            Ok(WriteTxn { txn: Some(txn), disk: Arc::clone(&self.disk) })
        })
    }

    fn open_database(&self) -> Result<&Database, ReadError> {
        self.database.as_ref().ok_or_else(|| ReadError::Storage(CLOSED.into()))
    }

    /// Whether every page was checked when the store was opened.
    pub fn checked(&self) -> bool {
        self.checked == Checked::Whole
    }

    /// Returns the length of the file in bytes, or 0 if the length cannot be read.
    pub fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    /// Checks every page of the last commit while the store is in use, until `stop` returns true. `check` calls `stop`
    /// before each read, with the number of bytes that it is going to read. The check ends without a result if too much
    /// is written at the same time. Only one check can run at a time.
    pub fn check(&self, stop: impl Fn(usize) -> bool + Clone + Send + Sync + 'static) -> Result<Checked, OpenError> {
        let once = || {
            let frozen = self.disk.freeze().map_err(|error| CheckError::Io(error.into()))?;
            check::check(frozen, stop.clone())
        };
        // If a write was in progress when the file was frozen, the written page may look damaged. A second check also
        // finds real damage.
        let found = match once() {
            Err(CheckError::Damaged(_)) => once(),
            found => found,
        };
        found.map_err(|error| OpenError::of(&self.name, error))
    }
}

/// Opens a file as redb's backend, which only this process may use.
fn backend(file: File, name: &str) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|error| OpenError::of(name, CheckError::of(error)))
}

/// The error for a store that is used while it is dropped, which never happens.
const CLOSED: &str = "the store is closed";

impl Drop for Store {
    fn drop(&mut self) {
        let database = self.database.take();
        // redb may panic when it closes a damaged store. The next start of nova finds the damage of the store.
        let _ = guarded(|| drop(database));
    }
}

/// Checks every page of a file without a time limit and without changing the file. The check is refused while a process
/// has the file open as a store.
pub fn verify(path: &Path) -> Result<(), OpenError> {
    let name = path.display().to_string();
    let bytes = ReadOnly::open(path).map_err(|error| OpenError::Io { path: name.clone(), source: error.into() })?;
    check::check(bytes, |_| false).map(drop).map_err(|error| OpenError::of(&name, error))
}

/// A read transaction: a consistent view of the last commit. A long read transaction keeps redb from reusing pages, so
/// callers read large tables in parts.
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

    /// Calls `read` with a value, without copying the value.
    pub fn get_with<'k, K: Key + 'static, T>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        guard(|| Ok(self.txn.open_table(table)?.get(key)?.map(|guard| read(guard.value()))))
    }

    /// Calls `each` for every entry of the range in the order of the keys, until `each` returns false.
    pub fn scan<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
        mut each: impl FnMut(K::SelfType<'_>, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        guard(|| {
            for entry in self.txn.open_table(table)?.range::<R>(range)? {
                let (key, value) = entry?;
                if !each(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Returns the entry with the largest key.
    pub fn last<K: Key + 'static, T>(
        &self,
        table: Blobs<K>,
        read: impl FnOnce(K::SelfType<'_>, &[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        guard(|| Ok(self.txn.open_table(table)?.last()?.map(|(key, value)| read(key.value(), value.value()))))
    }

    /// Returns the number of entries in the table.
    pub fn len<K: Key + 'static>(&self, table: Blobs<K>) -> Result<u64, ReadError> {
        guard(|| Ok(self.txn.open_table(table)?.len()?))
    }
}

/// A write transaction. A write transaction that is dropped without a commit has no effect.
pub struct WriteTxn {
    /// The transaction of redb, or `None` after the commit.
    txn: Option<WriteTransaction>,
    disk: Arc<Disk>,
}

impl WriteTxn {
    fn open(&self) -> Result<&WriteTransaction, WriteError> {
        self.txn.as_ref().ok_or_else(|| WriteError::Storage("the transaction has ended".into()))
    }

    /// Creates the tables, and writes the entry that every store has: its format.
    fn begin_store(self) -> Result<(), WriteError> {
        guard(|| -> Result<(), WriteError> { Ok(schema::create_all(self.open()?)?) })?;
        self.put(META, FORMAT_KEY, &[FORMAT])?;
        self.commit()
    }

    pub fn put<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        key: K::SelfType<'k>,
        value: &[u8],
    ) -> Result<(), WriteError> {
        guard(|| {
            self.open()?.open_table(table)?.insert(key, value)?;
            Ok(())
        })
    }

    /// Puts many entries into a table. Entries in the order of their keys are written fastest.
    pub fn put_all<'k, K: Key + 'static>(
        &self,
        table: Blobs<K>,
        entries: impl Iterator<Item = (K::SelfType<'k>, &'k [u8])>,
    ) -> Result<(), WriteError> {
        guard(|| {
            let mut table = self.open()?.open_table(table)?;
            for (key, value) in entries {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    pub fn remove<'k, K: Key + 'static>(&self, table: Blobs<K>, key: K::SelfType<'k>) -> Result<bool, WriteError> {
        guard(|| Ok(self.open()?.open_table(table)?.remove(key)?.is_some()))
    }

    /// Removes every entry of the range.
    pub fn remove_range<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
    ) -> Result<(), WriteError> {
        guard(|| Ok(self.open()?.open_table(table)?.retain_in::<R, _>(range, |_, _| false)?))
    }

    /// Removes entries from the beginning of the range, until their values have about this many bytes. Returns false if
    /// the range is empty afterwards.
    pub fn remove_first<'r, K: Key + 'static, R: Borrow<K::SelfType<'r>> + 'r>(
        &self,
        table: Blobs<K>,
        range: impl RangeBounds<R> + 'r,
        bytes: usize,
    ) -> Result<bool, WriteError> {
        guard(|| {
            let (mut table, mut removed) = (self.open()?.open_table(table)?, 0);
            let mut first = table.extract_from_if::<R, _>(range, |_, _| true)?;
            while removed < bytes {
                let Some(entry) = first.next() else { return Ok(false) };
                removed += entry?.1.value().len();
            }
            Ok(true)
        })
    }

    /// Removes every entry of the table.
    pub fn clear<K: Key + 'static>(&self, table: Blobs<K>) -> Result<(), WriteError> {
        guard(|| {
            let txn = self.open()?;
            txn.delete_table(table)?;
            txn.open_table(table)?;
            Ok(())
        })
    }

    /// Makes all changes of the transaction durable, or none of them.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let number = self.disk.commits() + 1;
        self.put(META, check::COMMITS_KEY, &check::commits_value(number))?;
        let txn = self.txn.take();
        guard(|| -> Result<(), WriteError> { txn.map_or(Ok(()), |txn| Ok(txn.commit()?)) })?;
        self.disk.set_commits(number);
        self.disk.set_mark(number);
        Ok(())
    }
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        let txn = self.txn.take();
        // The result of dropping the transaction does not matter, because an earlier error has already been reported.
        let _ = guarded(|| drop(txn));
    }
}

/// The number of entries that a copy writes in one write transaction.
const COPY_ENTRIES: usize = 20_000;

/// Copies the entries of every table, and returns the number of entries.
pub(crate) fn copy_entries(read: &ReadTxn, copy: &Store) -> Result<u64, crate::CopyError> {
    let mut copied = 0;
    schema::for_each_table!(|table| copied += copy_table(read, copy, table)?);
    Ok(copied)
}

fn copy_table<K: Key + 'static>(read: &ReadTxn, copy: &Store, table: Blobs<K>) -> Result<u64, crate::CopyError> {
    let from = guard(|| read.txn.open_table(table).map_err(ReadError::from))?;
    let mut entries = guard(|| from.range::<K::SelfType<'_>>(..).map_err(ReadError::from))?.peekable();
    let mut copied = 0;
    while guard(|| Ok::<_, ReadError>(entries.peek().is_some()))? {
        let write = copy.write()?;
        guard(|| -> Result<(), WriteError> {
            let mut to = write.open()?.open_table(table)?;
            for entry in entries.by_ref().take(COPY_ENTRIES) {
                let (key, value) = entry?;
                to.insert(key.value(), value.value())?;
                copied += 1;
            }
            Ok(())
        })?;
        write.commit()?;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests;
