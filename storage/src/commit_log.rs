//! The commit log: the changes of small commits, one record after the other, in one value of redb.
//!
//! A durable commit of redb writes 13 pages even for a single event, and redb must read the whole file after a crash,
//! unless each commit also writes the table of free pages. So nova writes the changes of a small commit to the commit
//! log and syncs once, and redb keeps the changed pages in memory (`Durability::None`). A commit that is too large for
//! the rest of the log is a durable commit of redb with the table of free pages (`set_quick_repair`). A durable commit
//! contains all earlier commits. After a durable commit, nova writes the next record at the start of the log. When nova
//! opens a store, nova applies the records that follow the last durable commit.
//!
//! **The place.** The log is in the file of the store, so that a copy of the file is complete. redb has one large value
//! in the table [`COMMIT_LOG`](crate::schema::COMMIT_LOG), which fills pages of its own, and nova writes the records
//! over the zeros of this value. redb and every check see the zeros ([`Place::read_hidden`]), so the checksums of redb
//! stay right. The first page of the file has the place of the log (`mark` explains why nova may write there).
//!
//! **Records.** A record has the number of its commit, the length and the bytes of its changes, and a checksum. The log
//! is never emptied. A record behind the newest has a lower number than the next commit, so nova does not take it for
//! the next commit. After the sync of a record, nova writes an acknowledgement behind the record, without another sync.
//! A record that cannot be read is the torn write of a power loss, unless an acknowledgement says that its commit was
//! durable. A disk must not damage the durable bytes of a sector when it loses its power while it writes this sector
//! again, as redb also expects for its header. The checksums of records and acknowledgements start from a random number
//! that only the file has, so that nobody can send bytes that look like a record.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::check::CheckError;
use crate::disk::Disk;
use crate::mark::{PAGE_BYTES, checksum};
use crate::schema::fits_page;

/// The only key of [`COMMIT_LOG`](crate::schema::COMMIT_LOG).
pub(crate) const LOG_KEY: u8 = 0;
/// The key in `meta` that says that commits may be in the commit log alone. Without this entry, a file without a
/// readable place has no commits in a log.
pub(crate) const ACTIVE_KEY: &str = "commit_log";
pub(crate) const ACTIVE: [u8; 1] = [1];
/// The first bytes of the value, by which nova finds the value among the pages that redb writes.
const HEAD: [u8; 16] = *b"nova commit log\0";
/// The bytes of [`HEAD`] and of the random number behind it. Without the random number, somebody could send data that
/// nova takes for the value.
const HEAD_BYTES: usize = HEAD.len() + 8;
/// The largest part of a page in front of the value: redb's header of the page and the key.
const BEFORE_VALUE_MAX_BYTES: usize = 256;

/// The position of the place in the first page: 8 bytes of [`PLACE_MAGIC`], then the start and the length of the log
/// and the random number, and a checksum, each with 8 bytes in little-endian order.
pub(crate) const PLACE_AT: usize = 1_088;
pub(crate) const PLACE_BYTES: usize = 40;
const PLACE_MAGIC: [u8; 8] = *b"novaplog";

const ACKNOWLEDGEMENT_MAGIC: [u8; 8] = *b"novadone";
const ACKNOWLEDGEMENT_BYTES: usize = 24;
/// The bytes of a record besides its changes: the number of the commit, the length of the changes, and the checksum.
const RECORD_BYTES: usize = 8 + 4 + 8;
/// The limits of the log are multiples of this part of redb's page.
const ALIGN_PART: u64 = 8;
/// A commit with more changes than this part of the log is a durable commit of redb, because its changes would fill the
/// log soon.
const RECORD_PART: u64 = 16;
/// The maximum number of records. A durable commit of redb takes a few microseconds and writes 2.4 kB for each commit
/// that redb has kept in memory.
const RECORDS_MAX: u32 = 1_000;

fn head(seed: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..HEAD.len()].copy_from_slice(&HEAD);
    head[HEAD.len()..].copy_from_slice(&seed.to_le_bytes());
    head
}

/// Returns the value of the log for a page of redb of `page_bytes`.
pub(crate) fn empty_value(page_bytes: usize, seed: u64) -> Vec<u8> {
    let mut value = vec![0; fits_page(page_bytes)];
    value[..HEAD_BYTES].copy_from_slice(&head(seed));
    value
}

/// The place of the log in the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    start: u64,
    bytes: u64,
    /// The random number from which the checksums start.
    seed: u64,
}

impl Place {
    /// Returns the place of the log in a page that redb is writing, if the page has the value of the log.
    pub fn in_page(offset: u64, page: &[u8], page_bytes: usize, seed: u64) -> Option<Place> {
        let front = page.get(..BEFORE_VALUE_MAX_BYTES)?;
        let head = front.windows(HEAD_BYTES).position(|bytes| bytes == head(seed))?;
        let end = head + fits_page(page_bytes);
        if page.len() < end {
            return None;
        }
        // The log has whole pages of the system, so that a write of a record changes no page of redb. Its limits are
        // multiples of a large number, so that no folio of the page cache has both the log and a page of redb.
        let align = (page_bytes as u64 / ALIGN_PART).max(PAGE_BYTES as u64);
        let start = (offset + (head + HEAD_BYTES) as u64).next_multiple_of(align);
        let end = (offset + end as u64) / align * align;
        (start < end).then(|| Place { start, bytes: end - start, seed })
    }

    /// Returns the position of the log in the file, in bytes.
    #[cfg(test)]
    pub fn range(&self) -> std::ops::Range<u64> {
        self.start..self.start + self.bytes
    }

    pub fn encode(&self) -> [u8; PLACE_BYTES] {
        let mut out = [0; PLACE_BYTES];
        out[..8].copy_from_slice(&PLACE_MAGIC);
        for (at, number) in [self.start, self.bytes, self.seed].into_iter().enumerate() {
            out[8 + at * 8..16 + at * 8].copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&out[..32]);
        out[32..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the place from the first page of a file. Returns `None` for a file without a log, and for a place that is
    /// not complete.
    pub fn of(first_page: impl FnOnce(u64, &mut [u8]) -> io::Result<()>, file_bytes: u64) -> Option<Place> {
        let mut bytes = [0; PLACE_BYTES];
        first_page(PLACE_AT as u64, &mut bytes).ok()?;
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let place = Place { start: number(8)?, bytes: number(16)?, seed: number(24)? };
        (bytes == place.encode() && place.start.checked_add(place.bytes)? <= file_bytes).then_some(place)
    }

    /// Returns the position in the file of `length` bytes at a position in the log. Returns `None` if the bytes do not
    /// fit.
    pub fn offset(&self, at: u64, length: usize) -> Option<u64> {
        (at.checked_add(length as u64)? <= self.bytes).then_some(self.start + at)
    }

    /// Reads bytes of the file with `read`, and gives zeros for the bytes of the log. The bytes of the log are not read,
    /// because a read would bring them into the page cache (see [`crate::disk::Disk::forget`]).
    pub fn read_hidden(
        log: Option<Place>,
        offset: u64,
        out: &mut [u8],
        read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (start, end) = log.map_or((0, 0), |log| (log.start, log.start + log.bytes));
        let within = |at: u64| (at.max(offset) - offset).min(out.len() as u64) as usize;
        let (from, to) = (within(start), within(end));
        if from >= to {
            return read(offset, out);
        }
        let (before, rest) = out.split_at_mut(from);
        let (hidden, after) = rest.split_at_mut(to - from);
        hidden.fill(0);
        if !before.is_empty() {
            read(offset, before)?;
        }
        if after.is_empty() { Ok(()) } else { read(end, after) }
    }
}

/// Returns the random number for a new log.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The commit log of an open store. Only the thread with the write transaction writes to it.
#[derive(Debug)]
pub(crate) struct CommitLog {
    place: Place,
    /// The position of the next record in the log.
    at: u64,
    /// The number of records since the log began.
    records: u32,
    /// The newest record, whose memory is used again.
    record: Vec<u8>,
}

impl CommitLog {
    pub fn new(place: Place) -> CommitLog {
        CommitLog { place, at: 0, records: 0, record: Vec::new() }
    }

    /// Returns the position in the file after the newest record.
    #[cfg(test)]
    pub fn position(&self) -> u64 {
        self.place.start + self.at
    }

    /// Returns how many bytes the changes of a record may have now.
    pub fn room(&self) -> usize {
        let left = self.place.bytes.saturating_sub(self.at + (RECORD_BYTES + ACKNOWLEDGEMENT_BYTES) as u64);
        if self.records < RECORDS_MAX { left.min(self.place.bytes / RECORD_PART) as usize } else { 0 }
    }

    /// Writes the record of a commit, and makes the record durable.
    pub fn append(&mut self, disk: &Disk, number: u64, changes: &[u8]) -> io::Result<()> {
        self.record.clear();
        self.record.extend_from_slice(&number.to_le_bytes());
        self.record.extend_from_slice(&(changes.len() as u32).to_le_bytes());
        self.record.extend_from_slice(changes);
        let sum = xxh3_64_with_seed(&self.record, self.place.seed);
        self.record.extend_from_slice(&sum.to_le_bytes());
        let end = self.at + self.record.len() as u64;
        // The write fills its last page of the system, so that the system does not read this page first.
        let filled = end.next_multiple_of(PAGE_BYTES as u64).min(self.place.bytes) - self.at;
        self.record.resize(filled as usize, 0);
        disk.write_log(self.at, &self.record)?;
        disk.sync()?;
        self.at = end;
        self.records += 1;
        Ok(())
    }

    /// Writes the acknowledgement of the newest record. If the write fails, a damaged record may look like a torn one.
    pub fn acknowledge(&mut self, disk: &Disk, number: u64) {
        let acknowledgement = acknowledgement(number, self.place.seed);
        let _ = disk.write_log(self.at, &acknowledgement);
        self.at += ACKNOWLEDGEMENT_BYTES as u64;
    }

    /// Moves the position of the next record to the start of the log. Every earlier commit is durable in redb.
    pub fn begin(&mut self, disk: &Disk) {
        self.at = 0;
        self.records = 0;
        disk.forget(self.place.start, self.place.bytes);
    }
}

/// Reads the changes of the commits after the commit `durable`, in their order. `active` says whether commits may be in
/// the log alone.
pub(crate) fn read(
    place: Option<Place>,
    active: bool,
    durable: u64,
    file: impl FnOnce(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Vec<Vec<u8>>, CheckError> {
    let place = match (place, active) {
        (_, false) => return Ok(Vec::new()),
        (None, true) => return Err(CheckError::Damaged("the place of its commit log cannot be read".to_owned())),
        (Some(place), true) => place,
    };
    let mut log = vec![0; place.bytes as usize];
    file(place.start, &mut log).map_err(|error| CheckError::Io(error.into()))?;
    let (mut rest, mut number, mut found) = (&log[..], durable, Vec::new());
    while let Some((changes, after)) = record(rest, number + 1, place.seed) {
        found.push(changes.to_vec());
        number += 1;
        rest = after;
    }
    match last_acknowledged(&log, place.seed) {
        Some(acknowledged) if acknowledged > number => {
            let detail = format!("commit {acknowledged} was durable, and the commit log ends with commit {number}");
            Err(CheckError::Damaged(detail))
        }
        _ => Ok(found),
    }
}

fn acknowledgement(number: u64, seed: u64) -> [u8; ACKNOWLEDGEMENT_BYTES] {
    let mut out = [0; ACKNOWLEDGEMENT_BYTES];
    out[..8].copy_from_slice(&ACKNOWLEDGEMENT_MAGIC);
    out[8..16].copy_from_slice(&number.to_le_bytes());
    let sum = xxh3_64_with_seed(&out[..16], seed);
    out[16..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Returns the changes of the commit `number`, and the bytes after its record, if the bytes begin with this record.
fn record(bytes: &[u8], number: u64, seed: u64) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (changes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (sum, rest) = rest.split_first_chunk()?;
    let whole = &bytes[..RECORD_BYTES - 8 + changes.len()];
    let is_next = u64::from_le_bytes(*found) == number && u64::from_le_bytes(*sum) == xxh3_64_with_seed(whole, seed);
    is_next.then_some((changes, rest.get(ACKNOWLEDGEMENT_BYTES..).unwrap_or_default()))
}

/// Returns the highest number of a commit whose acknowledgement is in the log.
fn last_acknowledged(log: &[u8], seed: u64) -> Option<u64> {
    let candidates = log.windows(ACKNOWLEDGEMENT_BYTES).filter(|bytes| bytes.starts_with(&ACKNOWLEDGEMENT_MAGIC));
    let numbers = candidates.filter_map(|bytes| {
        let number = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
        (bytes == acknowledgement(number, seed)).then_some(number)
    });
    numbers.max()
}
