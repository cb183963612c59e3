//! Checks that a file has the content that redb wrote. The check compares every page of the last commit with the page's
//! checksum, and the number of the last commit with the number in the mark. redb itself checks the pages
//! (`set_check_integrity_on_open`). redb's check also repairs and commits, so nova runs it on a view that keeps writes
//! in memory. The check never changes the file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError};

use crate::commit_log::{self, ACTIVE_KEY, Place};
use crate::failure::StorageFailure;
use crate::guard::guarded;
use crate::mark::{self, MARK_AT, MARK_BYTES, PAGE_BYTES};
use crate::schema::META;

/// The size of redb's page cache during a check, in bytes.
const CACHE_BYTES: usize = 16 << 20;
/// The first bytes of every file of redb.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];
const NO_STORE: &str = "it does not begin as a store does";
/// The key of the number of commits in the table `meta`. The value under the key `commits` is a version byte, and then
/// the number in little-endian order.
pub(crate) const COMMITS_KEY: &str = "commits";
const COMMITS_VERSION: u8 = 1;

/// The bytes of a file as they were at one moment, for a check.
pub(crate) trait Bytes: fmt::Debug + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;
    /// Reads bytes. The error [`io::ErrorKind::Interrupted`] means that the bytes of the earlier moment no longer
    /// exist.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Whether nobody writes to the commit log during the check.
    fn is_at_rest(&self) -> bool;
    /// Locks the file, and returns whether the lock was taken. After `lock` has returned true, no process other than
    /// this one writes the file until [`Bytes::unlock`].
    fn lock(&self) -> Result<bool, BackendError>;
    fn unlock(&self) -> io::Result<()>;
}

/// The result of a check that found no damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The check has read every page.
    Whole,
    /// The check was stopped before it had read every page.
    Stopped,
}

/// The reason why a check could not confirm that a file is undamaged.
#[derive(Debug)]
pub(crate) enum CheckError {
    Damaged(String),
    InUse,
    Io(StorageFailure),
}

impl CheckError {
    /// Converts the error that redb returns when it opens a file.
    pub fn of(error: DatabaseError) -> CheckError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => CheckError::InUse,
            DatabaseError::Storage(StorageError::Corrupted(detail)) => CheckError::Damaged(detail),
            // An empty file, a file that is not a store, and a file that ends too early all give an error of the kind
            // `InvalidData` or `UnexpectedEof`.
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                CheckError::Damaged(error.to_string())
            }
            other => {
                let text = other.to_string();
                let cause =
                    if let DatabaseError::Storage(StorageError::Io(cause)) = other { Some(cause) } else { None };
                CheckError::Io(StorageFailure::of(text, cause))
            }
        }
    }
}

/// Whether the file begins as every file of redb does. Without the check of the first bytes, redb would take an empty
/// file for a new store.
fn is_store(bytes: &dyn Bytes) -> bool {
    let mut first = [0; MAGIC.len()];
    bytes.read(0, &mut first).is_ok() && first == MAGIC
}

/// Checks every page, until `stop` returns true. `check` calls `stop` before each read, with the number of bytes that
/// it is going to read.
pub(crate) fn check(
    bytes: impl Bytes,
    stop: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> Result<Checked, CheckError> {
    if !is_store(&bytes) {
        return Err(CheckError::Damaged(NO_STORE.to_owned()));
    }
    let stopped = Arc::new(AtomicBool::new(false));
    let mut first = [0; MARK_BYTES];
    let mark = bytes.read(MARK_AT as u64, &mut first).ok().and_then(|()| mark::decode(&first));
    let len = bytes.len().map_err(|error| CheckError::Io(error.into()))?;
    let log = Place::of(|offset, out| bytes.read(offset, out), len);
    let bytes = Arc::new(bytes);
    let view = View {
        len: Mutex::new(len),
        log,
        base: Arc::clone(&bytes) as Arc<dyn Bytes>,
        written: Mutex::default(),
        stop: Box::new(stop),
        stopped: Arc::clone(&stopped),
    };
    let checked = guarded(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(view).map_err(CheckError::of)?;
        let commits = commits(&database)?;
        durable(mark, commits)?;
        if bytes.is_at_rest() {
            commit_log::read(log, is_active(&database)?, commits, |offset, out| bytes.read(offset, out))?;
        }
        Ok(())
    });
    match checked {
        // A stopped check has refused a read of redb, so redb's result says nothing about the file.
        _ if stopped.load(Ordering::Relaxed) => Ok(Checked::Stopped),
        Ok(checked) => checked.map(|()| Checked::Whole),
        Err(panicked) => Err(CheckError::Damaged(panicked.to_string())),
    }
}

/// Checks that no durable commit is missing in the file.
pub(crate) fn durable(mark: Option<u64>, commits: u64) -> Result<(), CheckError> {
    match mark {
        Some(mark) if commits < mark => {
            let detail = format!("its pages are those of commit {commits}, and commit {mark} was durable");
            Err(CheckError::Damaged(detail))
        }
        _ => Ok(()),
    }
}

/// Returns the value in `meta` for a number of commits.
pub(crate) fn commits_value(commits: u64) -> [u8; 9] {
    let mut value = [COMMITS_VERSION; 9];
    value[1..].copy_from_slice(&commits.to_le_bytes());
    value
}

/// Returns the number of commits in the file. The number of commits is 0 before the first commit, and in a file of a
/// version that did not count commits.
pub(crate) fn commits(database: &Database) -> Result<u64, CheckError> {
    let value = meta(database, COMMITS_KEY)?;
    Ok(value.map_or(0, |value| match &value[..] {
        [COMMITS_VERSION, number @ ..] => number.try_into().map_or(0, u64::from_le_bytes),
        _ => 0,
    }))
}

/// Whether commits may be in the commit log alone.
pub(crate) fn is_active(database: &Database) -> Result<bool, CheckError> {
    Ok(meta(database, ACTIVE_KEY)?.is_some())
}

/// Returns a value of `meta`. Returns `None` in a file that has no tables yet.
fn meta(database: &Database, key: &str) -> Result<Option<Vec<u8>>, CheckError> {
    let damaged = |error: redb::Error| match error {
        redb::Error::Io(error) => CheckError::Io(error.into()),
        error => CheckError::Damaged(error.to_string()),
    };
    let read = database.begin_read().map_err(|error| damaged(error.into()))?;
    let table = match read.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(damaged(error.into())),
    };
    let value = redb::ReadableTable::get(&table, key).map_err(|error| damaged(error.into()))?;
    Ok(value.map(|value| value.value().to_vec()))
}

/// The bytes of a file, overlaid with what redb writes during the check.
struct View {
    base: Arc<dyn Bytes>,
    len: Mutex<u64>,
    /// The place of the commit log, whose bytes redb must not see.
    log: Option<Place>,
    /// The pages that redb has written during the check, by their numbers.
    written: Mutex<BTreeMap<u64, Box<[u8]>>>,
    stop: Box<dyn Fn(usize) -> bool + Send + Sync>,
    /// Whether a read was refused because the check must stop.
    stopped: Arc<AtomicBool>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("base", &self.base).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the numbers of the pages that a range of bytes touches.
fn pages(offset: u64, length: usize) -> std::ops::Range<u64> {
    let page_bytes = PAGE_BYTES as u64;
    offset / page_bytes..(offset + length as u64).div_ceil(page_bytes)
}

impl View {
    fn refuse(&self) -> io::Error {
        self.stopped.store(true, Ordering::Relaxed);
        io::Error::other("the check was stopped")
    }

    /// Reads bytes of the file as they were before the check, without the bytes that redb has written during the check.
    /// Bytes after the end of the file are read as zeros.
    fn read_base(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = self.base.len()?.saturating_sub(offset).min(out.len() as u64) as usize;
        out[inside..].fill(0);
        let read = |offset, out: &mut [u8]| self.base.read(offset, out);
        Place::read_hidden(self.log, offset, &mut out[..inside], read).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => self.refuse(),
            _ => error,
        })
    }
}

impl StorageBackend for View {
    fn len(&self) -> io::Result<u64> {
        Ok(*lock(&self.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if (self.stop)(out.len()) {
            return Err(self.refuse());
        }
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > *lock(&self.len)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_base(offset, out)?;
        for (page, bytes) in lock(&self.written).range(pages(offset, out.len())) {
            let start = page * PAGE_BYTES as u64;
            let (from, to) = (start.max(offset), (start + PAGE_BYTES as u64).min(offset + out.len() as u64));
            let source = &bytes[(from - start) as usize..(to - start) as usize];
            out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        *lock(&self.len) = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = lock(&self.written);
        for page in pages(offset, data.len()) {
            let start = page * PAGE_BYTES as u64;
            let mut bytes = match written.remove(&page) {
                Some(bytes) => bytes,
                None => {
                    let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
                    self.read_base(start, &mut bytes)?;
                    bytes
                }
            };
            let (from, to) = (start.max(offset), (start + PAGE_BYTES as u64).min(offset + data.len() as u64));
            let target = &mut bytes[(from - start) as usize..(to - start) as usize];
            target.copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            written.insert(page, bytes);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.base.unlock()
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        self.base.lock()
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        self.base.unlock().map_err(BackendError::Io)
    }
}
