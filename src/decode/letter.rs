//! Makes the bytes of a record that a dead letter keeps. A dead letter's bytes have their original length, and private
//! values in them are overwritten. So a dead letter that can be applied later has the same effect as its record would
//! have had.

use std::borrow::Cow;

use super::decoder::Decoder;
use super::json::key;
use super::length::RECORD_MAX_BYTES;
use super::private::shown::{self, Place, Shown};
use super::registry::SchemaLookup;
use super::{avro, confluent, headers, private, replicated, schema};
use crate::event::{Id, Origin, Record, Table};

/// The prefix of the names of headers that Debezium writes.
const DEBEZIUM: &[u8] = b"__debezium.";

/// A part of a record: the key, the value or a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'n> {
    Key,
    Value,
    /// The part is the header with this name.
    Header(&'n str),
}

impl Decoder {
    /// Returns a part of a record in which private values are overwritten. The function limits the length of the bytes
    /// and then masks them, so a caller may cut the result.
    pub fn masked<'b>(&self, record: &Record, part: Part<'_>, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let read = bytes.get(..RECORD_MAX_BYTES).unwrap_or(bytes);
        match &record.origin {
            Some(origin) if part == Part::Value => self.mask_replicated(origin, read),
            _ => self.mask(&record.topic, part, read),
        }
    }

    /// Overwrites private values in a part of a record. If the table has private columns, only Debezium's own members
    /// and the columns that nova reads or keeps stay visible. The caller must pass whole bytes and may cut the result,
    /// because nobody can be certain what a text means after it is cut.
    pub fn mask<'b>(&self, topic: &str, part: Part<'_>, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if let Part::Header(name) = part
            && private::is_private(name)
        {
            return shown::all(bytes);
        }
        let table = self.table(topic).filter(|table| private::of(*table));
        match (confluent::split("letter", bytes), table) {
            (Ok((id, datum)), _) => match self.may_hold_private((id, datum), part, table) {
                true => Cow::Owned(private::blank(bytes)),
                false => behind_head(bytes),
            },
            (Err(_), None) => private::mask(bytes),
            (Err(_), Some(table)) => match part {
                Part::Key if is_id(bytes) => Cow::Borrowed(bytes),
                Part::Key | Part::Value => self.shown(table, Place::Top, bytes),
                Part::Header(name) => self.header(table, name, bytes),
            },
        }
    }

    /// Overwrites private values in a record that came from PostgreSQL directly. If the table has private columns and
    /// nova cannot read the bytes, all bytes are overwritten.
    pub fn mask_replicated<'b>(&self, origin: &Origin, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        replicated::mask(&self.keep, origin, bytes)
    }

    fn header<'b>(&self, table: Table, name: &str, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let is_column = |name: &str| self.keep.shown(table, name) != Shown::Nothing;
        let key = matches!(name, headers::OLD_KEY | headers::NEW_KEY);
        // A header that is not Debezium's and not named after a column may hold a copy of a column, or a list of names.
        let known = key || name.as_bytes().starts_with(DEBEZIUM) || is_column(name);
        let place = if known { Place::Top } else { Place::Names };
        match bytes.first() {
            _ if key && is_id(bytes) => Cow::Borrowed(bytes),
            Some(b'{') => self.shown(table, place, bytes),
            Some(b'[') if private::is_json(&String::from_utf8_lossy(bytes)) => self.shown(table, place, bytes),
            // The StringConverter of Kafka Connect writes a list of names, or a key, in the form `[a, b]`.
            Some(b'[') => pieces(bytes, b"[],", is_column),
            _ if key => pieces(bytes, b"{},", |piece| {
                piece == "Struct" || piece.strip_prefix("id=").is_some_and(|id| Id::parse(id.as_bytes()).is_ok())
            }),
            _ if known => private::mask(bytes),
            _ => shown::all(bytes),
        }
    }

    /// Returns a JSON text in which only the visible values remain, and in which private members inside kept columns
    /// are overwritten.
    fn shown<'b>(&self, table: Table, place: Place, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        match shown::mask(bytes, place, &|name| self.keep.shown(table, name)) {
            Cow::Borrowed(bytes) => private::mask(bytes),
            Cow::Owned(masked) => Cow::Owned(private::mask(&masked).into_owned()),
        }
    }

    /// Whether an Avro datum may hold private values, according to its schema or, if nova does not have the schema,
    /// according to its table.
    fn may_hold_private(&self, (schema, datum): (u32, &[u8]), part: Part<'_>, table: Option<Table>) -> bool {
        let (schema, table) = match (self.schemas.schema(schema), table) {
            (SchemaLookup::Found(schema), Some(table)) => (schema, table),
            (SchemaLookup::Found(schema), None) => return schema::is_private(&schema),
            (_, table) => return table.is_some(),
        };
        let columns = |name: &str| self.keep.shown(table, name);
        let plain = match part {
            Part::Key | Part::Header(headers::OLD_KEY | headers::NEW_KEY) => {
                schema::is_text(&schema) && avro::key(&schema, datum).is_ok()
            }
            Part::Header(_) => avro::names(&schema, datum)
                .is_some_and(|names| names.iter().all(|name| columns(name) != Shown::Nothing)),
            Part::Value => false,
        };
        !plain && schema::hides(&schema, Place::Top, &columns)
    }
}

/// Overwrites private members of JSON text that comes after the head of Confluent's wire format.
fn behind_head(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some((head, text)) = confluent::json_start(bytes).and_then(|start| bytes.split_at_checked(start)) else {
        return Cow::Borrowed(bytes);
    };
    match private::mask(text) {
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
        Cow::Owned(masked) => Cow::Owned([head, &masked].concat()),
    }
}

/// Whether the bytes are a UUID, either bare or as a JSON string. A key that is only a UUID has no member names.
fn is_id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    Id::parse(text.trim_ascii().as_bytes()).is_ok() || text.starts_with('"') && key::read(text).is_ok()
}

/// Splits the bytes at the separators, and overwrites each piece for which `shows` returns false.
fn pieces<'b>(bytes: &'b [u8], separators: &[u8], shows: impl Fn(&str) -> bool) -> Cow<'b, [u8]> {
    let mut out = bytes.to_vec();
    for piece in out.split_mut(|byte| separators.contains(byte)) {
        if !std::str::from_utf8(piece).is_ok_and(|piece| shows(piece.trim_ascii())) {
            piece.fill(private::STAR);
        }
    }
    Cow::Owned(out)
}
