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
//! *No record moves the horizon* (N14). A segment goes when the horizon has passed twice: by arrivals, and by the node's
//! own clock since it was sealed. A topic that is read from its beginning, or a capture, takes minutes whatever times it
//! tells, so nothing of it is forgotten. Time in which nothing was sealed counts little ([`GAP_MAX_MS`]): the node was
//! down, or its clock was set.
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
/// A segment is sealed when it has been open for this long by the node's clock, so that old ones can go in steps.
pub const SEGMENT_MAX_MS: i64 = 3_600_000;
/// The most that the time between two seals adds to the age of the segments before.
pub const GAP_MAX_MS: i64 = 6 * SEGMENT_MAX_MS;
/// Sealed segments that are kept by age: 118 million entries, 240 MB of filters. Of more, arrivals alone decide.
pub const SEALED_MAX_SEGMENTS: usize = 256;
/// Version 1 began with the earliest arrival instead of the node's clock.
const BATCH_VERSION: u8 = 2;
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

/// The clocks of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The arrival below which no partition will deliver any more, epoch milliseconds.
    pub watermark_ms: i64,
    /// The node's clock.
    pub now_ms: i64,
    /// The latest arrival that there can be.
    pub latest_ms: i64,
    /// How long an entry stays.
    pub horizon_ms: i64,
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
    /// When its first entry was committed, by the node's clock, epoch milliseconds; `None` while there is none.
    opened_ms: Option<i64>,
    /// The latest arrival of its entries.
    max_ms: i64,
    /// Sequence of the next batch blob.
    next_batch: u64,
    /// Entries since the last commit.
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

    /// How long it has been open; a clock that was set back begins again.
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

    /// Writes the entries since the last commit, seals and drops what is due.
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

    /// Brings back what a wrong clock, or a record that was believed, has put into the future. The floor comes back to
    /// now and no further: which events of before are forgotten is not known any more.
    fn heal(&mut self, write: &WriteTxn, times: Times) -> Result<(), WriteError> {
        if self.floor_ms > times.latest_ms {
            self.floor_ms = times.now_ms;
        }
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

    /// Drops segments that are old by both clocks, and raises the floor over them.
    fn drop_old(&mut self, write: &WriteTxn, times: Times) -> Result<(), WriteError> {
        let bound_ms = times.watermark_ms.saturating_sub(times.horizon_ms);
        let crowded = self.sealed.len().saturating_sub(SEALED_MAX_SEGMENTS);
        let aged = self.aged(times.now_ms, times.horizon_ms).max(crowded);
        let delivered = |one: &mut Sealed| {
            one.max_ms < bound_ms && times.now_ms.saturating_sub(one.sealed_ms) >= times.horizon_ms
        };
        let known = self.sealed.extract_if(..aged, |one| one.max_ms < bound_ms);
        for gone in known.chain(self.delivered.extract_if(.., delivered)) {
            self.floor_ms = self.floor_ms.max(gone.max_ms + 1);
            gone.remove(write)?;
        }
        Ok(())
    }

    /// How many of the first segments were sealed at least the horizon ago, gaps counted as [`GAP_MAX_MS`] at most.
    fn aged(&self, now_ms: i64, horizon_ms: i64) -> usize {
        let (mut age_ms, mut later_ms) = (0, now_ms);
        let young = self.sealed.iter().rev().take_while(|segment| {
            age_ms += later_ms.saturating_sub(segment.sealed_ms).clamp(0, GAP_MAX_MS);
            later_ms = segment.sealed_ms;
            age_ms < horizon_ms
        });
        self.sealed.len() - young.count()
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
    out.put_u8(BATCH_VERSION);
    // The segment's bounds so far are enough: they only serve to seal and drop it.
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
mod tests {
    use super::*;
    use nova_storage::Store;
    use nova_storage::testing::Recorder;
    use nova_storage::testing::mutate::{check_values, mutated};
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

    /// Both clocks at one time, and nothing that was ever ahead of them.
    fn at(now_ms: i64) -> Times {
        Times { watermark_ms: now_ms, now_ms, latest_ms: i64::MAX, horizon_ms: HORIZON_MS }
    }

    fn commit(dedup: &mut Dedup, store: &Store, times: Times) {
        let write = store.write().unwrap();
        dedup.commit(&write, times).unwrap();
        write.commit().unwrap();
    }

    fn reload(dedup: &Dedup, store: &Store) -> Dedup {
        Dedup::load(&store.read().unwrap(), dedup.floor_ms()).unwrap()
    }

    /// An entry each hour of the node's clock, which arrives at the same time.
    fn hours(dedup: &mut Dedup, store: &Store, hours: std::ops::Range<i64>) {
        for hour in hours {
            dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
            commit(dedup, store, at(hour * SEGMENT_MAX_MS));
        }
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
                    commit(&mut dedup, &store, at(now_ms));
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
            open.opened_ms = Some(arrival_ms);
            let batch = |bytes: &[u8]| {
                let mut open = Open::new(0);
                decode_batch(bytes, &mut open)?;
                Ok((open.table.len(), open.opened_ms, bytes[1..].to_vec()))
            };
            let again = |(_, _, rest): &(usize, Option<i64>, Vec<u8>)| [&[BATCH_VERSION], rest.as_slice()].concat();
            check_values(&encode_batch(&open), seed, batch, again);

            let store = store();
            let write = store.write().unwrap();
            let all: Vec<_> = open.table.into_iter().collect();
            let sealed = Sealed::write(7, all, arrival_ms, arrival_ms, &write).unwrap();
            write.commit().unwrap();
            let stored = store.read().unwrap().get(nova_storage::schema::DEDUP_SEGMENT, 7).unwrap().unwrap();
            let of = |bytes: &[u8]| sealed::decode(7, bytes).map(|sealed| sealed.encode());
            check_values(&stored, seed, of, Vec::clone);
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
            commit(&mut dedup, &store, at(hour * SEGMENT_MAX_MS));
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
        let short = |now_ms| Times { horizon_ms: 4 * SEGMENT_MAX_MS, ..at(now_ms) };
        dedup.insert(entry(1, 0), 0);
        commit(&mut dedup, &store, short(0));
        dedup.insert(entry(2, 0), SEGMENT_MAX_MS);
        commit(&mut dedup, &store, short(SEGMENT_MAX_MS));
        let later_ms = 6 * SEGMENT_MAX_MS;
        for id in 3..6 {
            dedup.insert(entry(id, 0), later_ms);
            commit(&mut dedup, &store, short(later_ms));
            dedup = reload(&dedup, &store);
            assert_eq!((dedup.open.segment, dedup.keys()), (1, u64::from(id) - 2));
        }
        dedup.insert(entry(6, 0), later_ms + SEGMENT_MAX_MS);
        commit(&mut dedup, &store, short(later_ms + SEGMENT_MAX_MS));
        let dedup = reload(&dedup, &store);
        assert_eq!((dedup.open.segment, dedup.keys()), (2, 4));
    }

    /// One record whose time was days ahead had everything forgotten that came before it.
    #[test]
    fn n14_what_records_claim_forgets_nothing_before_the_nodes_clock_has_passed_the_horizon_too() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
        let far_ms = 400 * HORIZON_MS;
        hours(&mut dedup, &store, 0..20);
        dedup.insert(entry(1_000, 0), far_ms);
        let now_ms = 20 * SEGMENT_MAX_MS;
        commit(&mut dedup, &store, Times { watermark_ms: far_ms, ..at(now_ms) });
        assert_eq!((dedup.keys(), dedup.floor_ms()), (21, i64::MIN));
        // Nor does it after a week in which the node was down, or its clock was set.
        dedup = reload(&dedup, &store);
        commit(&mut dedup, &store, Times { watermark_ms: far_ms, ..at(now_ms + 7 * HORIZON_MS) });
        let floor_ms = dedup.floor_ms();
        assert!(floor_ms < now_ms - 16 * SEGMENT_MAX_MS, "of the last hours nothing is forgotten: {floor_ms}");
    }

    #[test]
    fn n14_what_a_wrong_clock_put_into_the_future_heals_when_it_is_set_right() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
        let far = 10_000;
        hours(&mut dedup, &store, far..far + 3);
        assert_eq!(dedup.sealed.len(), 1);
        dedup.floor_ms = far * SEGMENT_MAX_MS;
        let right = |hour: i64| Times { latest_ms: (hour + 1) * SEGMENT_MAX_MS, ..at(hour * SEGMENT_MAX_MS) };
        for hour in 1..40 {
            dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
            commit(&mut dedup, &store, right(hour));
            dedup = reload(&dedup, &store);
            assert!(dedup.floor_ms() <= hour.max(1) * SEGMENT_MAX_MS, "in hour {hour}");
        }
        let read = store.read().unwrap();
        assert!(dedup.sealed.iter().all(|segment| segment.max_ms <= 40 * SEGMENT_MAX_MS));
        assert_eq!(dedup.check(entry(far as u32, 0), &read).unwrap(), Seen::New, "forgotten like everything else");
        assert_eq!(dedup.check(entry(39, 0), &read).unwrap(), Seen::Duplicate);
    }

    #[test]
    fn segments_are_bounded_however_little_time_has_passed() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), i64::MIN).unwrap();
        let hours = SEALED_MAX_SEGMENTS as i64 * 3;
        for hour in 0..hours {
            dedup.insert(entry(hour as u32, 0), hour * SEGMENT_MAX_MS);
            let write = store.write().unwrap();
            dedup.seal(&write, 0).unwrap();
            dedup.drop_old(&write, Times { now_ms: 0, ..at(hour * SEGMENT_MAX_MS) }).unwrap();
            write.commit().unwrap();
        }
        assert_eq!(dedup.sealed.len(), SEALED_MAX_SEGMENTS);
        assert_eq!(dedup.floor_ms(), (hours - SEALED_MAX_SEGMENTS as i64 - 1) * SEGMENT_MAX_MS + 1);
    }

    #[test]
    fn a_full_segment_is_sealed_and_found_again_with_its_conflicts() {
        let store = store();
        let mut dedup = Dedup::load(&store.read().unwrap(), 0).unwrap();
        let many = SEGMENT_MAX_KEYS as u32 + 10;
        for id in 0..many {
            dedup.insert(entry(id, 7), 1);
            if id % 50_000 == 49_999 || id + 1 == many {
                commit(&mut dedup, &store, at(1));
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
        let mut writer = DeliveredWriter::new(&read, 0).unwrap();
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
        commit(&mut dedup, &store, at(HORIZON_MS + 999));
        assert!(dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
        commit(&mut dedup, &store, at(HORIZON_MS + 1_000));
        assert!(!dedup.delivered(entry(7, 0), &store.read().unwrap()).unwrap());
        assert_eq!(dedup.floor_ms(), 1_000, "what may still come of that time is late");
        assert_eq!(Dedup::load(&store.read().unwrap(), 0).unwrap().delivered.len(), 0);
    }
}
