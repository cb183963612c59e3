//! Compares dumped rows with the rows that PostgreSQL prints.

use std::collections::BTreeMap;

use nova::decode::time;
use nova::event::{ColumnType, DROPPED_COLUMNS, Table};
use serde_json::Value;

/// For each capture, the columns whose values the stream could not report. `ALTER TABLE … ADD COLUMN language … DEFAULT
/// 'en'` writes no change for existing rows. If the column was NULL, the connector wrote the default value
/// (`replace.null.with.default`).
const NOT_CONVEYED: [(&str, &str, &str); 1] = [("posts", "language", "en")];

/// Returns a value in a form that can be compared. PostgreSQL prints times in its own format, so times are compared as
/// instants.
fn normal(table: Table, column: &str, value: &Value) -> Value {
    let kind = table.columns().iter().find(|known| known.name == column).map(|known| known.kind);
    match (kind, value.as_str()) {
        (Some(ColumnType::TimestampTz | ColumnType::Timestamp), Some(text)) if !text.contains("infinity") => {
            let zoned = text.ends_with('Z') || text.contains("+0");
            let text = if zoned { text.to_owned() } else { format!("{text}Z") };
            let in_range = text.parse::<jiff::Timestamp>().ok().map(|stamp| stamp.as_microsecond());
            // nova's own parser reads years beyond 9999, and years before Christ in PostgreSQL's format.
            let micros = in_range.or_else(|| time::parse_micros(&text)).or_else(|| time::parse_postgres(&text, true));
            Value::from(micros.unwrap_or_else(|| panic!("{text} is no time")))
        }
        _ => value.clone(),
    }
}

/// Compares a dump with PostgreSQL's tables, row by row and column by column. Returns the number of values that differ
/// for a known reason.
pub fn compare(dumped: &[Vec<String>], expected: &BTreeMap<String, Vec<BTreeMap<String, Value>>>) -> usize {
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

/// Compares ClickHouse's `*_current` views with a dump, row by row and column by column. `ask` runs a query and returns
/// the lines of the answer.
pub fn compare_current(dumped: &[Vec<String>], mut ask: impl FnMut(&str) -> Vec<String>) {
    for (table, lines) in Table::ALL.into_iter().zip(dumped) {
        let names: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        let found = ask(&format!(
            "SELECT {} FROM {table}_current ORDER BY toString(id) FORMAT JSONCompactEachRow",
            names.join(", ")
        ));
        assert_eq!(found.len(), lines.len(), "{table}");
        for (found, line) in found.iter().zip(lines) {
            let found: Vec<Value> = serde_json::from_str(found).unwrap();
            let row: Value = serde_json::from_str(line).unwrap();
            for (column, value) in table.columns().iter().zip(&found) {
                let (value, ours) = (plainly(column.kind, value), plainly(column.kind, &row[column.name]));
                assert_eq!(value, ours, "{table}.{} of {}", column.name, row["id"]);
            }
        }
    }
}

/// Returns a value as text, with a single spelling of times, booleans and JSON.
fn plainly(kind: ColumnType, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) if kind == ColumnType::Json => match serde_json::from_str::<Value>(text) {
            Ok(value) => value.to_string(),
            Err(_) => value.to_string(),
        },
        Value::String(text) => text.trim_end_matches('Z').replace('T', " "),
        other => other.to_string(),
    }
}

/// The columns of a user except `id` and `username`, as members of a JSON object.
pub const USER_COLUMNS: &str = concat!(
    r#""email_verified":true,"is_active":true,"created_at":"2026-11-20T09:00:00Z","#,
    r#""updated_at":"2026-11-20T09:00:00Z","deleted_at":null"#
);
