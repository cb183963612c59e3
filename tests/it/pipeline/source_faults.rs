//! What a source and its connector do under bad conditions, on one topic of likes. The test compares each case with the
//! rows that the source has at the end.

use std::collections::BTreeMap;

use nova::app::{self, Setup};
use nova::event::{Action, Id, Outcome, Record, Table};
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::writer::{Command, Message};
use nova_storage::testing::Recorder;
use proptest::prelude::*;

use crate::support::{Listed, dump, run, setup, store_over};

const TOPIC: &str = "cdc.likes";

fn like_id(key: u128) -> Id {
    Id::from_u128((4 << 100) + key)
}

/// A topic as the connector fills it, and the rows of the source, each as its key and the post of the like.
#[derive(Clone, Debug, Default)]
struct Source {
    records: Vec<Record>,
    rows: BTreeMap<u128, u128>,
    /// The LSN of the source, which rises with each commit.
    lsn: u64,
}

impl Source {
    fn record(&mut self, key: u128, value: Option<String>) {
        self.records.push(Record {
            topic: TOPIC.into(),
            partition: 0,
            offset: self.records.len() as i64,
            timestamp_ms: 1_795_132_800_000,
            key: Some(format!(r#"{{"id":"{}"}}"#, like_id(key)).into()),
            value: value.map(Into::into),
            headers: Vec::new(),
            defect: None,
            origin: None,
            lsn_delta: 0,
        });
    }

    /// Writes a Debezium envelope with the given LSN, committed at `ts_ms`.
    fn envelope(&mut self, op: &str, key: u128, post: Option<u128>, lsn: u64, ts_ms: u64) {
        let after = post.map_or("null".to_owned(), |post| row(key, post));
        let value =
            format!(r#"{{"before":null,"after":{after},"source":{{"lsn":{lsn},"ts_ms":{ts_ms}}},"op":"{op}"}}"#);
        self.record(key, Some(value));
    }

    fn insert(&mut self, key: u128, post: u128) {
        let op = if self.rows.insert(key, post).is_some() { "u" } else { "c" };
        self.envelope(op, key, Some(post), self.lsn, self.lsn);
    }

    /// Writes a delete and its tombstone to the topic.
    fn delete(&mut self, key: u128) {
        self.rows.remove(&key);
        self.envelope("d", key, None, self.lsn, self.lsn);
        self.record(key, None);
    }

    /// Appends the records of a range to the topic once more.
    fn again(&mut self, range: std::ops::Range<usize>) {
        let first = self.records.len() as i64;
        let again = self.records[range].iter().zip(first..).map(|(old, offset)| Record { offset, ..old.clone() });
        let again: Vec<_> = again.collect();
        self.records.extend(again);
    }
}

fn row(key: u128, post: u128) -> String {
    let (user, post) = (Id::from_u128((1 << 100) + key % 3), Id::from_u128((2 << 100) + post));
    format!(r#"{{"id":"{}","user_id":"{user}","post_id":"{post}","created_at":1795476488850012}}"#, like_id(key))
}

/// Runs nova over the whole topic, and compares nova's rows and counters with the source's rows.
fn ends_like(source: &Source) -> Vec<PartitionStatus> {
    let backend = Recorder::new();
    let statuses = run(&setup("likes"), store_over(backend.clone()), source.records.clone());
    assert_ends(&backend, &setup("likes"), &source.rows);
    assert_eq!(statuses[0].consumed(), source.records.len() as u64);
    statuses
}

fn assert_ends(backend: &Recorder, setup: &Setup, rows: &BTreeMap<u128, u128>) {
    let opened = app::open_store(setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
    let ids: Vec<_> = dump(&opened)[Table::Likes as usize].iter().map(|line| line[7..43].to_owned()).collect();
    assert_eq!(ids, rows.keys().map(|key| like_id(*key).to_string()).collect::<Vec<_>>());
    let state = opened.state.read();
    let mut counts = BTreeMap::new();
    rows.values().for_each(|post| *counts.entry(Id::from_u128((2 << 100) + post)).or_insert(0) += 1);
    for (id, post) in state.post_ids.all().zip(state.post_ids.numbers()) {
        let likes = state.posts.totals(post)[Action::Like as usize];
        assert_eq!(likes, counts.remove(&id).unwrap_or(0), "likes of {id}");
    }
    assert!(counts.is_empty(), "posts without their likes: {counts:?}");
}

fn counts(statuses: &[PartitionStatus]) -> [u64; 4] {
    [Outcome::Applied, Outcome::Duplicate, Outcome::Stale, Outcome::Ignored].map(|outcome| statuses[0].count(outcome))
}

#[test]
fn torture_58_a_thousand_rows_with_one_lsn_are_all_there() {
    let mut source = Source { lsn: 77, ..Source::default() };
    (0..1_000).for_each(|key| source.insert(key, key % 7));
    assert_eq!(counts(&ends_like(&source)), [1_000, 0, 0, 0]);
}

#[test]
fn torture_60_a_key_that_changes_and_changes_back_is_one_row() {
    let mut source = Source { lsn: 5, ..Source::default() };
    source.insert(1, 9);
    for (lsn, from, to) in [(6, 1, 2), (7, 2, 1)] {
        source.lsn = lsn;
        source.delete(from);
        source.insert(to, 9);
    }
    // Every record of the topic is delivered once more.
    source.again(0..7);
    let statuses = ends_like(&source);
    assert_eq!(statuses[0].count(Outcome::Applied), 5);
}

#[test]
fn torture_62_a_replayed_delete_does_not_take_the_row_that_came_after_it() {
    let mut source = Source { lsn: 1, ..Source::default() };
    source.insert(1, 1);
    source.lsn = 2;
    source.delete(1);
    source.lsn = 3;
    source.insert(1, 1);
    source.again(1..3);
    assert_eq!(counts(&ends_like(&source)), [3, 0, 1, 2]);
}

#[test]
fn torture_63_and_64_a_snapshot_repairs_what_was_missed_and_takes_nothing_back() {
    let mut source = Source { lsn: 10, ..Source::default() };
    source.insert(1, 1);
    source.lsn = 20;
    source.insert(1, 2);
    source.insert(2, 2);
    // The snapshot read the row before the update.
    source.envelope("r", 1, Some(1), 15, 15);
    // After the slot was lost, a snapshot reads the row, and a second row whose insert nova missed. No record reports a
    // missed delete.
    source.envelope("r", 1, Some(2), 30, 100);
    source.envelope("r", 3, Some(1), 30, 100);
    source.rows.insert(3, 1);
    assert_eq!(counts(&ends_like(&source)), [5, 0, 1, 0]);
}

/// A connector that was killed during its first snapshot takes the snapshot again. No record reports the rows that were
/// deleted between the two snapshots.
#[test]
fn a_row_that_only_an_interrupted_first_snapshot_has_read_is_deleted_when_the_log_was_read() {
    let mut source = Source::default();
    for (lsn, keys) in [(100, 0..6), (200, 2..9)] {
        keys.for_each(|key| source.envelope("r", key, Some(1), lsn, lsn));
    }
    source.rows = (0..9).map(|key| (key, 1)).collect();
    // nova does not know yet whether the connector has read the second snapshot to its end.
    ends_like(&source);
    // The change was committed after the second snapshot, but its LSN is below the LSN of the snapshot.
    source.rows = (2..9).map(|key| (key, 1)).collect();
    source.lsn = 190;
    source.insert(3, 2);
    ends_like(&source);
    // A truncate halts the table in the middle of the snapshot. The records after the truncate may contain rows that
    // seem to be deleted.
    source.records.truncate(13);
    source.envelope("t", 0, None, 210, 210);
    let backend = Recorder::new();
    let statuses = run(&setup("likes"), store_over(backend.clone()), source.records.clone());
    assert!(statuses[0].hold.is_some());
    assert_ends(&backend, &setup("likes"), &(0..9).map(|key| (key, 1)).collect());
}

#[test]
fn torture_65_a_restored_source_halts_its_table_and_goes_on_in_a_new_epoch() {
    let mut source = Source { lsn: 1_000, ..Source::default() };
    (0..5).for_each(|key| source.insert(key, 1));
    // The LSNs of the source begin again, and its clock continues.
    for (key, lsn) in (0..5).zip(3..) {
        source.envelope("u", key, Some(2), lsn, 2_000 + lsn);
        source.rows.insert(key, 2);
    }
    let (setup, backend) = (setup("likes"), Recorder::new());
    let statuses = run(&setup, store_over(backend.clone()), source.records.clone());
    let hold = statuses[0].hold.clone().unwrap();
    assert!(hold.starts_with("lsn_regression") && hold.contains("nova cdc epoch bump likes"), "{hold}");
    assert_eq!(statuses[0].consumed(), 5);
    let image = backend.image(backend.syncs(), 0);
    let mut opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    let reply = Box::new(|epoch| assert_eq!(epoch, 1));
    let bump = Command::BumpEpoch { table: Table::Likes, actor: "test".to_owned(), reply };
    opened.writer.process(&mut vec![Message::Command(bump)]).unwrap();
    let running = opened.start(Box::new(Listed::new(source.records.clone(), 100)), &setup).unwrap();
    assert_eq!(running.finish(|_| {}).unwrap()[0].consumed(), 5);
    assert_ends(&image, &setup, &source.rows);
}

#[test]
fn torture_67_a_delete_of_nobody_stays_and_a_row_with_its_own_time_comes_back() {
    let mut source = Source { lsn: 50, ..Source::default() };
    source.delete(1);
    // The change was made before the delete, and is delivered after the delete.
    source.envelope("c", 1, Some(1), 40, 40);
    source.insert(2, 1);
    source.lsn = 51;
    source.delete(2);
    // The changes belong to one commit, and have the same time and LSN.
    source.insert(2, 3);
    assert_eq!(counts(&ends_like(&source)), [4, 0, 1, 2]);
}

/// In flattened records, a null value is itself a delete if rows have no member `__deleted`. If rows have this member,
/// the null value only follows a delete.
#[test]
fn torture_68_deletes_by_tombstone_and_by_flag_delete_once() {
    let bare = |source: &mut Source, key| source.record(key, Some(row(key, 1)));
    let mut source = Source::default();
    (0..3).for_each(|key| bare(&mut source, key));
    source.record(1, None);
    source.record(1, None);
    source.record(9, None);
    source.rows = BTreeMap::from([(0, 1), (2, 1)]);
    assert_eq!(counts(&ends_like(&source)), [4, 0, 0, 2]);

    let mut source = Source::default();
    let flagged = |key, lsn, deleted: &str| {
        let row = row(key, 1);
        Some(format!(r#"{},"__deleted":{deleted},"__lsn":{lsn}}}"#, &row[..row.len() - 1]))
    };
    for (key, deleted) in [(0, r#""true""#), (1, "true")] {
        source.record(key, flagged(key, 5, r#""false""#));
        source.record(key, flagged(key, 6, deleted));
        source.record(key, None);
    }
    assert_eq!(counts(&ends_like(&source)), [4, 0, 0, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cases 59 to 62 of `docs/testing.md`: the test draws a history of a few keys, with several changes in a commit.
    /// Any parts of the history are delivered again, each part in its own order.
    #[test]
    fn n6_whatever_is_delivered_again_rows_and_counters_are_the_sources(
        steps in proptest::collection::vec((0u128..5, proptest::option::weighted(0.7, 0u128..4), any::<bool>()), 1..60),
        repeats in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..40), 0..6),
    ) {
        let (mut source, mut last) = (Source::default(), 0);
        let mut repeats: Vec<_> = repeats.iter().map(|(at, back)| (at.index(steps.len()), *back)).collect();
        repeats.sort_unstable();
        for (number, (key, post, commit)) in steps.into_iter().enumerate() {
            source.lsn += u64::from(commit || number == 0);
            match post {
                Some(post) => source.insert(key, post),
                None if source.rows.contains_key(&key) => source.delete(key),
                None => {}
            }
            while let Some((_, back)) = repeats.first().copied().filter(|(at, _)| *at == number) {
                repeats.remove(0);
                let end = source.records.len();
                // A repetition begins at the start of a commit, because a connector resumes there.
                let mut from = end.saturating_sub(back).max(last);
                while from > last && from < end && lsn_of(&source.records[from]) == lsn_of(&source.records[from - 1]) {
                    from -= 1;
                }
                source.again(from..end);
                last = source.records.len();
            }
        }
        prop_assume!(!source.records.is_empty());
        ends_like(&source);
    }
}

/// Returns the LSN of a record. A tombstone has no LSN, because a tombstone belongs to the delete before it.
fn lsn_of(record: &Record) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(record.value.as_ref()?).unwrap();
    value["source"]["lsn"].as_u64()
}
