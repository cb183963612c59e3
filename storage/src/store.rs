//! The store: its file and its transactions, with a few operations on the tables of [`crate::schema`].

use std::borrow::Borrow;
use std::fs::{File, OpenOptions};
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend,
};

use crate::changes;
use crate::check::{self, Bytes as _, CheckError, Checked};
use crate::commit_log::{self, ACTIVE_KEY, CommitLog};
use crate::disk::{Backend, Disk};
use crate::error::{OpenError, ReadError, WriteError};
use crate::file::{Aside, ReadOnly};
use crate::guard::{Panicked, guard, guarded};
use crate::schema::{self, Blobs, META};
use crate::seal;
use crate::write::{LogState, Shared, WriteTxn};

/// The format of stores that this build writes. This build reads a store of an older format, and refuses a store of a
/// newer format. A store of format 4 may have commits in its commit log.
pub const FORMAT: u8 = 4;
pub(crate) const FORMAT_KEY: &str = "format";
/// The size of the commit log of a store over a backend. A small log is full after a few commits, so tests and
/// simulations often reach the end of the log.
const BACKEND_LOG_BYTES: usize = 64 << 10;

/// The options for opening a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of redb's page cache in bytes. The page cache is small, because nova serves from its own memory.
    pub cache_bytes: usize,
    /// The limits of the check of a store at its opening. If `check` is `None`, the check reads every page.
    pub check: Option<CheckLimits>,
    /// The size of the commit log in bytes, a power of two. If the size is 0, a new store has no commit log.
    pub log_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 48 << 20, check: Some(CheckLimits::default()), log_bytes: 4 << 20 }
    }
}

/// The limits of a check at the opening of a store.
#[derive(Debug, Clone, Copy)]
pub struct CheckLimits {
    pub time: Duration,
    /// The size of a file in bytes. The pages of a larger file are not checked at its opening.
    pub file_bytes: u64,
}

impl Default for CheckLimits {
    fn default() -> CheckLimits {
        CheckLimits { time: Duration::from_millis(100), file_bytes: u64::MAX }
    }
}

/// The one file of a nova node. Only one process at a time can have the store open, and only one write transaction at a
/// time can be open.
pub struct Store {
    /// The database of redb, or `None` while the store is dropped.
    database: Option<Database>,
    disk: Arc<Disk>,
    shared: Arc<Shared>,
    name: String,
    checked: Checked,
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
        #[expect(clippy::disallowed_methods, reason = "the store knows no clock, and a check has a bound")]
        let (began, limits) = (Instant::now(), options.check);
        let file_bytes = bytes.len().map_err(io)?;
        let late =
            move |_| limits.is_some_and(|limits| file_bytes > limits.file_bytes || began.elapsed() >= limits.time);
        let checked = check::check(bytes, late).map_err(of)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes);
        builder.set_repair_callback(move |session| progress(session.progress()));
        let own = file.try_clone().map_err(io)?;
        let disk = Disk::new(backend(file, &name)?, Some(own));
        let store = Store::over(&builder, disk, &name, options.log_bytes, checked)?;
        seal::erase(&store.disk).map_err(io)?;
        Ok(store)
    }

    /// Opens a store over a backend of the caller: a file in memory, or a backend that injects faults.
    pub fn open_backend(backend: impl StorageBackend, options: &Options) -> Result<Store, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache_bytes);
        let log_bytes = options.log_bytes.min(BACKEND_LOG_BYTES);
        Store::over(&builder, Disk::new(backend, None), "(backend)", log_bytes, Checked::Whole)
    }

    /// Makes a new store in an empty file.
    pub(crate) fn create(file: File, name: &str) -> Result<Store, OpenError> {
        Store::over(&Builder::new(), Disk::new(backend(file, name)?, None), name, 0, Checked::Whole)
    }

    fn over(
        builder: &Builder,
        disk: Arc<Disk>,
        name: &str,
        log_bytes: usize,
        checked: Checked,
    ) -> Result<Store, OpenError> {
        disk.find_log();
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
        // A file with a log gets its state in `recover`, which must not write to the log that it reads.
        let log = LogState::Absent(if disk.log().is_none() { log_bytes } else { 0 });
        let shared = Shared::new(Arc::clone(&disk), log);
        let database = Some(database.map_err(of)?);
        let store = Store { database, disk, shared: Arc::new(shared), name: name.to_owned(), checked };
        store.prepare()?;
        store.recover()?;
        Ok(store)
    }

    /// Makes the commits durable in redb that are in the commit log alone.
    fn recover(&self) -> Result<(), OpenError> {
        let database = self.open_database().map_err(|error| self.unreadable(error))?;
        let (place, durable) = (self.disk.log(), self.disk.commits());
        let active = guard(|| check::is_active(database));
        let records = active.and_then(|active| {
            let records = commit_log::read(place, active, durable, |offset, out| self.disk.read_at(offset, out))?;
            Ok((active, records))
        });
        let (active, records) = records.map_err(|error| OpenError::of(&self.name, error))?;
        self.apply(durable, &records).map_err(|error| self.unwritable(error))?;
        let Some(place) = place else { return Ok(()) };
        let mut log = CommitLog::new(place);
        log.begin(&self.disk);
        let state = if active { LogState::Active(log) } else { LogState::Placed(log) };
        *self.shared.log() = state;
        Ok(())
    }

    /// Applies the records that follow the commit `durable`.
    fn apply(&self, durable: u64, records: &[Vec<u8>]) -> Result<(), WriteError> {
        if records.is_empty() {
            return Ok(());
        }
        let write = self.write()?;
        for record in records {
            changes::apply(&write, record)?;
        }
        write.commit_as(durable + records.len() as u64)
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
            _ => self.write().and_then(WriteTxn::begin_store).map_err(|error| self.unwritable(error)),
        }
    }

    fn unwritable(&self, error: WriteError) -> OpenError {
        let path = self.name.clone();
        match error {
            WriteError::Damaged(detail) => OpenError::Damaged { path, detail },
            WriteError::Storage(source) => OpenError::Io { path, source },
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
            WriteTxn::begin(database, &self.shared)
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

/// The number of entries that a copy writes in one write transaction.
const COPY_ENTRIES: usize = 20_000;

/// Copies the entries of every table, and returns the number of entries.
pub(crate) fn copy_entries(read: &ReadTxn, copy: &Store) -> Result<u64, crate::CopyError> {
    let mut copied = 0;
    schema::for_each_table!(|table| copied += copy_table(read, copy, table)?);
    // The copy has no commit log yet.
    let write = copy.write()?;
    let removed = write.remove(META, ACTIVE_KEY)?;
    write.commit()?;
    Ok(copied - u64::from(removed))
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
