//! Reads Avro values, each with the schema of its writer. nova finds fields by their names, so that a schema may gain
//! or lose fields.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use base64::Engine;

use super::debezium::{Image, Message};
use super::fault::Fault;
use super::image::{ImageBuilder, Slot};
use super::kept::KeepUnknown;
use super::length::RECORD_MAX_BYTES;
use super::placeholder::Placeholders;
use super::raw::Raw;
use super::schema::Plan;
use super::shape::{Kind, Shape, Top};
use super::units::Unit;
use super::values;
use crate::event::{Id, Table};

/// Limits the memory that nova allocates for one length in a datum. The limit on the length of a value is for the whole
/// process. The first call of `limit_allocation` in a process sets the limit.
pub(super) fn limit_allocation() {
    apache_avro::util::max_allocation_bytes(RECORD_MAX_BYTES);
}

/// A reader of bytes that remembers whether a read went beyond the end. The Avro library reads the missing end of a cut
/// datum as null, and nova must not take a cut row for a whole row.
struct Datum<'a> {
    rest: &'a [u8],
    short: bool,
}

impl Read for Datum<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.short |= self.rest.is_empty() && !out.is_empty();
        self.rest.read(out)
    }
}

fn value(what: &str, schema: &Schema, datum: &[u8]) -> Result<Value, Fault> {
    let malformed = |detail: String| Fault::new("malformed-avro", detail);
    let mut datum = Datum { rest: datum, short: false };
    let reader = GenericDatumReader::builder(schema).build();
    let value = reader.and_then(|reader| reader.read_value(&mut datum));
    if datum.short {
        return Err(malformed(format!("the {what} is shorter than its schema says")));
    }
    // The message of the Avro library may quote the value, which may be private.
    let value = value.map_err(|_| malformed(format!("the {what} is not what its schema writes")))?;
    match datum.rest.len() {
        0 => Ok(value),
        left => Err(malformed(format!("{left} bytes behind the {what} that its schema writes"))),
    }
}

/// Reads the primary key from a Kafka key. The Kafka key is a record with `id`, or only the string.
pub(super) fn key(schema: &Schema, datum: &[u8]) -> Result<Id, Fault> {
    let value = plain(value("key", schema, datum)?);
    let id = match value {
        Value::Record(fields) => fields.into_iter().find(|(name, _)| name == "id").map(|(_, id)| plain(id)),
        other => Some(other),
    };
    values::key_id(id.as_ref().map(raw))
}

/// Returns the strings of a list, or `None` if the datum is not a list of strings.
pub(super) fn names(schema: &Schema, datum: &[u8]) -> Option<Vec<String>> {
    let Value::Array(items) = plain(value("header", schema, datum).ok()?) else { return None };
    let text = |item| if let Value::String(text) = plain(item) { Some(text) } else { None };
    items.into_iter().map(text).collect()
}

/// The settings with which nova reads the values of one schema.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    pub table: Table,
    pub plan: &'c Plan,
    pub placeholders: &'c Placeholders,
    pub keep: &'c Arc<KeepUnknown>,
}

/// Reads the value of a record. The result is `None` if the value is Avro's null.
pub(super) fn message(schema: &Schema, datum: &[u8], context: &Context<'_>) -> Result<Option<Message>, Fault> {
    let fields = match plain(value("value", schema, datum)?) {
        Value::Null => return Ok(None),
        Value::Record(fields) => fields,
        _ => return Err(Fault::new("unrecognised-shape", "an Avro value that is no record")),
    };
    let mut top = Top::default();
    for (name, value) in &fields {
        top.member(name, Kind::from(&raw(inner(value))));
    }
    if top.is_envelope() || !top.id && (top.op || top.time) {
        return Ok(Some(envelope(top, fields, context)));
    }
    let mut message = Message::new(Shape::Flat);
    let mut image = ImageBuilder::new(context.table, context.keep);
    for (name, value) in fields {
        match name.starts_with("__") {
            true => message.set_meta(&name, raw(&plain(value))),
            false => column(&name, &plain(value), &mut image, context),
        }
    }
    message.image = Image::Row(image);
    Ok(Some(message))
}

fn envelope(top: Top, fields: Vec<(String, Value)>, context: &Context<'_>) -> Message {
    let mut message = Message::new(Shape::Envelope);
    message.top = top;
    for (name, value) in fields {
        let value = plain(value);
        match (&*name, &value) {
            ("op", value) => message.set_op("op", raw(value)),
            ("source", Value::Record(members)) => {
                for (name, value) in members {
                    message.set_source(name, raw(inner(value)));
                }
            }
            ("after", Value::Record(columns)) => {
                let mut image = ImageBuilder::new(context.table, context.keep);
                for (name, value) in columns {
                    column(name, inner(value), &mut image, context);
                }
                message.image = Image::Row(image);
            }
            ("after", Value::Null) => message.image = Image::Null,
            ("after", value) => message.image = Image::Not(raw(value).kind()),
            _ => {}
        }
    }
    message
}

fn column(field: &str, value: &Value, image: &mut ImageBuilder, context: &Context<'_>) {
    let (name, placeholders) = (context.plan.name(field), context.placeholders);
    match image.slot(name) {
        Slot::Column(index) => image.set(index, raw(value), unit(value), placeholders),
        Slot::Dropped => {}
        Slot::Extra => image.extra(name, &to_json(value).to_string(), placeholders),
    }
}

fn plain(value: Value) -> Value {
    match value {
        Value::Union(_, value) => plain(*value),
        value => value,
    }
}

fn inner(value: &Value) -> &Value {
    match value {
        Value::Union(_, value) => inner(value),
        value => value,
    }
}

/// Returns the time unit that an integer has by its logical type.
fn unit(value: &Value) -> Unit {
    match value {
        Value::TimestampMillis(_) | Value::LocalTimestampMillis(_) => Unit::Millis,
        Value::TimestampMicros(_) | Value::LocalTimestampMicros(_) => Unit::Micros,
        Value::TimestampNanos(_) | Value::LocalTimestampNanos(_) => Unit::Nanos,
        Value::Date(_) | Value::TimeMillis(_) | Value::TimeMicros(_) => Unit::Other,
        _ => Unit::Unstated,
    }
}

fn raw(value: &Value) -> Raw<'_> {
    match value {
        Value::Null => Raw::Null,
        Value::Boolean(value) => Raw::Bool(*value),
        Value::Int(value) | Value::Date(value) | Value::TimeMillis(value) => Raw::Int(i64::from(*value)),
        Value::Long(value)
        | Value::TimeMicros(value)
        | Value::TimestampMillis(value)
        | Value::TimestampMicros(value)
        | Value::TimestampNanos(value)
        | Value::LocalTimestampMillis(value)
        | Value::LocalTimestampMicros(value)
        | Value::LocalTimestampNanos(value) => Raw::Int(*value),
        Value::String(text) | Value::Enum(_, text) => Raw::Text(Cow::Borrowed(text)),
        Value::Uuid(id) => Raw::Text(Cow::Owned(id.to_string())),
        Value::Bytes(_) | Value::Fixed(..) | Value::Decimal(_) | Value::BigDecimal(_) | Value::Duration(_) => {
            Raw::Bytes
        }
        Value::Array(_) => Raw::Array,
        Value::Map(_) | Value::Record(_) => Raw::Object,
        _ => Raw::Float,
    }
}

/// Returns a value of an unknown column in the form of Kafka Connect's JSON converter: bytes are in base64, and numbers
/// that JSON cannot express are text.
fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    let base64 = |bytes: &[u8]| Json::from(base64::engine::general_purpose::STANDARD.encode(bytes));
    match value {
        Value::Union(_, value) => to_json(value),
        Value::Boolean(value) => Json::from(*value),
        Value::Float(value) if value.is_finite() => serde_json::from_str(&value.to_string()).unwrap_or(Json::Null),
        Value::Float(value) => Json::from(value.to_string()),
        Value::Double(value) if value.is_finite() => Json::from(*value),
        Value::Double(value) => Json::from(value.to_string()),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => base64(bytes),
        Value::Decimal(decimal) => Vec::try_from(decimal).map_or(Json::Null, |bytes: Vec<u8>| base64(&bytes)),
        Value::BigDecimal(value) => Json::from(value.to_string()),
        Value::Array(values) => values.iter().map(to_json).collect(),
        Value::Map(members) => {
            let sorted: std::collections::BTreeMap<_, _> = members.iter().collect();
            Json::Object(sorted.into_iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        Value::Record(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        value => match raw(value) {
            Raw::Int(value) => Json::from(value),
            Raw::Text(text) => Json::from(&*text),
            _ => Json::Null,
        },
    }
}
