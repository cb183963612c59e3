//! From a value as any encoding writes it to the typed cell of a column.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine;
use serde::de::IgnoredAny;

use super::time;
use crate::event::{Cell, Column, ColumnType, Dead, Id, Stage};

/// What a dead letter's detail is cut to.
pub const DETAIL_MAX_BYTES: usize = 300;

/// Debezium's default for `unavailable.value.placeholder`.
pub const DEFAULT_PLACEHOLDER: &str = "__debezium_unavailable_value";

/// What Debezium writes in a `timestamp` column for `infinity` and `-infinity`.
const TIMESTAMP_INFINITY: i64 = 9_223_372_036_825_200_000;
const TIMESTAMP_NEGATIVE_INFINITY: i64 = -9_223_372_036_832_400_000;

/// A scalar as it came, borrowed from the record where it can be. Objects and arrays are skipped by the reader: no
/// column of a table is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond `i64`.
    TooLarge,
    Float,
    Text(Cow<'a, str>),
    Bytes,
    Object,
    Array,
}

impl Raw<'_> {
    pub fn kind(&self) -> &'static str {
        match self {
            Raw::Null => "null",
            Raw::Bool(_) => "a boolean",
            Raw::Int(_) => "an integer",
            Raw::TooLarge => "an integer beyond 64 bits",
            Raw::Float => "a number that is not an integer",
            Raw::Text(_) => "a string",
            Raw::Bytes => "bytes",
            Raw::Object => "an object",
            Raw::Array => "an array",
        }
    }
}

/// Why a record is dead: a stable code and what to tell a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: &'static str,
    pub detail: String,
}

impl Fault {
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Fault {
        Fault { reason, detail: bounded(detail.into()) }
    }

    pub fn wrong_type(field: &str, expected: &str, got: &Raw<'_>) -> Fault {
        Fault::new("wrong-type", format!("`{}`: expected {expected}, got {}", shown(field), got.kind()))
    }

    pub fn invalid(field: &str, what: &str) -> Fault {
        Fault::new("invalid-value", format!("`{}`: {what}", shown(field)))
    }

    pub fn duplicate(field: &str) -> Fault {
        Fault::new("duplicate-field", format!("`{}` comes twice in one object", shown(field)))
    }
}

impl From<Fault> for Dead {
    fn from(fault: Fault) -> Dead {
        Dead { stage: Stage::Decode, reason: fault.reason, detail: fault.detail }
    }
}

/// A field name from the wire, short enough for a message.
fn shown(field: &str) -> &str {
    cut(field, 64)
}

fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn bounded(mut detail: String) -> String {
    let end = cut(&detail, DETAIL_MAX_BYTES).len();
    detail.truncate(end);
    detail
}

/// What Debezium writes for an unchanged value that is stored out of line, in each form it takes.
#[derive(Clone, Debug)]
pub(super) struct Placeholder {
    text: Arc<str>,
    base64: Arc<str>,
}

impl Placeholder {
    /// `setting` is the connector's `unavailable.value.placeholder`, with its `hex:` form.
    pub fn new(setting: &str) -> Placeholder {
        let text = setting.strip_prefix("hex:").and_then(from_hex).unwrap_or_else(|| setting.to_owned());
        let base64 = base64::engine::general_purpose::STANDARD.encode(text.as_bytes());
        Placeholder { text: text.into(), base64: base64.into() }
    }

    fn is_text(&self, value: &str) -> bool {
        *value == *self.text
    }

    fn is_bytes(&self, value: &str) -> bool {
        *value == *self.base64
    }
}

fn from_hex(digits: &str) -> Option<String> {
    let digits: Vec<u32> = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect();
    String::from_utf8(bytes).ok()
}

/// The typed cell of `column`, or why the value cannot be one.
pub(super) fn cell(column: &Column, raw: Raw<'_>, placeholder: &Placeholder) -> Result<Cell, Fault> {
    match (column.kind, raw) {
        (_, Raw::Null) if column.nullable => Ok(Cell::Null),
        (_, Raw::Null) => {
            Err(Fault::new("null-value", format!("`{}` is null, and the column does not take null", column.name)))
        }
        (ColumnType::Bool, Raw::Bool(value)) => Ok(Cell::Bool(value)),
        (ColumnType::Timestamp, Raw::Int(micros)) => timestamp(column, micros),
        (ColumnType::Text, Raw::Text(text)) if placeholder.is_text(&text) => Ok(Cell::Unavailable),
        (ColumnType::Text, Raw::Text(text)) => Ok(Cell::Text(text.into())),
        (ColumnType::Uuid, Raw::Text(text)) => match Id::parse(text.as_bytes()) {
            Ok(id) => Ok(Cell::Uuid(id)),
            Err(_) => unless_placeholder(column, &text, placeholder, "not a UUID"),
        },
        (ColumnType::TimestampTz, Raw::Text(text)) => match time::parse_micros(&text) {
            Some(micros) => Ok(Cell::Micros(micros)),
            None => unless_placeholder(
                column,
                &text,
                placeholder,
                "not an ISO 8601 time with offset that is exact in microseconds",
            ),
        },
        (ColumnType::Json, Raw::Text(text)) => match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Cell::Json(text.into())),
            Err(_) if placeholder.is_bytes(&text) => Ok(Cell::Unavailable),
            Err(_) => unless_placeholder(column, &text, placeholder, "not the text of a JSON value"),
        },
        (_, raw) => Err(Fault::wrong_type(column.name, expected(column.kind), &raw)),
    }
}

fn unless_placeholder(column: &Column, text: &str, placeholder: &Placeholder, what: &str) -> Result<Cell, Fault> {
    if placeholder.is_text(text) { Ok(Cell::Unavailable) } else { Err(Fault::invalid(column.name, what)) }
}

fn timestamp(column: &Column, micros: i64) -> Result<Cell, Fault> {
    match micros {
        TIMESTAMP_INFINITY => Ok(Cell::Micros(i64::MAX)),
        TIMESTAMP_NEGATIVE_INFINITY => Ok(Cell::Micros(i64::MIN)),
        // Both stand for infinity in a cell, and no column can hold them.
        i64::MIN | i64::MAX => Err(Fault::invalid(column.name, "microseconds outside what PostgreSQL stores")),
        micros => Ok(Cell::Micros(micros)),
    }
}

pub(super) const fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Uuid => "a UUID as string",
        ColumnType::Text => "a string",
        ColumnType::Bool => "a boolean",
        ColumnType::Json => "JSON text as string",
        ColumnType::TimestampTz => "an ISO 8601 time as string",
        ColumnType::Timestamp => {
            "an integer of microseconds (time.precision.mode=adaptive or adaptive_time_microseconds)"
        }
    }
}
