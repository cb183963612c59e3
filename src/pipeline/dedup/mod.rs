//! The client events that nova accepted within the dedup horizon (rule N5).
//!
//! An entry has 16 bytes. The high 96 bits are from the hash of user and event id, and the low 32 bits are from the
//! hash of the payload. So nova needs no second structure to find a known id with a different payload. New entries are
//! in the open segment, which is a hash table in memory. At a start, nova builds the open segment again from the blobs
//! that the commits stored. A full or old segment is sealed: its sorted entries are written to disk in chunks. A filter
//! of 2 bytes a key and the first entry of each chunk stay in memory. A look-up asks the open segment and then each
//! filter. A look-up reads a chunk only when a filter answers "maybe".
//!
//! *Whether an event is a duplicate can be proved within the horizon.* `floor_ms` is above the arrival of every entry
//! that was ever dropped. A copy of an event never arrives before the event's own time. So if the time of an event is
//! not below the floor, the dedup set still has all entries of the event's earlier copies. An event whose time is below
//! the floor is `late`. The clock of a client may be a few minutes ahead, so entries are kept a few minutes longer than
//! the horizon.
//!
//! *No single record can move the horizon* (rule N14). A segment is dropped when two clocks say that the horizon has
//! passed since the segment was sealed: the watermark over arrivals, and the clock of the node. nova reads a whole
//! topic or a whole capture within minutes, however far apart the times of its records are. So nova forgets no entry of
//! a topic or capture while it reads that topic or capture. A time in which no segment was sealed counts as at most
//! [`GAP_MAX_MS`], because the node may have been down, or the clock of the node may have been set.
//!
//! *Delivered* events are events whose rows ClickHouse got from an earlier, lost store of this node. nova counts a
//! delivered event as new, but does not send its row again. Delivered events have segments of their own, under the same
//! horizon as all events.

mod delivered;
mod entry;
mod sealed;
mod times;

use hashbrown::HashTable;
use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::DEDUP_OPEN;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use crate::pipeline::filter::Probe;

use self::sealed::Sealed;

pub use self::delivered::DeliveredWriter;
pub use self::entry::{Entry, Seen};
pub use self::sealed::{DELIVERED_SEGMENT, SEGMENT_MAX_KEYS};
pub use self::times::Times;

/// A segment is sealed when it has been open for this long by the node's clock, so that old segments can be dropped in
/// steps.
pub const SEGMENT_MAX_MS: i64 = 3_600_000;
/// The maximum that the time between two seals adds to the age of earlier segments.
pub const GAP_MAX_MS: i64 = 6 * SEGMENT_MAX_MS;
/// The maximum number of sealed segments that nova keeps because of their age. `SEALED_MAX_SEGMENTS` segments have 118
/// million entries, and 240 MB of filters. If there are more sealed segments than this, nova ignores its own clock, and
/// only the arrivals of events decide which segments are dropped.
pub const SEALED_MAX_SEGMENTS: usize = 256;
/// The version of the format of a batch's blob. Version 1 of the format began with the earliest arrival of an event.
/// Version 2 of the format begins with a time of the node's clock.
const BATCH_VERSION: u8 = 2;

#[derive(Debug)]
struct Open {
    segment: u64,
    table: HashTable<Entry>,
    /// The time at which the first entry of the open segment was committed, by the node's clock, epoch milliseconds.
    /// `opened_ms` is `None` while the open segment has no entry.
    opened_ms: Option<i64>,
    /// The latest arrival of an event in the open segment, epoch milliseconds.
    max_ms: i64,
    /// The sequence number of the next blob of a batch.
    next_batch: u64,
    /// The entries that were added since the last commit.
    batch: Vec<Entry>,
}

impl Open {
    fn new(segment: u64) -> Open {
        Open { segment, table: HashTable::new(), opened_ms: None, max_ms: i64::MIN, next_batch: 0, batch: Vec::new() }
    }

    fn insert(&mut self, entry: Entry, arrival_ms: i64) {
        self.table.insert_unique(entry.hash(), entry, |entry| entry.hash());
        self.max_ms = self.max_ms.max(arrival_ms);
    }

    /// The time in milliseconds for which the segment has been open. If the clock was set back, the open time of the
    /// segment begins again at zero.
    fn age_ms(&mut self, now_ms: i64) -> i64 {
        let opened_ms = self.opened_ms.map_or(now_ms, |opened_ms| opened_ms.min(now_ms));
        self.opened_ms = Some(opened_ms);
        now_ms - opened_ms
    }
}

/// All entries of the dedup set that are within the horizon.
#[derive(Debug)]
pub struct Dedup {
    open: Open,
    sealed: Vec<Sealed>,
    delivered: Vec<Sealed>,
    floor_ms: i64,
}

impl Dedup {
    /// Loads the dedup set from the store. `floor_ms` is the floor that the last commit stored.
    pub fn load(read: &ReadTxn, floor_ms: i64) -> Result<Dedup, ReadError> {
        let mut sealed = Sealed::load_all(read)?;
        let delivered = sealed.split_off(sealed.partition_point(|one| one.segment < DELIVERED_SEGMENT));
        let mut failed = None;
        let mut next = sealed.last().map_or(0, |last| last.segment + 1);
        // The horizon may have passed for every sealed segment, so that none is left. The open segment keeps its number
        // even if no sealed segment is left.
        read.scan(DEDUP_OPEN, (next, 0u64).., |(segment, _), _| {
            next = segment;
            false
        })?;
        let mut open = Open::new(next);
        read.scan(DEDUP_OPEN, (next, 0u64).., |(segment, sequence), bytes| {
            debug_assert_eq!(segment, next);
            open.next_batch = sequence + 1;
            match decode_batch(bytes, &mut open) {
                Ok(()) => true,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(Dedup { open, sealed, delivered, floor_ms }),
        }
    }

    /// Looks an event up in the dedup set. `read` is a read transaction that sees the last commit.
    pub fn check(&self, entry: Entry, read: &ReadTxn) -> Result<Seen, ReadError> {
        if let Some(found) = self.open.table.find(entry.hash(), |other| other.same_event(entry)) {
            return Ok(if *found == entry { Seen::Duplicate } else { Seen::Conflict });
        }
        let probe = Probe::new(entry.hash());
        for segment in self.sealed.iter().rev().filter(|segment| segment.may_contain(&probe)) {
            let seen = segment.look_up(entry, read)?;
            if seen != Seen::New {
                return Ok(seen);
            }
        }
        Ok(Seen::New)
    }

    /// Whether ClickHouse has the event's row from an earlier store of this node.
    pub fn delivered(&self, entry: Entry, read: &ReadTxn) -> Result<bool, ReadError> {
        let probe = Probe::new(entry.hash());
        for segment in self.delivered.iter().filter(|segment| segment.may_contain(&probe)) {
            if segment.look_up(entry, read)? != Seen::New {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds an event for which [`Dedup::check`] returned that it is new.
    pub fn insert(&mut self, entry: Entry, arrival_ms: i64) {
        self.open.insert(entry, arrival_ms);
        self.open.batch.push(entry);
    }

    /// Writes the entries since the last commit, and seals and drops segments that are due.
    pub fn commit(&mut self, write: &WriteTxn, times: Times) -> Result<(), WriteError> {
        self.heal(write, times)?;
        if !self.open.table.is_empty() {
            let old = self.open.age_ms(times.now_ms) >= SEGMENT_MAX_MS;
            if old || self.open.table.len() >= SEGMENT_MAX_KEYS {
                self.seal(write, times.now_ms)?;
            } else if !self.open.batch.is_empty() {
                let blob = encode_batch(&self.open);
                write.put(DEDUP_OPEN, (self.open.segment, self.open.next_batch), &blob)?;
                self.open.next_batch += 1;
                self.open.batch.clear();
            }
        }
        self.drop_old(write, times)
    }

    /// Lowers a floor that lies in the future because of a wrong clock, or because of a wrong time in a record. The
    /// floor is lowered to the present time and no further, because nova no longer knows which earlier events it
    /// forgot.
    pub fn heal_floor(&mut self, times: Times) {
        if self.floor_ms > times.latest_ms {
            self.floor_ms = times.now_ms;
        }
    }

    /// Lowers arrivals that lie in the future, so that nova keeps the entries of these arrivals as long as entries that
    /// arrive now.
    fn heal(&mut self, write: &WriteTxn, times: Times) -> Result<(), WriteError> {
        self.open.max_ms = self.open.max_ms.min(times.latest_ms);
        for segment in self.sealed.iter_mut().chain(&mut self.delivered) {
            segment.heal(times, write)?;
        }
        Ok(())
    }

    fn seal(&mut self, write: &WriteTxn, now_ms: i64) -> Result<(), WriteError> {
        let next = Open::new(self.open.segment + 1);
        let open = std::mem::replace(&mut self.open, next);
        let entries = open.table.into_iter().collect();
        let sealed = Sealed::write(open.segment, entries, open.max_ms, now_ms, write)?;
        write.remove_range(DEDUP_OPEN, ..(sealed.segment + 1, 0u64))?;
        self.sealed.push(sealed);
        Ok(())
    }

    /// Drops segments that are too old both by the arrivals of their events and by the node's clock. Raises the floor
    /// above the arrivals of the dropped entries.
    fn drop_old(&mut self, write: &WriteTxn, times: Times) -> Result<(), WriteError> {
        let bound_ms = times.watermark_ms.saturating_sub(times.horizon_ms);
        let crowded = self.sealed.len().saturating_sub(SEALED_MAX_SEGMENTS);
        let aged = self.aged(times.now_ms, times.horizon_ms).max(crowded);
        let delivered =
            |one: &mut Sealed| one.max_ms < bound_ms && times.now_ms.saturating_sub(one.sealed_ms) >= times.horizon_ms;
        let known = self.sealed.extract_if(..aged, |one| one.max_ms < bound_ms);
        for gone in known.chain(self.delivered.extract_if(.., delivered)) {
            self.floor_ms = self.floor_ms.max(gone.max_ms + 1);
            gone.remove(write)?;
        }
        Ok(())
    }

    /// The number of segments, counted from the oldest, that were sealed at least as long ago as the horizon. A gap
    /// between two seals counts as at most [`GAP_MAX_MS`].
    fn aged(&self, now_ms: i64, horizon_ms: i64) -> usize {
        let (mut age_ms, mut later_ms) = (0, now_ms);
        let young = self.sealed.iter().rev().take_while(|segment| {
            age_ms += later_ms.saturating_sub(segment.sealed_ms).clamp(0, GAP_MAX_MS);
            later_ms = segment.sealed_ms;
            age_ms < horizon_ms
        });
        self.sealed.len() - young.count()
    }

    /// nova cannot recognise an event as new if the event's time is earlier than `floor_ms`.
    pub fn floor_ms(&self) -> i64 {
        self.floor_ms
    }

    pub fn keys(&self) -> u64 {
        self.open.table.len() as u64 + self.sealed.iter().map(|segment| segment.keys).sum::<u64>()
    }

    pub fn mem_bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().chain(&self.delivered).map(Sealed::mem_bytes).sum();
        sealed + self.open.table.capacity() * 17 + self.open.batch.capacity() * 16
    }
}

fn encode_batch(open: &Open) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + open.batch.len() * 16);
    out.put_u8(BATCH_VERSION);
    // The blob has the segment's opening time and latest arrival as of now. nova uses both only to decide when the
    // segment is sealed and dropped.
    out.put_zigzag(open.opened_ms.unwrap_or(i64::MAX));
    out.put_zigzag(open.max_ms);
    for entry in &open.batch {
        out.put_fixed(&entry.0.to_be_bytes());
    }
    out
}

fn decode_batch(bytes: &[u8], open: &mut Open) -> Result<(), CodecError> {
    let (mut reader, _) = Reader::versioned("dedup batch", bytes, BATCH_VERSION)?;
    let (opened_ms, max_ms) = (reader.zigzag()?, reader.zigzag()?);
    while !reader.is_empty() {
        let entry = Entry(u128::from_be_bytes(reader.fixed()?));
        open.insert(entry, max_ms);
    }
    open.opened_ms = Some(open.opened_ms.map_or(opened_ms, |known_ms| known_ms.min(opened_ms)));
    Ok(())
}

#[cfg(test)]
mod tests;
