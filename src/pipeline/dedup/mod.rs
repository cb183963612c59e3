//! The client events that were accepted within the horizon (N5).
//!
//! An entry is 16 bytes: 96 bits of the hash of (user, event id) above 32 bits of the hash of the payload, so that the
//! same id with another payload is recognised without a second structure. New entries are in the open segment, a hash
//! table that a start rebuilds from the batches' blobs. A full or old segment is sealed: its sorted entries go to disk
//! in chunks, and a filter of 2 bytes a key and the first entry of each chunk stay in memory. A look-up asks the open
//! table, then each filter, and reads a chunk only when a filter says maybe.
//!
//! *The horizon is provable.* `floor_ms` is above the arrival of every entry that was ever dropped. An event's copies
//! arrive no earlier than its time. So if an event's time is not below the floor, all entries of its earlier copies are
//! still here. An event below the floor is `late`. A client's clock may be ahead by a few minutes, so entries are kept
//! that much longer.
//!
//! *No record moves the horizon* (N14). A segment is dropped when the horizon has passed twice: by arrivals, and by the
//! node's own clock since the segment was sealed. Reading a topic from its beginning, or a capture, takes minutes
//! whatever times the records have, so nothing of it is forgotten. Time in which nothing was sealed counts little
//! ([`GAP_MAX_MS`]), because the node was down, or its clock was set.
//!
//! *Delivered* events are different: their rows are in ClickHouse since a lost life of the store. Delivered events are
//! new and counted, but their rows are not sent again. Delivered events are in segments of their own, under the same
//! horizon.

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
/// The most that the time between two seals adds to the age of earlier segments.
pub const GAP_MAX_MS: i64 = 6 * SEGMENT_MAX_MS;
/// The most sealed segments that are kept by age: 118 million entries, 240 MB of filters. If there are more, arrivals
/// alone decide.
pub const SEALED_MAX_SEGMENTS: usize = 256;
/// The version of the format. Version 1 began with the earliest arrival instead of the node's clock.
const BATCH_VERSION: u8 = 2;

#[derive(Debug)]
struct Open {
    segment: u64,
    table: HashTable<Entry>,
    /// When the first entry was committed, by the node's clock, epoch milliseconds. `None` while there is no entry.
    opened_ms: Option<i64>,
    /// The latest arrival of an entry.
    max_ms: i64,
    /// The sequence of the next batch blob.
    next_batch: u64,
    /// The entries since the last commit.
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

    /// How long the segment has been open. If the clock was set back, the time begins again.
    fn age_ms(&mut self, now_ms: i64) -> i64 {
        let opened_ms = self.opened_ms.map_or(now_ms, |opened_ms| opened_ms.min(now_ms));
        self.opened_ms = Some(opened_ms);
        now_ms - opened_ms
    }
}

/// All entries within the horizon.
#[derive(Debug)]
pub struct Dedup {
    open: Open,
    sealed: Vec<Sealed>,
    delivered: Vec<Sealed>,
    floor_ms: i64,
}

impl Dedup {
    /// Loads the set from the store. `floor_ms` is the floor of the last commit.
    pub fn load(read: &ReadTxn, floor_ms: i64) -> Result<Dedup, ReadError> {
        let mut sealed = Sealed::load_all(read)?;
        let delivered = sealed.split_off(sealed.partition_point(|one| one.segment < DELIVERED_SEGMENT));
        let mut failed = None;
        let mut next = sealed.last().map_or(0, |last| last.segment + 1);
        // The horizon may have removed every sealed segment. The open one still keeps its number.
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

    /// Looks an event up. `read` sees the last commit.
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

    /// Whether the event's row is in ClickHouse from an earlier life of the store.
    pub fn delivered(&self, entry: Entry, read: &ReadTxn) -> Result<bool, ReadError> {
        let probe = Probe::new(entry.hash());
        for segment in self.delivered.iter().filter(|segment| segment.may_contain(&probe)) {
            if segment.look_up(entry, read)? != Seen::New {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds an event that [`Dedup::check`] called new.
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

    /// Lowers a floor that a wrong clock, or a believed record, has put into the future. It is lowered to now and no
    /// further, because it is no longer known which earlier events were forgotten.
    pub fn heal_floor(&mut self, times: Times) {
        if self.floor_ms > times.latest_ms {
            self.floor_ms = times.now_ms;
        }
    }

    /// Lowers the arrivals of entries that are in the future: these entries stay as long as if they had arrived now.
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

    /// Drops segments that are old by both clocks, and raises the floor above them.
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

    /// How many of the first segments were sealed at least the horizon ago. A gap counts as at most [`GAP_MAX_MS`].
    fn aged(&self, now_ms: i64, horizon_ms: i64) -> usize {
        let (mut age_ms, mut later_ms) = (0, now_ms);
        let young = self.sealed.iter().rev().take_while(|segment| {
            age_ms += later_ms.saturating_sub(segment.sealed_ms).clamp(0, GAP_MAX_MS);
            later_ms = segment.sealed_ms;
            age_ms < horizon_ms
        });
        self.sealed.len() - young.count()
    }

    /// An event with an earlier time than this cannot be recognised as new.
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
    // The present limits of the segment are enough, because they only serve to seal and drop it.
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
