//! The file below redb: every read and write of redb passes through `Disk`. `Disk` writes the mark ([`crate::mark`]),
//! hides the commit log from redb ([`crate::commit_log`]), and it can freeze the file: a check then sees the file as of
//! one moment, while redb continues to write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{BackendError, StorageBackend};

use crate::check::Bytes;
use crate::commit_log::{PLACE_AT, Place};
use crate::mark::{self, MARK_AT, MARK_BYTES, PAGE_BYTES};

/// The maximum number of bytes for old pages that are kept during a check. If the old pages need more memory than
/// `KEPT_MAX_BYTES`, the check ends without a result.
const KEPT_MAX_BYTES: usize = 64 << 20;

/// The old pages of a frozen file.
#[derive(Debug)]
struct Kept {
    /// The length of the file when it was frozen.
    len: u64,
    /// The old bytes of the pages that redb has written since the file was frozen, by the numbers of the pages.
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Whether an old page was not kept, so the frozen file can no longer be read.
    lost: bool,
}

/// The file below redb.
#[derive(Debug)]
pub(crate) struct Disk {
    inner: Box<dyn StorageBackend>,
    /// The file of `inner`, or `None` for a backend that is not a file.
    file: Option<File>,
    /// Whether a sync or a write of the commit log has failed.
    failed: AtomicBool,
    frozen: AtomicBool,
    kept: Mutex<Option<Kept>>,
    /// The number of commits in the file.
    commits: AtomicU64,
    /// The place of the commit log, whose bytes redb must not see.
    log: RwLock<Option<Place>>,
    /// The page of the commit log that redb is going to write, and the place once redb has written it.
    awaited: Mutex<Option<Awaited>>,
}

/// A page of the commit log that redb is going to write.
#[derive(Debug)]
struct Awaited {
    page_bytes: usize,
    seed: u64,
    place: Option<Place>,
}

impl Disk {
    pub fn new(inner: impl StorageBackend, file: Option<File>) -> Arc<Disk> {
        Arc::new(Disk {
            inner: Box::new(inner),
            file,
            failed: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            kept: Mutex::default(),
            commits: AtomicU64::new(0),
            log: RwLock::default(),
            awaited: Mutex::default(),
        })
    }

    /// Returns the place of the commit log.
    pub fn log(&self) -> Option<Place> {
        *self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_log(&self, place: Option<Place>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Reads the place of the commit log from the file.
    pub fn find_log(&self) {
        self.set_log(Place::of(|offset, out| self.inner.read(offset, out), self.bytes()));
    }

    /// Makes `Disk` look for the page of a new commit log among the pages that redb writes.
    pub fn await_log(&self, page_bytes: usize, seed: u64) {
        *self.awaited() = Some(Awaited { page_bytes, seed, place: None });
    }

    /// Writes the place of the page that redb has written since [`Disk::await_log`] to the file, and makes the place
    /// durable. Returns `None` if the place cannot be written, and then the store has no log until it is opened again.
    pub fn place_log(&self) -> Option<Place> {
        let place = self.awaited().take()?.place?;
        let written = self.overwrite(PLACE_AT as u64, &place.encode()).and_then(|()| self.sync());
        written.ok()?;
        self.set_log(Some(place));
        Some(place)
    }

    fn awaited(&self) -> MutexGuard<'_, Option<Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes bytes of the commit log at a position in the log. A frozen file keeps no old bytes of the log, because a
    /// check does not see the log.
    pub fn write_log(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = self.log().and_then(|log| log.offset(at, bytes.len()));
        let offset = offset.ok_or_else(|| io::Error::other("a write beyond the commit log"))?;
        self.latched(|| self.inner.write(offset, bytes))
    }

    /// Drops bytes from the page cache, except those that are not written to the disk yet. Linux holds bytes that were
    /// read or written together as one folio of up to 2 MiB, and counts each later write of a few bytes as a write of
    /// the whole folio (`/proc/PID/io`). Without the folio, a write brings only its own pages into the page cache.
    pub fn forget(&self, offset: u64, bytes: u64) {
        #[cfg(target_os = "linux")]
        if let Some(file) = &self.file {
            let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(bytes), rustix::fs::Advice::DontNeed);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (&self.file, offset, bytes);
    }

    pub fn sync(&self) -> io::Result<()> {
        self.latched(|| self.inner.sync_data())
    }

    /// Makes every later write and sync fail. After a failed sync, the system may have dropped bytes that it has not
    /// written, and a later sync succeeds without them (`fsync` in Linux). So nothing may declare these bytes durable.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Returns an error after [`Disk::fail`].
    fn unfailed(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) { Err(io::Error::other("an earlier sync failed")) } else { Ok(()) }
    }

    fn latched(&self, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.unfailed()?;
        work().inspect_err(|_| self.fail())
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    pub fn set_commits(&self, commits: u64) {
        self.commits.store(commits, Ordering::Release);
    }

    /// Returns the number of commits that are known to be durable. Returns `None` if the file has no valid mark.
    pub fn mark(&self) -> Option<u64> {
        let mut bytes = [0; MARK_BYTES];
        self.inner.read(MARK_AT as u64, &mut bytes).ok()?;
        mark::decode(&bytes)
    }

    /// Writes the mark of the last durable commit. If the write of the mark fails, the previous mark stays. A mark of
    /// an earlier commit is also correct.
    pub fn set_mark(&self, commits: u64) {
        let _ = self.overwrite(MARK_AT as u64, &mark::encode(commits));
    }

    /// Writes bytes to the file, and first keeps the old pages if the file is frozen.
    pub fn overwrite(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.keep(offset, bytes.len())?;
        self.unfailed()?;
        self.inner.write(offset, bytes)
    }

    pub fn bytes(&self) -> u64 {
        self.inner.len().unwrap_or_default()
    }

    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    /// Freezes the file until the returned value is dropped. Only one value of `Frozen` can exist at a time.
    pub fn freeze(self: &Arc<Disk>) -> io::Result<Frozen> {
        let mut kept = self.kept();
        if kept.is_some() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another check is running"));
        }
        *kept = Some(Kept { len: self.inner.len()?, pages: BTreeMap::new(), lost: false });
        self.frozen.store(true, Ordering::Release);
        Ok(Frozen(Arc::clone(self)))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the old bytes of pages before they are overwritten, if the file is frozen.
    fn keep(&self, offset: u64, length: usize) -> io::Result<()> {
        if !self.frozen.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut kept = self.kept();
        let Some(kept) = kept.as_mut().filter(|kept| !kept.lost) else { return Ok(()) };
        let page_bytes = PAGE_BYTES as u64;
        for page in offset / page_bytes..(offset + length as u64).div_ceil(page_bytes) {
            let start = page * page_bytes;
            if start >= kept.len || kept.pages.contains_key(&page) {
                continue;
            }
            if kept.pages.len() * PAGE_BYTES >= KEPT_MAX_BYTES {
                kept.lost = true;
                kept.pages.clear();
                return Ok(());
            }
            let mut bytes = vec![0; PAGE_BYTES.min((kept.len - start) as usize)].into_boxed_slice();
            self.inner.read(start, &mut bytes)?;
            kept.pages.insert(page, bytes);
        }
        Ok(())
    }
}

/// Passes redb's calls to the `Disk`.
#[derive(Debug)]
pub(crate) struct Backend(pub Arc<Disk>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        Place::read_hidden(self.0.log(), offset, out, |offset, out| self.0.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(kept) = self.0.kept().as_mut() {
            kept.lost |= len < kept.len;
        }
        self.0.unfailed()?;
        self.0.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Some(awaited) = self.0.awaited().as_mut() {
            awaited.place = Place::in_page(offset, data, awaited.page_bytes, awaited.seed).or(awaited.place);
        }
        self.0.overwrite(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

/// The file as of the moment at which it was frozen. Dropping a `Frozen` ends the freeze of the file.
#[derive(Debug)]
pub(crate) struct Frozen(Arc<Disk>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.frozen.store(false, Ordering::Release);
        *self.0.kept() = None;
    }
}

impl Bytes for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.kept().as_ref().map_or(0, |kept| kept.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = Place::read_hidden(self.0.log(), offset, out, |offset, out| self.0.inner.read(offset, out));
        // `kept` is checked only after the read: if a write changes a page before or during the read, the old bytes are
        // already in `kept`.
        let kept = self.0.kept();
        let kept = kept.as_ref().filter(|kept| !kept.lost);
        let kept =
            kept.ok_or_else(|| io::Error::new(io::ErrorKind::Interrupted, "too much was written during the check"))?;
        read?;
        let page_bytes = PAGE_BYTES as u64;
        let end = offset + out.len() as u64;
        for (page, bytes) in kept.pages.range(offset / page_bytes..end.div_ceil(page_bytes)) {
            let start = page * page_bytes;
            let (from, to) = (start.max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                let source = &bytes[(from - start) as usize..(to - start) as usize];
                out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        false
    }

    /// `lock` takes no lock, because redb already holds the lock of the file.
    fn lock(&self) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}
