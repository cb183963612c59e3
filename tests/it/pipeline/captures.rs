//! Real captures against PostgreSQL's own tables.

use std::collections::BTreeMap;
use std::io::Read as _;

use nova::app::{self, Setup};
use nova::event::{ColumnType, DROPPED_COLUMNS, Outcome, Record, Table, TopicPartition};
use nova::pipeline::TruncatePolicy;
use nova::pipeline::progress::PartitionStatus;
use nova_storage::testing::Recorder;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{capture, dump, fixture, run, setup, store_over};

/// Columns that a stream could not convey, by capture: `ALTER TABLE … ADD COLUMN language … DEFAULT 'en'` writes no
/// change for the rows that were there, and a NULL in it came as the default (`replace.null.with.default`).
const NOT_CONVEYED: [(&str, &str, &str); 1] = [("posts", "language", "en")];

fn finals(name: &str) -> BTreeMap<String, Vec<BTreeMap<String, Value>>> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let mut text = String::new();
    match name.ends_with(".gz") {
        true => drop(flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap()),
        false => text = String::from_utf8(bytes).unwrap(),
    }
    serde_json::from_str(&text).unwrap()
}

/// PostgreSQL prints times its own way; compare instants.
fn normal(table: Table, column: &str, value: &Value) -> Value {
    let kind = table.columns().iter().find(|known| known.name == column).map(|known| known.kind);
    match (kind, value.as_str()) {
        (Some(ColumnType::TimestampTz | ColumnType::Timestamp), Some(text)) if !text.contains("infinity") => {
            let zoned = text.ends_with('Z') || text.contains('+');
            let text = if zoned { text.to_owned() } else { format!("{text}Z") };
            Value::from(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
        }
        _ => value.clone(),
    }
}

/// Compares a dump with PostgreSQL's tables, row by row and column by column; returns how many values were excused.
fn compare(dumped: &[Vec<String>], expected: &BTreeMap<String, Vec<BTreeMap<String, Value>>>) -> usize {
    let mut excused = 0;
    for (table, lines) in Table::ALL.into_iter().zip(dumped) {
        let mut rows: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for line in lines {
            let row: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
            rows.insert(row["id"].as_str().unwrap().to_owned(), row);
        }
        let order: Vec<_> = lines.iter().map(|line| line[7..43].to_owned()).collect();
        assert!(order.is_sorted(), "{table} is not ordered by id");
        for wanted in expected.get(table.name()).into_iter().flatten() {
            let id = wanted["id"].as_str().unwrap();
            let row = rows.remove(id).unwrap_or_else(|| panic!("{table} {id} is missing"));
            for (column, value) in wanted {
                if DROPPED_COLUMNS.contains(&column.as_str()) {
                    assert!(!row.contains_key(column), "{table}.{column} must never be stored");
                    continue;
                }
                let found = row.get(column).unwrap_or(&Value::Null);
                if normal(table, column, found) == normal(table, column, value) {
                    continue;
                }
                let excuse = NOT_CONVEYED.iter().any(|(of, name, default)| {
                    *of == table.name()
                        && *name == column
                        && ((found.is_null() && value == default) || (value.is_null() && found == default))
                });
                assert!(excuse, "{table} {id}.{column}: {found} instead of {value}");
                excused += 1;
            }
        }
        assert!(rows.is_empty(), "{table} has rows that PostgreSQL has not: {:?}", rows.keys());
    }
    excused
}

fn count(statuses: &[PartitionStatus], outcome: Outcome) -> u64 {
    statuses.iter().map(|status| status.count(outcome)).sum()
}

fn with_truncate(name: &str) -> Setup {
    let mut setup = setup(name);
    // The scenario ends with a TRUNCATE of comments where the connector sends it.
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

    // Again: all redelivered, nothing changes.
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

/// Deals the partitions' records out in another order, each partition in its own.
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
        // A few at a time, as partitions arrive.
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

    /// N6: a key converges to the source's latest row, however the partitions interleave.
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
