//! Writes stored rows as JSON with the source's column names.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nova_storage::{ReadError, ReadTxn};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clock::rfc3339;
use crate::event::{Cell, Row, Table};

use super::seen::Seen;

/// The reason for which rows could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
}

/// Writes at most `limit` live rows of a table as JSON lines, in the order of their ids.
pub fn write(read: ReadTxn, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), RowsError> {
    let (mut left, mut failed) = (limit, None);
    Seen::load(read)?.live(table, |row| {
        // The limit is checked before each row, because it may be 0.
        if left == 0 {
            return false;
        }
        left -= 1;
        failed = writeln!(out, "{}", json(table, &row)).err();
        failed.is_none() && left > 0
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Returns a JSON object with the table's columns in their order, and the unknown columns after them. Times are RFC
/// 3339 in UTC with microseconds, `jsonb` is embedded as JSON, and values that the stream never had are null.
pub fn json(table: Table, row: &Row) -> String {
    let mut out = String::from("{");
    let mut member = |name: &str, value: &str| {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&Value::from(name).to_string());
        out.push(':');
        out.push_str(value);
    };
    for (column, cell) in table.columns().iter().zip(&row.cells) {
        match cell {
            Cell::Missing | Cell::Null | Cell::Unavailable => member(column.name, "null"),
            Cell::Bool(value) => member(column.name, if *value { "true" } else { "false" }),
            Cell::Uuid(id) => member(column.name, &format!("\"{id}\"")),
            Cell::Micros(micros) => member(column.name, &Value::from(rfc3339(*micros)).to_string()),
            Cell::Text(text) => member(column.name, &Value::from(&**text).to_string()),
            Cell::Json(text) => member(column.name, text),
        }
    }
    // The members of the JSON object keep the text in which they were written, so that numbers of any size stay exact.
    let extra: BTreeMap<String, Box<RawValue>> =
        row.extra.as_deref().and_then(|extra| serde_json::from_str(extra).ok()).unwrap_or_default();
    extra.iter().for_each(|(name, value)| member(name, value.get()));
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_and_unknown_columns_stand_as_the_json_they_are() {
        let mut cells = vec![Cell::Null; Table::Posts.columns().len()];
        cells[4] = Cell::Json("{\"n\": 12345678901234567890123}".into());
        let extra = Some("{\"big\":98765432109876543210,\"t\":\"é\\\"\"}".into());
        let row = Row { cells: cells.into(), extra, extra_unavailable: Box::default() };
        let text = json(Table::Posts, &row);
        assert!(text.contains("\"image_sizes\":{\"n\": 12345678901234567890123}"), "{text}");
        assert!(text.ends_with("\"big\":98765432109876543210,\"t\":\"é\\\"\"}"), "{text}");
    }
}
