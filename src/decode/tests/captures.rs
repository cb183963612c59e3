//! Tests that nova can decode every capture, and that all formats of one scenario give the same changes.

use std::collections::BTreeMap;

use super::support::{avro_decoder, capture, changes, decoder, text};
use crate::decode::{facts, time};
use crate::event::{Cell, Change, ChangeBody, Decoded, Format, Id, Ignored, Op, Row, Table};

const JSON_CAPTURES: [(&str, Format); 6] = [
    ("envelope.jsonl", Format::Envelope),
    ("envelope-schemas.jsonl", Format::Envelope),
    ("flat-rewrite.jsonl", Format::FlatRewrite),
    ("flat-bare.jsonl", Format::FlatTombstone),
    ("random-envelope.jsonl.gz", Format::Envelope),
    ("random-flat.jsonl.gz", Format::FlatRewrite),
];

#[test]
fn every_record_of_every_capture_is_a_change_of_its_format() {
    for (name, format) in JSON_CAPTURES {
        for (record, change) in changes(decoder(), name) {
            assert_eq!(change.format, format, "{name} {}@{}", record.topic, record.offset);
            let versioned = !matches!(change.body, ChangeBody::Tombstone) && format != Format::FlatTombstone;
            assert_eq!(change.lsn.is_some(), versioned, "{name} {}@{}", record.topic, record.offset);
            assert_eq!(change.source_ts_us.is_some(), versioned, "{name} {}@{}", record.topic, record.offset);
        }
    }
}

#[test]
fn side_topics_are_ignored_by_kind() {
    let mut decoder = decoder();
    for record in capture("side-topics.jsonl") {
        let expected = match record.topic.ends_with(".message") {
            true => Ignored::Message,
            false => Ignored::TransactionMarker,
        };
        assert_eq!(decoder.decode(&record), Decoded::Ignore(expected));
        // A router may have moved the record into the topic of a table. nova recognises a moved record by its shape.
        let moved = crate::event::Record { topic: "cdc.posts".into(), ..record };
        assert_eq!(decoder.decode(&moved), Decoded::Ignore(expected));
    }
}

/// Returns the history of each row in order: for each change the kind of the operation, and the row.
fn histories(changes: Vec<Change>) -> BTreeMap<(Table, Id), Vec<Option<Row>>> {
    let mut histories: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for change in changes {
        let step = match change.body {
            ChangeBody::Upsert(row) => Some(row),
            ChangeBody::Delete => None,
            ChangeBody::Tombstone if change.format == Format::FlatTombstone => None,
            ChangeBody::Tombstone | ChangeBody::Truncate => continue,
        };
        histories.entry((change.table, change.key)).or_default().push(step);
    }
    histories
}

#[test]
fn envelope_schema_flat_and_bare_forms_tell_the_same_histories() {
    let history = |name| histories(changes(decoder(), name).into_iter().map(|(_, change)| change).collect());
    let envelope = history("envelope.jsonl");
    assert_eq!(envelope.values().map(Vec::len).sum::<usize>(), 52);
    for name in ["envelope-schemas.jsonl", "flat-rewrite.jsonl", "flat-bare.jsonl"] {
        assert_eq!(history(name), envelope, "{name}");
    }
}

#[test]
fn avro_agrees_with_json_but_for_what_the_clock_said() {
    let shape = |change: &Change| {
        let body = match &change.body {
            ChangeBody::Upsert(row) => Some(without_times(row)),
            _ => None,
        };
        (change.table, change.key, change.op, body)
    };
    let mut avro: Vec<_> = changes(avro_decoder(), "envelope-avro.jsonl").iter().map(|(_, c)| shape(c)).collect();
    let mut json: Vec<_> = changes(decoder(), "envelope.jsonl").iter().map(|(_, c)| shape(c)).collect();
    let order = |a: &(Table, Id, Op, Option<Vec<String>>), b: &(Table, Id, Op, Option<Vec<String>>)| {
        (a.0, a.1, a.2 as u8, &a.3).cmp(&(b.0, b.1, b.2 as u8, &b.3))
    };
    avro.sort_by(order);
    json.sort_by(order);
    // The Avro capture lacks the two interleaved transactions of the JSON capture. All changes of the Avro capture are
    // also in the JSON capture.
    let missing: Vec<_> = avro.iter().filter(|step| !json.contains(step)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(avro.len() >= 50, "{}", avro.len());
}

fn without_times(row: &Row) -> Vec<String> {
    let shown = |cell: &Cell| match cell {
        Cell::Micros(_) => "time".to_owned(),
        cell => format!("{cell:?}"),
    };
    row.cells.iter().map(shown).chain([format!("{:?}", row.extra)]).collect()
}

type Versions = BTreeMap<(u64, i64), Option<Row>>;

/// Applies the changes of each key in the order of their LSNs and offsets. The result must equal PostgreSQL's own
/// tables exactly.
#[test]
fn random_captures_lead_to_the_tables_of_the_source() {
    let tables: serde_json::Value = serde_json::from_str(&text("random.final.json.gz")).unwrap();
    for name in ["random-envelope.jsonl.gz", "random-flat.jsonl.gz"] {
        let mut versions: BTreeMap<(Table, Id), Versions> = BTreeMap::new();
        for (record, change) in changes(decoder(), name) {
            let row = match change.body {
                ChangeBody::Upsert(row) => Some(row),
                ChangeBody::Delete => None,
                ChangeBody::Tombstone | ChangeBody::Truncate => continue,
            };
            let version = (change.lsn.unwrap(), record.offset);
            versions.entry((change.table, change.key)).or_default().insert(version, row);
        }
        let rows: BTreeMap<(Table, Id), Option<Row>> =
            versions.into_iter().map(|(key, steps)| (key, steps.into_values().fold(None, later))).collect();
        for table in Table::ALL {
            let expected: Vec<_> = tables[table.name()].as_array().unwrap().iter().collect();
            let live: BTreeMap<Id, &Row> = rows
                .iter()
                .filter(|((of, _), _)| *of == table)
                .filter_map(|((_, key), row)| row.as_ref().map(|row| (*key, row)))
                .collect();
            assert_eq!(live.len(), expected.len(), "{name} {table}");
            for source in expected {
                let id: Id = source["id"].as_str().unwrap().parse().unwrap();
                assert_row(table, live[&id], source);
            }
        }
    }
}

/// Applies a later image to the stored row. Columns that the later image leaves out come from the stored row.
fn later(stored: Option<Row>, change: Option<Row>) -> Option<Row> {
    let mut row = change?;
    for (index, cell) in row.cells.iter_mut().enumerate().filter(|(_, cell)| **cell == Cell::Unavailable) {
        *cell = stored.as_ref().unwrap().cells[index].clone();
    }
    Some(row)
}

fn assert_row(table: Table, row: &Row, source: &serde_json::Value) {
    assert!(facts(table, row).is_some(), "{row:?}");
    for (column, cell) in table.columns().iter().zip(&row.cells) {
        let value = &source[column.name];
        let equal = match cell {
            // The column was added to the table after the capture was made.
            Cell::Missing => source.get(column.name).is_none(),
            Cell::Unavailable => false,
            Cell::Null => value.is_null(),
            Cell::Bool(bool) => value.as_bool() == Some(*bool),
            Cell::Uuid(id) => value.as_str() == Some(&id.to_string()),
            Cell::Text(text) => value.as_str() == Some(text),
            Cell::Json(json) => serde_json::from_str::<serde_json::Value>(json).unwrap() == *value,
            // PostgreSQL prints a `timestamp` without an offset, and the time is in UTC.
            Cell::Micros(micros) => value.as_str().is_some_and(|text| {
                [text.to_owned(), format!("{text}Z")].iter().any(|text| time::parse_micros(text) == Some(*micros))
            }),
        };
        assert!(equal, "{table} {}: {cell:.80?} is not {value:.80}", column.name);
    }
}
