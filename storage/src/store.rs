//! The file and its transactions: a few verbs over the tables of [`crate::schema`].

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

/// The format that this build writes. An older file is read, and a newer one is refused.
pub const FORMAT: u8 = 3;
const FORMAT_KEY: &str = "format";

/// The options for opening a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// The size of redb's page cache. It is small, because nova serves from its own memory.
    pub cache_bytes: usize,
    /// How long a store that was closed in order is checked before its first read. `None` means to the end. After a
    /// crash every page is checked, however long that takes.
    pub check: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 48 << 20, check: Some(Duration::from_millis(500)) }
    }
}

/// The one file of a nova node. It allows one process at a time, and one write transaction at a time.
pub struct Store {
    /// The database, which is taken out when the store is dropped.
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
    /// Opens or creates the file. A damaged file is refused. `progress` gets the progress of the repair after a crash,
    /// 0 to 1.
    pub fn open(path: &Path, options: &Options, progress: impl Fn(f64) + 'static) -> Result<Store, OpenError> {
        let name = path.display().to_string();
        let io = |error: std::io::Error| OpenError::Io { path: name.clone(), source: error.into() };
        if !path.exists() {
            // A file that a crash left half-created would be refused later, so it is created beside and then renamed.
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
            // In this case redb checks every page itself.
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

    /// Opens a store over the caller's backend: a file in memory, or a backend that injects faults.
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
            // This is checked before anything is written, because a file that lost all its commits looks like a new
            // one.
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
            // The file is new, or of an earlier format, which lacks tables.
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

    /// Begins the write transaction. It blocks while another one is open.
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

    /// The length of the file, or 0 if it cannot be read.
    pub fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    /// Checks every page of the last commit while the store is used, until `stop` returns true. `stop` gets the number
    /// of bytes of each read before the read. The check gives up if too much is written at the same time. Only one
    /// check can run at a time.
    pub fn check(&self, stop: impl Fn(usize) -> bool + Clone + Send + Sync + 'static) -> Result<Checked, OpenError> {
        let once = || {
            let frozen = self.disk.freeze().map_err(|error| CheckError::Io(error.into()))?;
            check::check(frozen, stop.clone())
        };
        // A write in progress when the file froze may look half-written. Real damage shows in a second check, too.
        let found = match once() {
            Err(CheckError::Damaged(_)) => once(),
            found => found,
        };
        found.map_err(|error| OpenError::of(&self.name, error))
    }
}

/// A file as redb's backend, for this process alone.
fn backend(file: File, name: &str) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|error| OpenError::of(name, CheckError::of(error)))
}

/// A store is never used while it is dropped.
const CLOSED: &str = "the store is closed";

impl Drop for Store {
    fn drop(&mut self) {
        let database = self.database.take();
        // Closing a damaged store may panic. The next start finds the damage.
        let _ = guarded(|| drop(database));
    }
}

/// Checks every page of a file, to the end, without changing the file. It is refused while a process has the file open
/// as a store.
pub fn verify(path: &Path) -> Result<(), OpenError> {
    let name = path.display().to_string();
    let bytes = ReadOnly::open(path).map_err(|error| OpenError::Io { path: name.clone(), source: error.into() })?;
    check::check(bytes, |_| false).map(drop).map_err(|error| OpenError::of(&name, error))
}

/// A consistent view of the last commit. A long one pins pages, so large tables are read page by page.
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
        guard(|| Ok(self.txn.open_table(table)?.get(key)?.map(|guard| read(guard.value()))))
    }

    /// Calls `each` for every entry of the range in key order until it returns false.
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

    /// The entry with the largest key.
    pub fn last<K: Key + 'static, T>(
        &self,
        table: Blobs<K>,
        read: impl FnOnce(K::SelfType<'_>, &[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        guard(|| Ok(self.txn.open_table(table)?.last()?.map(|(key, value)| read(key.value(), value.value()))))
    }

    /// The number of entries in the table.
    pub fn len<K: Key + 'static>(&self, table: Blobs<K>) -> Result<u64, ReadError> {
        guard(|| Ok(self.txn.open_table(table)?.len()?))
    }
}

/// The write transaction. If it is dropped without a commit, it has no effect.
pub struct WriteTxn {
    /// The transaction, which is taken out by the commit.
    txn: Option<WriteTransaction>,
    disk: Arc<Disk>,
}

impl WriteTxn {
    fn open(&self) -> Result<&WriteTransaction, WriteError> {
        self.txn.as_ref().ok_or_else(|| WriteError::Storage("the transaction has ended".into()))
    }

    /// Writes the entries that every store has.
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

    /// Puts many entries. Entries in key order are the fastest.
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

    /// Removes the first entries of the range, with about this many bytes of values. Returns false if none is left in
    /// the range.
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

    /// Makes all changes durable, or none of them.
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
        // An earlier error has already been reported.
        let _ = guarded(|| drop(txn));
    }
}

/// The number of entries that a copy moves in one write transaction.
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
