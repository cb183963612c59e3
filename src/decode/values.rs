//! Converts a value of any encoding to the typed cell of a column.

use serde::de::IgnoredAny;

use super::fault::Fault;
use super::placeholder::Placeholders;
use super::raw::Raw;
use super::units::Unit;
use super::{private, time};
use crate::event::{Cell, Column, ColumnType, Id};

/// The values that Debezium writes in a `timestamp` column for `infinity` and `-infinity`.
const TIMESTAMP_INFINITY: i64 = 9_223_372_036_825_200_000;
const TIMESTAMP_NEGATIVE_INFINITY: i64 = -9_223_372_036_832_400_000;

/// The earliest time that PostgreSQL can store, 4714-11-24 BC, in epoch microseconds.
const TIMESTAMP_MIN: i64 = -210_866_803_200_000_000;

/// The two infinities as 64-bit nanoseconds. Debezium does not check for an overflow, so the infinities become times
/// near 1970.
const NANOS_OF_OVERFLOW: [i64; 2] =
    [TIMESTAMP_INFINITY.wrapping_mul(1_000), TIMESTAMP_NEGATIVE_INFINITY.wrapping_mul(1_000)];

const NO_JSON: &str = "not the text of a JSON value. If it is the connector's unavailable.value.placeholder, give it to \
    nova as cdc.placeholder";

/// Returns the typed cell of `column`, or the reason why the value is not valid for the column. `unit` is the unit that
/// the record states.
pub(super) fn cell(column: &Column, raw: Raw<'_>, unit: Unit, placeholders: &Placeholders) -> Result<Cell, Fault> {
    match (column.kind, raw) {
        (_, Raw::Null) if column.nullable => Ok(Cell::Null),
        (_, Raw::Null) => {
            Err(Fault::new("null-value", format!("`{}` is null, and the column does not take null", column.name)))
        }
        (ColumnType::Bool, Raw::Bool(value)) => Ok(Cell::Bool(value)),
        (ColumnType::Timestamp, Raw::Int(micros)) if unit == Unit::Unstated => timestamp(column, micros),
        (ColumnType::Timestamp | ColumnType::TimestampTz, Raw::Int(value)) if unit != Unit::Unstated => {
            stated(column, value, unit)
        }
        // Only columns of type text and JSON are stored out of line, but a transform may turn a column of another type
        // into text.
        (_, Raw::Text(text)) if placeholders.is_text(&text) => Ok(Cell::Unavailable),
        (ColumnType::Text, Raw::Text(text)) => Ok(Cell::Text(text.into())),
        (ColumnType::Uuid, Raw::Text(text)) => match Id::parse(text.as_bytes()) {
            Ok(id) => Ok(Cell::Uuid(id)),
            Err(_) => Err(Fault::invalid(column.name, "not a UUID")),
        },
        (ColumnType::TimestampTz, Raw::Text(text)) => Ok(Cell::Micros(zoned(column, &text)?)),
        (ColumnType::Timestamp, Raw::Text(text)) if unit == Unit::Iso => match zoned(column, &text)? {
            micros @ (i64::MIN | i64::MAX) => Ok(Cell::Micros(micros)),
            micros => timestamp(column, micros),
        },
        (ColumnType::Json, Raw::Text(text)) => match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Cell::Json(private::purge(&text).map_or_else(|| text.into(), String::into_boxed_str))),
            Err(_) if placeholders.is_bytes(&text) => Ok(Cell::Unavailable),
            Err(_) => Err(Fault::invalid(column.name, NO_JSON)),
        },
        (_, raw) => Err(Fault::wrong_type(column.name, expected(column.kind), &raw)),
    }
}

fn timestamp(column: &Column, micros: i64) -> Result<Cell, Fault> {
    match micros {
        TIMESTAMP_INFINITY => Ok(Cell::Micros(i64::MAX)),
        TIMESTAMP_NEGATIVE_INFINITY => Ok(Cell::Micros(i64::MIN)),
        // The lowest and the highest `i64` stand for the infinities in a cell, and no PostgreSQL column can hold them
        // as times.
        i64::MIN | i64::MAX => Err(Fault::invalid(column.name, "microseconds outside what PostgreSQL stores")),
        micros => Ok(Cell::Micros(micros)),
    }
}

/// Returns the primary key, which is the value of `id` in a Kafka key.
pub(super) fn key_id(id: Option<Raw<'_>>) -> Result<Id, Fault> {
    match id {
        Some(Raw::Text(text)) if text.is_empty() => Err(nil_key("is empty")),
        Some(Raw::Text(text)) => Id::parse(text.as_bytes()).map_err(|_| Fault::invalid("key.id", "not a UUID")),
        None | Some(Raw::Null) => Err(Fault::new("missing-key", "the Kafka key has no `id`, which is the primary key")),
        Some(raw) => Err(Fault::wrong_type("key.id", "a UUID as string", &raw)),
    }
}

/// Returns the fault of a key whose `id` is the value that Debezium writes for an unknown column.
pub(super) fn nil_key(what: &str) -> Fault {
    let detail = format!(
        "the `id` of the Kafka key {what} and names no row: the table's REPLICA IDENTITY is another index. Run ALTER TABLE … \
         REPLICA IDENTITY DEFAULT at the source. The deleted row is still here: only a new snapshot removes it \
         (docs/connector.md, When the slot is lost)"
    );
    Fault::new("nil-key", detail)
}

fn zoned(column: &Column, text: &str) -> Result<i64, Fault> {
    let what = "not an ISO 8601 time with offset that is exact in microseconds";
    time::parse_micros(text).ok_or_else(|| Fault::invalid(column.name, what))
}

/// Reads a time in the unit that the record states.
fn stated(column: &Column, value: i64, unit: Unit) -> Result<Cell, Fault> {
    let invalid = |what: &str| Err(Fault::invalid(column.name, what));
    let micros = match unit {
        // `TIMESTAMP_INFINITY` and `TIMESTAMP_NEGATIVE_INFINITY` are the infinities that a database driver gives in
        // milliseconds. No time of PostgreSQL is as large as an infinity in milliseconds.
        Unit::Millis if matches!(value, TIMESTAMP_INFINITY | TIMESTAMP_NEGATIVE_INFINITY) => Some(value),
        Unit::Millis => value.checked_mul(1_000),
        Unit::Micros => Some(value),
        Unit::Nanos if NANOS_OF_OVERFLOW.contains(&value) => {
            return invalid("nanoseconds that `infinity` becomes when they overflow, and that a time may have");
        }
        // An overflow almost never gives whole microseconds, and PostgreSQL has no times finer than microseconds.
        Unit::Nanos => match value % 1_000 {
            0 => Some(value / 1_000),
            _ => return invalid("nanoseconds that are no whole microseconds: a time before 1677 or after 2262"),
        },
        Unit::Iso => return invalid("an integer, and the record states that it is ISO 8601 text"),
        Unit::Other | Unit::Unstated => {
            return invalid("the record states a type that is no timestamp, such as a date or a time of day");
        }
    };
    match micros {
        Some(micros) if micros >= TIMESTAMP_MIN || micros == TIMESTAMP_NEGATIVE_INFINITY => timestamp(column, micros),
        _ => invalid(match unit {
            Unit::Millis => "milliseconds, as the record states, outside what PostgreSQL stores",
            _ => "microseconds, as the record states, outside what PostgreSQL stores",
        }),
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
