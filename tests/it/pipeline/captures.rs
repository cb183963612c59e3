//! Real captures of a connector, compared with PostgreSQL's own tables.

use std::collections::BTreeMap;
use std::io::Read as _;

use nova::app::{self, Setup};
use nova::event::{Outcome, Record, TopicPartition};
use nova::pipeline::TruncatePolicy;
use nova::pipeline::progress::PartitionStatus;
use nova_storage::testing::Recorder;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::rows::compare;
use crate::support::{capture, dump, fixture, run, setup, store_over};

fn finals(name: &str) -> BTreeMap<String, Vec<BTreeMap<String, Value>>> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let mut text = String::new();
    match name.ends_with(".gz") {
        true => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap()),
        false => text = String::from_utf8(bytes).unwrap(),
    }
    serde_json::from_str(&text).unwrap()
}

fn count(statuses: &[PartitionStatus], outcome: Outcome) -> u64 {
    statuses.iter().map(|status| status.count(outcome)).sum()
}

fn with_truncate(name: &str) -> Setup {
    let mut setup = setup(name);
    // The captured scenario ends with a TRUNCATE of comments, if the connector sends truncates.
    setup.settings.truncate = TruncatePolicy::Apply;
    setup
}

fn replays(name: &str, finals_name: &str) -> usize {
    let setup = with_truncate(name);
    let records = capture(name);
    let backend = Recorder::new();
    let statuses = run(&setup, store_over(backend.clone()), records.clone());
    let consumed: u64 = statuses.iter().map(PartitionStatus::consumed).sum();
    assert_eq!(consumed, records.len() as u64);
    assert_eq!(count(&statuses, Outcome::Dead), 0, "{name}");
    assert!(statuses.iter().all(|status| status.hold.is_none()));

    let image = backend.image(backend.syncs(), 0);
    let opened = app::open_store(&setup, store_over(image.clone())).unwrap();
    let dumped = dump(&opened);
    let excused = compare(&dumped, &finals(finals_name));
    drop(opened);

    // After all records were delivered again, nothing has changed.
    let statuses = run(&setup, store_over(image.clone()), records.clone());
    assert_eq!(statuses.iter().map(PartitionStatus::consumed).sum::<u64>(), 0);
    assert_eq!(statuses.iter().map(|status| status.redelivered).sum::<u64>(), records.len() as u64);
    let opened = app::open_store(&setup, store_over(image.image(image.syncs(), 0))).unwrap();
    assert_eq!(dump(&opened), dumped);
    excused
}

#[test]
fn the_scenario_as_an_envelope_equals_postgresql() {
    assert_eq!(replays("envelope.jsonl", "scenario.final.json"), 6);
}

#[test]
fn the_scenario_with_schemas_equals_postgresql() {
    assert_eq!(replays("envelope-schemas.jsonl", "scenario.final.json"), 6);
}

#[test]
fn the_scenario_in_avro_equals_postgresql() {
    assert_eq!(replays("envelope-avro.jsonl", "envelope-avro.final.json"), 6);
}

#[test]
fn the_scenario_flattened_with_rewrite_equals_postgresql() {
    assert_eq!(replays("flat-rewrite.jsonl", "scenario.final.json"), 6);
}

#[test]
fn the_scenario_flattened_with_tombstones_equals_postgresql() {
    assert_eq!(replays("flat-bare.jsonl", "scenario.final.json"), 6);
}

#[test]
fn three_thousand_random_transactions_as_envelopes_equal_postgresql() {
    assert_eq!(replays("random-envelope.jsonl.gz", "random.final.json.gz"), 0);
}

#[test]
fn three_thousand_random_transactions_flattened_equal_postgresql() {
    assert_eq!(replays("random-flat.jsonl.gz", "random.final.json.gz"), 0);
}

#[test]
fn side_topics_are_ignored_and_counted() {
    let records = capture("side-topics.jsonl");
    let total = records.len() as u64;
    let statuses = run(&setup("side-topics.jsonl"), store_over(Recorder::new()), records);
    assert_eq!(count(&statuses, Outcome::Ignored), total);
}

/// Merges the records of the partitions in the order that `picks` gives. The records of each partition keep their
/// order.
fn interleaved(records: &[Record], picks: &[prop::sample::Index]) -> Vec<Record> {
    let mut partitions: BTreeMap<TopicPartition, std::collections::VecDeque<Record>> = BTreeMap::new();
    for record in records {
        let name = TopicPartition::new(record.topic.clone(), record.partition);
        partitions.entry(name).or_default().push_back(record.clone());
    }
    let mut lists: Vec<_> = partitions.into_values().collect();
    let mut out = Vec::new();
    let mut picks = picks.iter().cycle();
    while !lists.is_empty() {
        let at = picks.next().unwrap().index(lists.len());
        // Up to seven records of one partition come directly after each other.
        for _ in 0..7 {
            out.extend(lists[at].pop_front());
        }
        if lists[at].is_empty() {
            lists.swap_remove(at);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// N6: nova ends with the source's latest row for each key, in whatever order the records of different partitions
    /// come.
    #[test]
    fn n6_partitions_interleaved_in_any_order_give_the_same_tables(
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..200),
        name in prop::sample::select(vec!["random-envelope.jsonl.gz", "random-flat.jsonl.gz"]),
    ) {
        let records = interleaved(&capture(name), &picks);
        let setup = with_truncate(name);
        let backend = Recorder::new();
        let statuses = run(&setup, store_over(backend.clone()), records);
        prop_assert_eq!(count(&statuses, Outcome::Dead), 0);
        let opened = app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap();
        compare(&dump(&opened), &finals("random.final.json.gz"));
    }
}
