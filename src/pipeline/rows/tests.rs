use super::*;
use nova_storage::Store;
use nova_storage::testing::Recorder;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::super::meta::Meta;
use super::runs::SEGMENT_BYTES;

/// A step of the property test.
#[derive(Clone, Debug)]
enum Step {
    /// Rows of consecutive keys change. The test gives each changed row a value of `bytes` bytes.
    Put { first: u8, count: u8, bytes: usize },
    /// A flush begins, if no flush is running.
    Begin,
    /// The test writes a part of the running flush.
    Carry { budget: u64 },
    /// A flush begins and is written to its end.
    Flush,
    /// The test writes one segment of each merge.
    Merge,
    /// The process dies and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    // Some rows are larger than a block.
    let bytes = prop_oneof![3 => 0usize..200, 2 => 4_000usize..9_000, 1 => 16_000usize..70_000];
    prop_oneof![
        6 => (any::<u8>(), 1u8..60, bytes).prop_map(|(first, count, bytes)| Step::Put { first, count, bytes }),
        4 => Just(Step::Begin),
        8 => (1u64..400_000).prop_map(|budget| Step::Carry { budget }),
        5 => Just(Step::Flush),
        4 => Just(Step::Merge),
        1 => Just(Step::Crash),
    ]
}

/// Flushes all changed rows into a new run, in one commit.
fn flush_all(rows: &mut Rows, write: &WriteTxn) {
    let generation = rows.newest() + 1;
    rows.begin_flush(generation);
    rows.flush(write, SEGMENT_BYTES, u64::MAX).unwrap();
    rows.flushed();
    Meta { generation: Some(generation), ..Meta::default() }.save(write).unwrap();
}

/// The rows of one store, with the state that the writer would keep.
struct World {
    store: Store,
    rows: Rows,
    model: BTreeMap<Id, Vec<u8>>,
    /// The changes that were made since the last complete flush began.
    journal: Vec<(Table, Id, Box<[u8]>)>,
    generation: u64,
    /// The length of the journal at the time when the running flush began.
    under_way: Option<usize>,
    /// The maximum number of keys in the filter over all keys.
    known_max_keys: usize,
}

impl World {
    fn new(known_max_keys: usize) -> World {
        let store = Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap();
        let rows = Rows { known: Known::with_max(known_max_keys), ..Rows::default() };
        let (model, journal) = (BTreeMap::new(), Vec::new());
        World { store, rows, model, journal, generation: 0, under_way: None, known_max_keys }
    }

    fn put(&mut self, table: Table, key: Id, row: Box<[u8]>) {
        self.journal.push((table, key, row.clone()));
        self.rows.put(table, key, row);
    }

    fn begin(&mut self) {
        if self.under_way.is_none() {
            self.rows.begin_flush(self.generation + 1);
            self.under_way = Some(self.journal.len());
        }
    }

    fn carry(&mut self, budget: u64) {
        let Some(covered) = self.under_way else { return };
        let write = self.store.write().unwrap();
        // The segments have a few blocks, so that a flush has several segments.
        if self.rows.flush(&write, 50_000, budget).unwrap() < budget {
            self.rows.flushed();
            (self.generation, self.under_way) = (self.generation + 1, None);
            self.journal.drain(..covered);
            Meta { generation: Some(self.generation), ..Meta::default() }.save(&write).unwrap();
        }
        write.commit().unwrap();
    }

    fn crash(&mut self) {
        self.under_way = None;
        let loaded = Rows::load(&self.store.read().unwrap()).unwrap();
        self.rows = Rows { known: Known::with_max(self.known_max_keys), ..loaded };
        let write = self.store.write().unwrap();
        self.rows.take_half_written().into_iter().for_each(|segment| remove_segment(segment, &write).unwrap());
        write.commit().unwrap();
        for (table, key, row) in self.journal.clone() {
            self.rows.put(table, key, row);
        }
    }

    fn step(&mut self, step: Step, number: u8) {
        match step {
            Step::Put { first, count, bytes } => {
                for key in (0..count).map(|more| Id([first.wrapping_add(more); 16])) {
                    let row = vec![number; bytes];
                    self.put(Table::Posts, key, row.clone().into());
                    self.put(Table::Likes, key, Box::new([1]));
                    self.model.insert(key, row);
                }
            }
            Step::Begin => self.begin(),
            Step::Carry { budget } => self.carry(budget),
            Step::Flush => {
                self.begin();
                self.carry(u64::MAX);
            }
            Step::Merge => {
                let (read, write) = (self.store.read().unwrap(), self.store.write().unwrap());
                self.rows.runs.merging();
                self.rows.runs.merge(&read, &write, SEGMENT_BYTES).unwrap();
                write.commit().unwrap();
            }
            Step::Crash => self.crash(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]
    #[test]
    fn rows_read_as_one_map_however_they_are_flushed_merged_and_opened_again(
        steps in proptest::collection::vec(step(), 0..160),
        known_max_keys in prop_oneof![3 => Just(usize::MAX), 1 => 0usize..200],
    ) {
        let mut world = World::new(known_max_keys);
        for (number, step) in steps.into_iter().enumerate() {
            world.step(step, number as u8);
            let read = world.store.read().unwrap();
            for (key, row) in world.model.iter().step_by(7) {
                let found = world.rows.with(Table::Posts, *key, &read, |bytes| bytes.map(<[u8]>::to_vec)).unwrap();
                prop_assert_eq!(found.as_ref(), Some(row));
            }
            prop_assert_eq!(world.rows.any(Table::Posts), !world.model.is_empty());
            prop_assert!(!world.rows.any(Table::Users));
        }
        let read = world.store.read().unwrap();
        let mut seen = Vec::new();
        world.rows.scan(Table::Posts, &read, |id, bytes| seen.push((id, bytes.to_vec()))).unwrap();
        prop_assert_eq!(&seen, &world.model.clone().into_iter().collect::<Vec<_>>());
        (0..2).for_each(|_| world.step(Step::Flush, 0));
        let (read, mut all) = (world.store.read().unwrap(), Vec::new());
        scan_all(&read, |table, id, bytes| {
            all.extend((table == Table::Posts.number()).then(|| (id, bytes.to_vec())));
            Ok(())
        }).unwrap();
        prop_assert_eq!(all, seen);
        prop_assert!(world.rows.stored().1 < 3 * super::run::MERGE_RUNS + 160);
    }
}

#[test]
fn a_merge_is_paid_for_by_changes_and_ends() {
    let store = Store::open_backend(Recorder::new(), &nova_storage::Options::default()).unwrap();
    let mut rows = Rows::default();
    let mut number = 0u128;
    let mut most_runs = 0;
    for _ in 0..100 {
        for _ in 0..40 {
            number += 1;
            rows.put(Table::Likes, Id::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), vec![1; 5_000].into());
        }
        let (read, write) = (store.read().unwrap(), store.write().unwrap());
        rows.merge(&read, &write).unwrap();
        flush_all(&mut rows, &write);
        write.commit().unwrap();
        most_runs = most_runs.max(rows.stored().1);
    }
    assert!(most_runs <= 3 * super::run::MERGE_RUNS, "{most_runs} runs");
    // The test has changed 20 MB of rows, and the store has each byte once.
    assert!((20_000_000..21_500_000).contains(&rows.stored().0), "{} bytes", rows.stored().0);
    // An idle node merges nothing.
    let runs = rows.stored().1;
    for _ in 0..100 {
        let (read, write) = (store.read().unwrap(), store.write().unwrap());
        rows.merge(&read, &write).unwrap();
        write.commit().unwrap();
    }
    assert_eq!(rows.stored().1, runs);
}
