//! Which client events were accepted within the horizon (N5).
//!
//! An entry is 16 bytes: 96 bits of the hash of (user, event id) above 32 bits of the hash of the payload, so that the
//! same id with another payload is told apart without a second structure. New entries live in the open segment, a
//! hash table that the batches' own blobs rebuild. A full or old segment is sealed: its sorted entries go to disk in
//! chunks, a filter of 2 bytes a key and the first entry of each chunk stay in memory. A look-up asks the open table,
//! then each filter, and reads a chunk only when a filter says maybe.
//!
//! *The horizon is provable.* `floor_ms` is above the arrival of every entry that was ever dropped. An event's copies
//! arrive no earlier than its time, so an event whose time is not below the floor has all its earlier copies' entries
//! still here; one below it is `late`. A client's clock may be ahead by a few minutes: entries are kept so much longer.
//!
//! *Delivered* events are another matter: their rows are in ClickHouse since a life of the store that was lost. They are
//! new, and counted, but their rows are not sent again. They stand in segments of their own, under the same horizon.

mod delivered;
pub mod filter;
mod sealed;

use hashbrown::HashTable;
use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::DEDUP_OPEN;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};

use sealed::Sealed;

pub use delivered::DeliveredWriter;

/// A segment is sealed at this many entries: with one more commit still within what a hash table of 2^19 slots takes
/// before it would double (8.9 MB).
pub const SEGMENT_MAX_KEYS: usize = (1 << 19) / 8 * 7 - (1 << 15);
/// A segment is sealed when its entries' arrivals span this much, so that old ones can go in steps.
pub const SEGMENT_MAX_MS: i64 = 3_600_000;
const SEGMENT_VERSION: u8 = 1;
/// Segments of delivered events have numbers from here on.
pub const DELIVERED_SEGMENT: u64 = 1 << 63;

/// One accepted event: identity above, payload below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry(u128);

impl Entry {
    /// `identity` is a 128-bit hash of (user, event id), `payload` a 64-bit hash of the rest.
    pub fn new(identity: u128, payload: u64) -> Entry {
        Entry(identity & !u128::from(u32::MAX) | u128::from(payload as u32))
    }

    fn same_event(self, other: Entry) -> bool {
        (self.0 ^ other.0) >> 32 == 0
    }

    fn hash(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The smallest entry of the same event.
    fn floor(self) -> Entry {
        Entry(self.0 & !u128::from(u32::MAX))
    }
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    /// The same event with the same payload.
    Duplicate,
    /// The same event with another payload: the first one stays.
    Conflict,
}

#[derive(Debug)]
struct Open {
    segment: u64,
    table: HashTable<Entry>,
    /// Arrivals of its entries, epoch milliseconds; `min > max` while it is empty.
    min_ms: i64,
    max_ms: i64,
    /// Sequence of the next batch blob.
    next_batch: u64,
    /// Entries since the last commit.
    batch: Vec<Entry>,
}

impl Open {
    fn new(segment: u64) -> Open {
        Open { segment, table: HashTable::new(), min_ms: i64::MAX, max_ms: i64::MIN, next_batch: 0, batch: Vec::new() }
    }

    fn insert(&mut self, entry: Entry, arrival_ms: i64) {
        self.table.insert_unique(entry.hash(), entry, |entry| entry.hash());
        self.min_ms = self.min_ms.min(arrival_ms);
        self.max_ms = self.max_ms.max(arrival_ms);
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
    /// Loads what the store holds. `floor_ms` is the one of the last commit.
    pub fn load(read: &ReadTxn, floor_ms: i64) -> Result<Dedup, ReadError> {
        let mut sealed = Sealed::load_all(read)?;
        let delivered = sealed.split_off(sealed.partition_point(|one| one.segment < DELIVERED_SEGMENT));
        let mut failed = None;
        let mut next = sealed.last().map_or(0, |last| last.segment + 1);
        // Every sealed segment may be gone by the horizon: the open one keeps its number.
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

    /// Looks the event up. `read` sees the last commit.
    pub fn check(&self, entry: Entry, read: &ReadTxn) -> Result<Seen, ReadError> {
        if let Some(found) = self.open.table.find(entry.hash(), |other| other.same_event(entry)) {
            return Ok(if *found == entry { Seen::Duplicate } else { Seen::Conflict });
        }
        for segment in self.sealed.iter().rev() {
            let seen = segment.look_up(entry, read)?;
            if seen != Seen::New {
                return Ok(seen);
            }
        }
        Ok(Seen::New)
    }

    /// Whether the event's row is in ClickHouse since before this life of the store.
    pub fn delivered(&self, entry: Entry, read: &ReadTxn) -> Result<bool, ReadError> {
        for segment in &self.delivered {
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

    /// Writes the entries since the last commit, seals and drops what is due. `watermark_ms` is the arrival below
    /// which no partition will deliver any more, `horizon_ms` how long an entry stays after it.
    pub fn commit(&mut self, write: &WriteTxn, watermark_ms: i64, horizon_ms: i64) -> Result<(), WriteError> {
        let full = self.open.table.len() >= SEGMENT_MAX_KEYS;
        let old = self.open.max_ms.saturating_sub(self.open.min_ms) >= SEGMENT_MAX_MS;
        if full || (old && !self.open.table.is_empty()) {
            self.seal(write)?;
        } else if !self.open.batch.is_empty() {
            let blob = encode_batch(&self.open);
            write.put(DEDUP_OPEN, (self.open.segment, self.open.next_batch), &blob)?;
            self.open.next_batch += 1;
            self.open.batch.clear();
        }
        self.drop_before(write, watermark_ms.saturating_sub(horizon_ms))
    }

    fn seal(&mut self, write: &WriteTxn) -> Result<(), WriteError> {
        let next = Open::new(self.open.segment + 1);
        let open = std::mem::replace(&mut self.open, next);
        let entries = open.table.into_iter().collect();
        let sealed = Sealed::write(open.segment, entries, open.max_ms, write)?;
        write.remove_range(DEDUP_OPEN, ..(sealed.segment + 1, 0u64))?;
        self.sealed.push(sealed);
        Ok(())
    }

    /// Drops segments whose every entry arrived before `bound_ms`, and raises the floor over them.
    fn drop_before(&mut self, write: &WriteTxn, bound_ms: i64) -> Result<(), WriteError> {
        for segments in [&mut self.sealed, &mut self.delivered] {
            for gone in segments.extract_if(.., |segment| segment.max_ms < bound_ms) {
                self.floor_ms = self.floor_ms.max(gone.max_ms + 1);
                gone.remove(write)?;
            }
        }
        Ok(())
    }

    /// An event with an earlier time than this cannot be told new.
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
    out.put_u8(SEGMENT_VERSION);
    // The segment's bounds so far are enough: they only serve to seal and drop it.
    out.put_zigzag(open.min_ms);
    out.put_zigzag(open.max_ms);
    for entry in &open.batch {
        out.put_fixed(&entry.0.to_be_bytes());
    }
    out
}

fn decode_batch(bytes: &[u8], open: &mut Open) -> Result<(), CodecError> {
    let (mut reader, _) = Reader::versioned("dedup batch", bytes, SEGMENT_VERSION)?;
    let (min_ms, max_ms) = (reader.zigzag()?, reader.zigzag()?);
    if min_ms > max_ms {
        return Err(CodecError::Invalid("dedup batch"));
    }
    while !reader.is_empty() {
        let entry = Entry(u128::from_be_bytes(reader.fixed()?));
        open.insert(entry, max_ms);
    }
    open.min_ms = open.min_ms.min(min_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::Store;
    use nova_storage::testing::Recorder;
    use nova_storage::testing::mutate::{check_bytes, mutated};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use xxhash_rust::xxh3::xxh3_128;

    const HORIZON_MS: i64 = 24 * 3_600_000;

    fn store() -> Store {
        Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap()
    }

    fn entry(id: u32, payload: u64) -> Entry {
        Entry::new(xxh3_128(&id.to_le_bytes()), payload)
    }

    fn commit(dedup: &mut Dedup, store: &Store, watermark_ms: i64) {
        let write = store.write().unwrap();
        dedup.commit(&write, watermark_ms, HORIZON_MS).unwrap();
        write.commit().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Against a map: any ids and payloads, arrivals that jump, also back by an hour, segments sealed by age, restarts
        /// anywhere.
        #[test]
        fn n5_an_id_is_new_once_within_the_horizon(
            steps in proptest::collection::vec(
                (0u32..40, 0u64..2, -1_800_000i64..7_200_000, any::<bool>(), 0u8..10), 1..200
            ),
        ) {
            let store = store();
            let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut now_ms = 1_000_000_000;
            for (id, payload, step_ms, flush, restart) in steps {
                // Forth in small steps, back in large ones.
                now_ms += if step_ms < 0 { step_ms * 2 } else { step_ms / 50 };
                let seen = dedup.check(entry(id, payload), &store.read().unwrap()).unwrap();
                let expected = match model.get(&id) {
                    None => Seen::New,
                    Some(first) if *first == payload => Seen::Duplicate,
                    Some(_) => Seen::Conflict,
                };
                prop_assert_eq!(seen, expected);
                if seen == Seen::New {
                    dedup.insert(entry(id, payload), now_ms);
                    model.insert(id, payload);
                }
                if flush || restart == 0 {
                    commit(&mut dedup, &store, now_ms);
                    prop_assert_eq!(dedup.keys(), model.len() as u64);
                }
                if restart == 0 {
                    dedup = Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap();
                    prop_assert_eq!(dedup.keys(), model.len() as u64);
                }
            }
        }

        #[test]
        fn mutated_segments_are_errors_or_segments_with_these_bytes(
            entries in proptest::collection::btree_map(any::<u32>(), any::<u64>(), 1..40), arrival_ms: i64, seed: u64,
        ) {
            let mut open = Open::new(0);
            for (id, payload) in &entries {
                open.insert(entry(*id, *payload), arrival_ms);
                open.batch.push(entry(*id, *payload));
            }
            let batch = |bytes: &[u8]| {
                let mut open = Open::new(0);
                decode_batch(bytes, &mut open)?;
                let (min_ms, max_ms) = (open.min_ms.min(arrival_ms), open.max_ms);
                let entries = bytes[1..].to_vec();
                Ok((min_ms <= max_ms || open.table.is_empty(), entries))
            };
            let again = |(_, entries): &(bool, Vec<u8>)| [&[SEGMENT_VERSION], entries.as_slice()].concat();
            check_bytes(&encode_batch(&open), seed, batch, again);

            let store = store();
            let write = store.write().unwrap();
            let all: Vec<_> = open.table.into_iter().collect();
            let sealed = Sealed::write(7, all, arrival_ms, &write).unwrap();
            write.commit().unwrap();
            let stored = store.read().unwrap().get(nova_storage::schema::DEDUP_SEGMENT, 7).unwrap().unwrap();
            let of = |bytes: &[u8]| sealed::decode(7, bytes).map(|sealed| sealed.encode());
            check_bytes(&stored, seed, of, Vec::clone);
            drop(sealed);

            let chunk = store.read().unwrap().get(nova_storage::schema::DEDUP_KEYS, (7, 0)).unwrap().unwrap();
            for (number, (id, payload)) in (0..).zip(&entries) {
                let wanted = entry(*id, *payload);
                prop_assert_eq!(sealed::find(&chunk, wanted), Ok(Some(wanted)));
                let mutant = mutated(&chunk, seed.wrapping_add(number));
                if let Ok(Some(found)) = sealed::find(&mutant, wanted) {
                    prop_assert!(found.same_event(wanted));
                }
            }
        }
    }

    #[test]
    fn what_is_dropped_raises_the_floor_above_its_arrivals() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        for hour in 0..30i64 {
            for id in 0..10 {
                dedup.insert(entry(hour as u32 * 10 + id, 0), hour * SEGMENT_MAX_MS + i64::from(id) * 400_000);
            }
            commit(&mut dedup, &store, hour * SEGMENT_MAX_MS);
        }
        assert!(dedup.floor_ms() > 0 && dedup.floor_ms() <= 30 * SEGMENT_MAX_MS - HORIZON_MS);
        let read = store.read().unwrap();
        for hour in 0..30i64 {
            for id in 0..10 {
                let arrival_ms = hour * SEGMENT_MAX_MS + i64::from(id) * 400_000;
                let seen = dedup.check(entry(hour as u32 * 10 + id as u32, 0), &read).unwrap();
                assert!(seen == Seen::Duplicate || arrival_ms < dedup.floor_ms());
            }
        }
        assert!(dedup.keys() < 290, "old segments are dropped");
    }

    /// The open segment was loaded under the number 0, and its blobs stayed for ever.
    #[test]
    fn the_open_segment_keeps_its_number_when_every_sealed_one_is_gone() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        dedup.insert(entry(1, 0), 0);
        dedup.insert(entry(2, 0), SEGMENT_MAX_MS);
        commit(&mut dedup, &store, SEGMENT_MAX_MS);
        let later_ms = HORIZON_MS + 2 * SEGMENT_MAX_MS;
        for id in 3..6 {
            dedup.insert(entry(id, 0), later_ms);
            commit(&mut dedup, &store, later_ms);
            dedup = Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap();
            assert_eq!((dedup.open.segment, dedup.keys()), (1, u64::from(id) - 2));
        }
        dedup.insert(entry(6, 0), later_ms + SEGMENT_MAX_MS);
        commit(&mut dedup, &store, later_ms);
        let dedup = Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap();
        assert_eq!((dedup.open.segment, dedup.keys()), (2, 4));
    }

    #[test]
    fn a_full_segment_is_sealed_and_found_again_with_its_conflicts() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        let many = SEGMENT_MAX_KEYS as u32 + 10;
        for id in 0..many {
            dedup.insert(entry(id, 7), 1);
            if id % 50_000 == 49_999 || id + 1 == many {
                commit(&mut dedup, &store, 1);
            }
        }
        assert_eq!(dedup.sealed.len(), 1);
        let dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        let read = store.read().unwrap();
        for id in (0..many).step_by(997) {
            assert_eq!(dedup.check(entry(id, 7), &read).unwrap(), Seen::Duplicate);
            assert_eq!(dedup.check(entry(id, 8), &read).unwrap(), Seen::Conflict);
            assert_eq!(dedup.check(entry(id + many, 7), &read).unwrap(), Seen::New);
        }
        assert_eq!(dedup.keys(), u64::from(many));
        assert!(dedup.mem_bytes() < 3 * many as usize, "{} bytes", dedup.mem_bytes());
    }

    #[test]
    fn delivered_events_are_new_and_known_as_delivered_until_the_horizon_is_past() {
        let store = store();
        let (read, write) = (store.read().unwrap(), store.write().unwrap());
        let mut writer = DeliveredWriter::new(&read).unwrap();
        for id in 0..1_000 {
            writer.insert(entry(id, 0), i64::from(id), &write).unwrap();
        }
        writer.finish(&write).unwrap();
        write.commit().unwrap();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        let read = store.read().unwrap();
        for id in [0, 999] {
            assert_eq!(dedup.check(entry(id, 1), &read).unwrap(), Seen::New);
            assert!(dedup.delivered(entry(id, 1), &read).unwrap(), "whatever the payload");
        }
        assert!(!dedup.delivered(entry(1_000, 0), &read).unwrap());
        assert_eq!((dedup.keys(), dedup.open.segment), (0, 0));
        commit(&mut dedup, &store, HORIZON_MS + 999);
        assert!(dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
        commit(&mut dedup, &store, HORIZON_MS + 1_000);
        assert!(!dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
        assert_eq!(dedup.floor_ms(), 1_000, "what may still come of that time is late");
        assert_eq!(Dedup::load(&store.read().unwrap(), 0).unwrap().delivered.len(), 0);
    }
}
