//! Decides what a dead letter of a table with private columns shows. A dead letter shows only what is on an allow-list:
//! the columns that nova reads or keeps, and Debezium's own members. Every value that is not on the allow-list is
//! overwritten, because a new column may be private.

use std::borrow::Cow;
use std::ops::Range;

use super::fill::{Fill, STAR, fill};
use super::nested::{is_json, unescaped};
use super::scan;

/// The maximum nesting of objects and arrays that nova reads. A value that is nested more deeply than this maximum is
/// overwritten as a whole. The schema that Kafka Connect writes for an envelope has 9 levels.
const LEVELS_MAX: usize = 32;
/// The maximum nesting of JSON text in strings that nova reads. Text that is nested more deeply than this maximum is
/// overwritten as a whole.
const NESTED_MAX: usize = 4;

/// The place of a member in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The member is at the top of an envelope, of a flattened row, of a key, or of an object that wraps an envelope, a
    /// row or a key.
    Top,
    /// The member is within `before` or `after` of an envelope.
    Row,
    /// The member is within `source` of an envelope.
    Source,
    /// The member is within `transaction` of an envelope.
    Transaction,
    /// The member is within the `schema` that Kafka Connect's JSON converter writes.
    Schema,
    /// The member is within a list of column names. A list of column names may be wrapped together with its schema.
    Names,
}

/// Says how much of a member's value a dead letter shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// The value is shown if it is neither an object nor an array.
    Scalar,
    /// The object, or each object of the array, is shown by the rules of the given place.
    Within(Place),
    /// The whole value is shown.
    All,
}

/// Says how much of a column a dead letter shows: only a scalar if nova reads the column, and the whole value if nova
/// keeps the column.
pub type Columns<'c> = &'c dyn Fn(&str) -> Shown;

/// The visible members of an envelope (Debezium's documentation of the PostgreSQL connector, "change events").
const ENVELOPE: [&str; 4] = ["op", "ts_ms", "ts_us", "ts_ns"];
/// The visible members that `ExtractNewRecordState` adds: the members that nova reads, and times.
const META: [&str; 14] = [
    "__deleted",
    "__op",
    "__lsn",
    "__source_lsn",
    "__source_ts_us",
    "__source_ts_ms",
    "__source_ts_ns",
    "__ts_ms",
    "__ts_us",
    "__ts_ns",
    "__table",
    "__source_table",
    "__snapshot",
    "__source_snapshot",
];
const SOURCE: [&str; 15] = [
    "version",
    "connector",
    "name",
    "ts_ms",
    "ts_us",
    "ts_ns",
    "snapshot",
    "db",
    "sequence",
    "schema",
    "table",
    "txId",
    "lsn",
    "xmin",
    "origin",
];
const TRANSACTION: [&str; 3] = ["id", "total_order", "data_collection_order"];
const SCHEMA: [&str; 6] = ["type", "optional", "field", "name", "version", "index"];
const SCHEMAS: [&str; 4] = ["fields", "items", "keys", "values"];

/// Returns how much is shown of the value of the member with this name.
pub fn member(place: Place, name: &str, columns: Columns<'_>) -> Shown {
    let one_of = |names: &[&str]| if names.contains(&name) { Shown::Scalar } else { Shown::Nothing };
    match (place, name) {
        (Place::Top, "before" | "after") => Shown::Within(Place::Row),
        (Place::Top, "source") => Shown::Within(Place::Source),
        (Place::Top, "transaction") => Shown::Within(Place::Transaction),
        (Place::Top | Place::Names, "schema") => Shown::Within(Place::Schema),
        (Place::Top | Place::Names, "payload") => Shown::Within(place),
        (Place::Top, _) if ENVELOPE.contains(&name) || META.contains(&name) => Shown::Scalar,
        (Place::Top | Place::Row, _) => columns(name),
        (Place::Names, _) => Shown::Nothing,
        (Place::Source, _) => one_of(&SOURCE),
        (Place::Transaction, _) => one_of(&TRANSACTION),
        (Place::Schema, _) if SCHEMAS.contains(&name) => Shown::Within(Place::Schema),
        (Place::Schema, _) => one_of(&SCHEMA),
    }
}

/// Returns the bytes with `*` in place of everything that is not shown. The number of bytes does not change. Bytes that
/// are not JSON are overwritten as a whole.
pub fn mask<'b>(bytes: &'b [u8], place: Place, columns: Columns<'_>) -> Cow<'b, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_json(text) || text.trim_ascii() == "null" => {
            let mut fills = Vec::new();
            let mut walk = Walk { json: text, columns, depth: 0, level: 0, fills: &mut fills };
            walk.value(scan::space(bytes, 0), Shown::Within(place));
            fill(bytes, &fills)
        }
        _ => all(bytes),
    }
}

/// Overwrites every byte.
pub fn all(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(vec![STAR; bytes.len()])
}

/// A pass over a text that is known to be JSON.
struct Walk<'w> {
    json: &'w str,
    columns: Columns<'w>,
    /// The number of strings with JSON text that enclose this text.
    depth: usize,
    /// The number of objects and arrays of this text that are open.
    level: usize,
    fills: &'w mut Vec<Fill>,
}

impl Walk<'_> {
    /// Handles the value that begins at `start`, and returns the position where the value ends.
    fn value(&mut self, start: usize, shown: Shown) -> usize {
        let bytes = self.json.as_bytes();
        let end = scan::value_end(bytes, start);
        let place = match shown {
            Shown::All => return end,
            Shown::Within(place) if self.level < LEVELS_MAX => Some(place),
            Shown::Within(_) | Shown::Nothing | Shown::Scalar => None,
        };
        self.level += 1;
        match (bytes.get(start), place) {
            (Some(b'{'), Some(place)) => self.object(start, place),
            (Some(b'['), Some(_)) => self.array(start, shown),
            (Some(b'n'), Some(_)) => {}
            (Some(b'"'), Some(_)) => self.text(start..end, shown),
            (Some(b'{' | b'['), None) => self.hide(start..end),
            (_, None) if shown == Shown::Scalar => {}
            _ => self.hide(start..end),
        }
        self.level -= 1;
        end
    }

    fn object(&mut self, start: usize, place: Place) {
        let bytes = self.json.as_bytes();
        let mut at = scan::space(bytes, start + 1);
        while bytes.get(at) == Some(&b'"') {
            let name = at..scan::string_end(bytes, at);
            // This step skips the colon after the name.
            at = scan::space(bytes, scan::space(bytes, name.end) + 1);
            let name = self.json.get(name).map(scan::name).unwrap_or_default();
            let shown = member(place, &name, self.columns);
            at = scan::space(bytes, self.value(at, shown));
            if bytes.get(at) == Some(&b',') {
                at = scan::space(bytes, at + 1);
            }
        }
    }

    fn array(&mut self, start: usize, shown: Shown) {
        let bytes = self.json.as_bytes();
        let mut at = scan::space(bytes, start + 1);
        while bytes.get(at).is_some_and(|byte| *byte != b']') {
            at = scan::space(bytes, self.value(at, shown));
            if bytes.get(at) == Some(&b',') {
                at = scan::space(bytes, at + 1);
            }
        }
    }

    /// Handles a string at a place where an object is expected: the string is JSON text, or the name of a column that
    /// is shown.
    fn text(&mut self, literal: Range<usize>, shown: Shown) {
        let (text, places) = unescaped(self.json.get(literal.clone()).unwrap_or_default());
        let json = std::str::from_utf8(&text).ok().filter(|text| self.depth < NESTED_MAX && is_json(text));
        let Some(json) = json else {
            let is_column = std::str::from_utf8(&text).is_ok_and(|text| (self.columns)(text) != Shown::Nothing);
            if !is_column {
                self.hide(literal);
            }
            return;
        };
        let mut fills = Vec::new();
        let mut walk = Walk { json, columns: self.columns, depth: self.depth + 1, level: 0, fills: &mut fills };
        walk.value(scan::space(json.as_bytes(), 0), shown);
        // If the place of a fill's beginning is unknown, the fill begins with the literal. If the place of its end is
        // unknown, the fill ends with the literal.
        let place = |range: Range<usize>| {
            let from = places.get(range.start).map_or(literal.start, |place| literal.start + place);
            let to = places.get(range.end).map_or(literal.end, |place| literal.start + place);
            from..to
        };
        self.fills.extend(fills.into_iter().map(|fill| match fill {
            Fill::Stars(range) => Fill::Stars(place(range)),
            Fill::Scalar { range, .. } => Fill::Scalar { range: place(range), nested: true },
        }));
    }

    fn hide(&mut self, range: Range<usize>) {
        self.fills.push(match self.json.as_bytes().get(range.start) {
            Some(b'"') => Fill::Stars(range.start + 1..range.end - 1),
            _ => Fill::Scalar { range, nested: self.depth > 0 },
        });
    }
}
