//! What a dead letter of a table with private columns shows: an allow-list. The columns that nova reads or keeps, and
//! Debezium's own members; every other value is overwritten, because a column that is new there may be private.

use std::borrow::Cow;
use std::ops::Range;

use super::fill::{Fill, STAR, fill};
use super::nested::{is_json, unescaped};
use super::scan;

/// How deep objects and arrays stand in each other; deeper ones are overwritten whole. Connect's schema of an envelope
/// has 9 levels.
const LEVELS_MAX: usize = 32;
/// How deep JSON text stands in strings of JSON text; deeper ones are overwritten whole.
const NESTED_MAX: usize = 4;

/// Where in a record a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An envelope, a flattened row, a key, or what wraps one of them.
    Top,
    /// `before` and `after`.
    Row,
    /// `source`.
    Source,
    /// `transaction`.
    Transaction,
    /// The `schema` that Connect's JSON converter writes.
    Schema,
    /// A list of names of columns, alone or with its schema.
    Names,
}

/// What is shown of a member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// The value, if it is no object or array.
    Scalar,
    /// What the place shows of the object, or of the objects of the array.
    Within(Place),
    /// Everything.
    All,
}

/// Whether a table shows a column: one that nova reads is a scalar, of one that it keeps everything is shown.
pub type Columns<'c> = &'c dyn Fn(&str) -> Shown;

/// Members of an envelope (Debezium's documentation of the PostgreSQL connector, "change events").
const ENVELOPE: [&str; 4] = ["op", "ts_ms", "ts_us", "ts_ns"];
/// Members that `ExtractNewRecordState` adds, as far as nova reads them, and their times.
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

/// What is shown of the member of this name.
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

/// The same number of bytes, with `*` for everything that is not shown. Bytes that are no JSON are overwritten whole.
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

/// Every byte overwritten.
pub fn all(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(vec![STAR; bytes.len()])
}

/// One pass over a text that is known to be JSON.
struct Walk<'w> {
    json: &'w str,
    columns: Columns<'w>,
    /// How many strings of JSON text stand around this text.
    depth: usize,
    /// How many objects and arrays of this text are open.
    level: usize,
    fills: &'w mut Vec<Fill>,
}

impl Walk<'_> {
    /// The value that begins at `start`; returns its end.
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
            // Behind the colon.
            at = scan::space(bytes, scan::space(bytes, name.end) + 1);
            let shown = member(place, &scan::name(&self.json[name]), self.columns);
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

    /// A string where an object is expected: JSON text, or the name of a column that is shown.
    fn text(&mut self, literal: Range<usize>, shown: Shown) {
        let (text, places) = unescaped(&self.json[literal.clone()]);
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
        let place = |range: Range<usize>| literal.start + places[range.start]..literal.start + places[range.end];
        self.fills.extend(fills.into_iter().map(|fill| match fill {
            Fill::Stars(range) => Fill::Stars(place(range)),
            Fill::Scalar { range, .. } => Fill::Scalar { range: place(range), nested: true },
        }));
    }

    fn hide(&mut self, range: Range<usize>) {
        self.fills.push(match self.json.as_bytes()[range.start] {
            b'"' => Fill::Stars(range.start + 1..range.end - 1),
            _ => Fill::Scalar { range, nested: self.depth > 0 },
        });
    }
}
