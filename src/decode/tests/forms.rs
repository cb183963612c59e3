//! Tests of captures in rare or foreign forms, each with the expected result.

use std::collections::BTreeMap;

use serde_json::Value;

use super::support::{capture, changes, decoder, text};
use crate::decode::{Part, time};
use crate::event::{Cell, ChangeBody, Decoded, Id, Row};

#[test]
fn each_form_is_a_change_or_dead_for_its_reason_and_shows_nothing_private() {
    let mut decoder = decoder();
    let lines: Vec<Value> = text("forms.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (record, line) in capture("forms.jsonl").iter().zip(&lines) {
        let decoded = decoder.decode(record);
        let is = match &decoded {
            Decoded::Change(_) => "change",
            Decoded::Dead(dead) => dead.reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(line["expect"], is, "{line}");
        assert!(!format!("{decoded:?}").contains("secret-"), "{line}");
        let value = record.value.as_deref().unwrap();
        let masked = decoder.mask(&record.topic, Part::Value, value);
        assert!(masked.len() == value.len() && !String::from_utf8_lossy(&masked).contains("secret-"), "{line}");
    }
}

#[test]
fn times_of_connect_mode_are_those_of_the_source() {
    let times = changes(decoder(), "connect-times.jsonl").into_iter().map(|(_, change)| match change.body {
        ChangeBody::Upsert(row) => (change.key.to_string()[35..].to_owned(), row.cells[3].clone()),
        other => panic!("{other:?}"),
    });
    let micros = |text| Cell::Micros(time::parse_micros(text).unwrap());
    let expected = [
        ("1".to_owned(), micros("2026-11-23T23:28:08.850Z")),
        ("2".to_owned(), micros("infinity")),
        ("3".to_owned(), micros("-0043-03-15T12:00:00Z")),
        ("4".to_owned(), micros("0001-01-01T00:00:00Z")),
    ];
    assert_eq!(times.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
}

/// The values of columns that a record leaves out come from the stored row, so that the rows equal PostgreSQL's rows.
#[test]
fn left_out_columns_lead_to_the_table_of_the_source() {
    let mut rows: BTreeMap<Id, Row> = BTreeMap::new();
    for (_, change) in changes(decoder(), "left-out.jsonl") {
        match change.body {
            ChangeBody::Upsert(row) => drop(rows.insert(change.key, over(rows.get(&change.key), row))),
            ChangeBody::Delete => drop(rows.remove(&change.key)),
            ChangeBody::Tombstone | ChangeBody::Truncate => {}
        }
    }
    let finals: Value = serde_json::from_str(&text("left-out.final.json")).unwrap();
    let posts = finals["posts"].as_array().unwrap();
    assert_eq!(posts.len(), rows.len());
    for post in posts {
        let cells = &rows[&post["id"].as_str().unwrap().parse().unwrap()].cells;
        let text = |cell: &Cell| match cell {
            Cell::Null => Value::Null,
            Cell::Text(text) => Value::from(&**text),
            Cell::Uuid(id) => Value::from(id.to_string()),
            Cell::Json(json) => serde_json::from_str(json).unwrap(),
            Cell::Micros(micros) => Value::from(*micros),
            other => panic!("{other:?}"),
        };
        for (index, name) in [(1, "user_id"), (2, "caption"), (3, "image_key"), (4, "image_sizes")] {
            assert_eq!(text(&cells[index]), post[name], "{name} of {}", post["id"]);
        }
        let hidden = post["soft_delete"].as_str().map(|text| time::parse_micros(text).unwrap());
        assert_eq!(text(&cells[8]), Value::from(hidden), "{}", post["id"]);
    }
}

fn over(stored: Option<&Row>, mut row: Row) -> Row {
    for (index, cell) in row.cells.iter_mut().enumerate().filter(|(_, cell)| **cell == Cell::Unavailable) {
        *cell = stored.unwrap().cells[index].clone();
    }
    row
}
