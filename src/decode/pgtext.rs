//! Converts a value that PostgreSQL prints to the typed cell of a column, or to the JSON that Debezium writes for a
//! value of this type. The session has the settings `datestyle=ISO`, `timezone=UTC` and `bytea_output=hex`.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::fault::Fault;
use super::{private, time};
use crate::event::{Cell, Column, ColumnType, Id};

/// The `pg_type.oid` of built-in types (`pg_type.dat`). The numbers of built-in types never change.
mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const OID: u32 = 26;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const DATE: u32 = 1_082;
    pub const TIME: u32 = 1_083;
    pub const TIMESTAMP: u32 = 1_114;
    pub const TIMESTAMPTZ: u32 = 1_184;
    pub const INTERVAL: u32 = 1_186;
    pub const BOOL_ARRAY: u32 = 1_000;
    pub const INT2_ARRAY: u32 = 1_005;
    pub const INT4_ARRAY: u32 = 1_007;
    pub const TEXT_ARRAY: u32 = 1_009;
    pub const VARCHAR_ARRAY: u32 = 1_015;
    pub const INT8_ARRAY: u32 = 1_016;
    pub const UUID_ARRAY: u32 = 2_951;
}

/// The maximum nesting of arrays, which is PostgreSQL's limit of dimensions.
const DIMENSIONS_MAX: usize = 6;

/// The form in which PostgreSQL prints the values of a column, as far as nova distinguishes types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    /// The form of integers and floats, which JSON writes as numbers.
    Number,
    TimestampTz,
    Timestamp,
    Date,
    Time,
    Bytea,
    Interval,
    /// The form of arrays, whose elements have a form of [`Element`].
    Array(Element),
    /// The form of every type that has no form of its own. Debezium writes the values of a type without a form of its
    /// own as strings.
    Text,
}

/// The form in which the elements of an array are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    Number,
    Text,
}

impl Form {
    pub fn of(type_oid: u32) -> Form {
        match type_oid {
            oid::BOOL => Form::Bool,
            oid::INT2 | oid::INT4 | oid::INT8 | oid::OID | oid::FLOAT4 | oid::FLOAT8 => Form::Number,
            oid::TIMESTAMPTZ => Form::TimestampTz,
            oid::TIMESTAMP => Form::Timestamp,
            oid::DATE => Form::Date,
            oid::TIME => Form::Time,
            oid::BYTEA => Form::Bytea,
            oid::INTERVAL => Form::Interval,
            oid::BOOL_ARRAY => Form::Array(Element::Bool),
            oid::INT2_ARRAY | oid::INT4_ARRAY | oid::INT8_ARRAY => Form::Array(Element::Number),
            oid::TEXT_ARRAY | oid::VARCHAR_ARRAY | oid::UUID_ARRAY => Form::Array(Element::Text),
            _ => Form::Text,
        }
    }

    /// Whether a value of this form can be a cell of the column. A column whose type was changed in the source cannot
    /// be read.
    fn reads(self, kind: ColumnType) -> bool {
        match kind {
            ColumnType::Bool => self == Form::Bool,
            ColumnType::Timestamp => self == Form::Timestamp,
            ColumnType::TimestampTz => matches!(self, Form::TimestampTz | Form::Text),
            ColumnType::Uuid | ColumnType::Json => self == Form::Text,
            ColumnType::Text => matches!(self, Form::Text | Form::TimestampTz),
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Form::Bool => "a boolean",
            Form::Number => "a number",
            Form::TimestampTz => "a timestamptz",
            Form::Timestamp => "a timestamp",
            Form::Date => "a date",
            Form::Time => "a time of day",
            Form::Bytea => "bytes",
            Form::Interval => "an interval",
            Form::Array(_) => "an array",
            Form::Text => "a string",
        }
    }
}

/// Returns the text of a value, which must be UTF-8.
pub(super) fn utf8<'a>(column: &str, bytes: &'a [u8]) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("`{column}` is not UTF-8 at byte {}", error.valid_up_to());
        Fault::new("invalid-utf8", detail)
    })
}

/// Returns the typed cell of a value that is not null.
pub(super) fn cell(column: &Column, form: Form, bytes: &[u8]) -> Result<Cell, Fault> {
    if !form.reads(column.kind) {
        let (name, found) = (column.name, form.shown());
        let detail = format!("`{name}`: the column is {found} at the source, and nova reads {}", expected(column.kind));
        return Err(Fault::new("wrong-type", detail));
    }
    let text = utf8(column.name, bytes)?;
    match column.kind {
        ColumnType::Text => Ok(Cell::Text(match form {
            Form::TimestampTz => zoned(text).ok_or_else(|| no_time(column))?.into(),
            _ => text.into(),
        })),
        ColumnType::Uuid => {
            Id::parse(text.as_bytes()).map(Cell::Uuid).map_err(|_| Fault::invalid(column.name, "not a UUID"))
        }
        ColumnType::Bool => match text {
            "t" => Ok(Cell::Bool(true)),
            "f" => Ok(Cell::Bool(false)),
            _ => Err(Fault::invalid(column.name, "not t or f, as PostgreSQL prints a boolean")),
        },
        ColumnType::Json => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Ok(Cell::Json(private::purge(text).map_or_else(|| text.into(), String::into_boxed_str))),
            Err(_) => Err(Fault::invalid(column.name, "not the text of a JSON value")),
        },
        ColumnType::TimestampTz | ColumnType::Timestamp => {
            let micros = match form {
                Form::Text => time::parse_micros(text),
                form => time::parse_postgres(text, form == Form::TimestampTz),
            };
            micros.map(Cell::Micros).ok_or_else(|| no_time(column))
        }
    }
}

fn no_time(column: &Column) -> Fault {
    Fault::invalid(column.name, "not a time as PostgreSQL prints one with DateStyle ISO")
}

fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Uuid => "a uuid",
        ColumnType::Text => "text",
        ColumnType::Bool => "a boolean",
        ColumnType::Json => "json or jsonb",
        ColumnType::TimestampTz => "a timestamptz",
        ColumnType::Timestamp => "a timestamp",
    }
}

/// Returns the JSON that Debezium writes for the value with nova's connector (`deploy/debezium/nova.json`: times in
/// microseconds, numerics as text, bytes as hex).
pub(super) fn json(form: Form, text: &str) -> String {
    let string = || Value::from(text).to_string();
    match form {
        Form::Bool => element(Element::Bool, text),
        Form::Number => element(Element::Number, text),
        Form::TimestampTz => Value::from(zoned(text).unwrap_or_else(|| text.to_owned())).to_string(),
        Form::Timestamp => time::parse_postgres(text, false).map_or_else(string, |micros| micros.to_string()),
        Form::Date => time::parse_postgres_date(text).map_or_else(string, |days| days.to_string()),
        Form::Time => {
            let micros = time::parse_postgres(&format!("1970-01-01 {text}"), false);
            micros.map_or_else(string, |micros| micros.to_string())
        }
        Form::Bytea => Value::from(text.strip_prefix("\\x").unwrap_or(text)).to_string(),
        Form::Array(of) => array(of, text).unwrap_or_else(string),
        Form::Interval | Form::Text => string(),
    }
}

fn element(of: Element, text: &str) -> String {
    match (of, text) {
        (Element::Bool, "t") => "true".to_owned(),
        (Element::Bool, "f") => "false".to_owned(),
        // JSON has no numbers for NaN and for the infinities of floats.
        (Element::Number, text) if text.parse::<serde_json::Number>().is_ok() => text.to_owned(),
        _ => Value::from(text).to_string(),
    }
}

/// Returns a `timestamptz` as Debezium prints it: in UTC, and always with microseconds.
fn zoned(text: &str) -> Option<String> {
    match time::parse_postgres(text, true)? {
        i64::MAX | i64::MIN => Some(text.to_owned()),
        micros => {
            let stamp = jiff::Timestamp::from_microsecond(micros).ok()?;
            Some(format!("{stamp:.6}"))
        }
    }
}

/// Returns the JSON of an array that PostgreSQL printed ("Arrays", section "Array Input and Output Syntax"). The
/// function returns `None` if the text is not an array.
fn array(of: Element, text: &str) -> Option<String> {
    // If the lower bounds of an array are not 1, PostgreSQL prints them before the values.
    let text = if text.starts_with('[') { text.split_once('=')?.1 } else { text };
    let (mut out, mut rest, mut depth, mut after_value) = (String::new(), text, 0, false);
    while let Some(first) = rest.chars().next() {
        let behind = rest.get(first.len_utf8()..).unwrap_or_default();
        match first {
            '{' if !after_value && depth < DIMENSIONS_MAX => {
                depth += 1;
                out.push('[');
                rest = behind;
            }
            '}' if depth > 0 && (after_value || out.ends_with('[')) => {
                depth -= 1;
                out.push(']');
                (rest, after_value) = (behind, true);
            }
            ',' if after_value && depth > 0 => {
                out.push(',');
                (rest, after_value) = (behind, false);
            }
            '"' if !after_value && depth > 0 => {
                let (value, behind) = quoted(behind)?;
                out.push_str(&element(of, &value));
                (rest, after_value) = (behind, true);
            }
            _ if !after_value && depth > 0 => {
                let (value, behind) = rest.split_at_checked(rest.find([',', '}'])?)?;
                out.push_str(&if value == "NULL" { "null".to_owned() } else { element(of, value) });
                (rest, after_value) = (behind, true);
            }
            _ => return None,
        }
    }
    (depth == 0 && !out.is_empty()).then_some(out)
}

/// Reads a quoted array element after its opening quote. Returns the element and the rest of the text.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(one) = chars.next() {
        match one {
            '"' => return Some((out, chars.as_str())),
            '\\' => out.push(chars.next()?),
            one => out.push(one),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_of_columns_that_nova_does_not_know_are_what_debezium_writes() {
        let cases = [
            (Form::Bool, "t", "true"),
            (Form::Number, "-5", "-5"),
            (Form::Number, "NaN", r#""NaN""#),
            (Form::TimestampTz, "2026-11-20 09:00:00.5+00", r#""2026-11-20T09:00:00.500000Z""#),
            (Form::TimestampTz, "infinity", r#""infinity""#),
            (Form::Timestamp, "1970-01-01 00:00:01", "1000000"),
            (Form::Date, "1970-02-01", "31"),
            (Form::Time, "00:01:00.5", "60500000"),
            (Form::Bytea, "\\x00ff", r#""00ff""#),
            (Form::Text, "a\"b", r#""a\"b""#),
            (Form::Array(Element::Text), r#"{a,"b,\"c",NULL,"NULL"}"#, r#"["a","b,\"c",null,"NULL"]"#),
            (Form::Array(Element::Number), "{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
            (Form::Array(Element::Number), "[0:1]={1,2}", "[1,2]"),
            (Form::Array(Element::Bool), "{}", "[]"),
            (Form::Array(Element::Text), "{a", r#""{a""#),
        ];
        for (form, text, expected) in cases {
            assert_eq!(json(form, text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_json_in_any_form(text in ".{0,40}", which in 0usize..12) {
            let arrays = [Element::Bool, Element::Number, Element::Text].map(Form::Array);
            let others = [Form::Bool, Form::Number, Form::TimestampTz, Form::Timestamp, Form::Date, Form::Time, Form::Bytea,
                Form::Interval, Form::Text];
            let form = *arrays.iter().chain(&others).nth(which).unwrap();
            let json = json(form, &text);
            prop_assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json}");
        }

        #[test]
        fn arrays_of_text_read_back(values in prop::collection::vec(any::<Option<String>>(), 0..6)) {
            let printed: Vec<_> = values.iter().map(|value| match value {
                None => "NULL".to_owned(),
                Some(value) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
            }).collect();
            let json = json(Form::Array(Element::Text), &format!("{{{}}}", printed.join(",")));
            prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&json).unwrap(), values);
        }
    }
}
