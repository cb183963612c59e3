//! The bytes of a record as a dead letter keeps them: with their original length and without private values. So a
//! letter that can be applied later has the same effect as its record would have had.

use std::borrow::Cow;

use super::decoder::Decoder;
use super::json::key;
use super::length::RECORD_MAX_BYTES;
use super::private::shown::{self, Place, Shown};
use super::registry::SchemaLookup;
use super::{avro, confluent, headers, private, replicated, schema};
use crate::event::{Id, Origin, Record, Table};

/// The prefix of headers that Debezium writes.
const DEBEZIUM: &[u8] = b"__debezium.";

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'n> {
    Key,
    Value,
    /// A header with this name.
    Header(&'n str),
}

impl Decoder {
    /// A part of a record without private values. The bytes are limited before they are masked; cut what this returns.
    pub fn masked<'b>(&self, record: &Record, part: Part<'_>, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let read = bytes.get(..RECORD_MAX_BYTES).unwrap_or(bytes);
        match &record.origin {
            Some(origin) if part == Part::Value => self.mask_replicated(origin, read),
            _ => self.mask(&record.topic, part, read),
        }
    }

    /// Overwrites private values. For a table with private columns only the columns that nova reads or keeps, and
    /// Debezium's own members, stay visible. Give it whole bytes and cut what it returns, because what a text that was
    /// cut means is not certain.
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
    /// the bytes cannot be read, all of them are overwritten.
    pub fn mask_replicated<'b>(&self, origin: &Origin, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        replicated::mask(&self.keep, origin, bytes)
    }

    fn header<'b>(&self, table: Table, name: &str, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let is_column = |name: &str| self.keep.shown(table, name) != Shown::Nothing;
        let key = matches!(name, headers::OLD_KEY | headers::NEW_KEY);
        // Any other header may hold a copy of a column, or a list of names.
        let known = key || name.as_bytes().starts_with(DEBEZIUM) || is_column(name);
        let place = if known { Place::Top } else { Place::Names };
        match bytes.first() {
            _ if key && is_id(bytes) => Cow::Borrowed(bytes),
            Some(b'{') => self.shown(table, place, bytes),
            Some(b'[') if private::is_json(&String::from_utf8_lossy(bytes)) => self.shown(table, place, bytes),
            // StringConverter writes a list of names, or a key, in this form.
            Some(b'[') => pieces(bytes, b"[],", is_column),
            _ if key => pieces(bytes, b"{},", |piece| {
                piece == "Struct" || piece.strip_prefix("id=").is_some_and(|id| Id::parse(id.as_bytes()).is_ok())
            }),
            _ if known => private::mask(bytes),
            _ => shown::all(bytes),
        }
    }

    /// A JSON text of which only the visible values remain, without private members inside kept columns.
    fn shown<'b>(&self, table: Table, place: Place, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        match shown::mask(bytes, place, &|name| self.keep.shown(table, name)) {
            Cow::Borrowed(bytes) => private::mask(bytes),
            Cow::Owned(masked) => Cow::Owned(private::mask(&masked).into_owned()),
        }
    }

    /// Whether an Avro datum may hold private values, according to its schema, or according to the table if there is no
    /// schema.
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

/// Overwrites private members of JSON text behind the head of Confluent's format.
fn behind_head(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some((head, text)) = confluent::json_start(bytes).and_then(|start| bytes.split_at_checked(start)) else {
        return Cow::Borrowed(bytes);
    };
    match private::mask(text) {
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
        Cow::Owned(masked) => Cow::Owned([head, &masked].concat()),
    }
}

/// Whether the bytes are a UUID, bare or as a JSON string. Such a key has no member names.
fn is_id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    Id::parse(text.trim_ascii().as_bytes()).is_ok() || text.starts_with('"') && key::read(text).is_ok()
}

/// Overwrites the pieces between separators for which `shows` is false.
fn pieces<'b>(bytes: &'b [u8], separators: &[u8], shows: impl Fn(&str) -> bool) -> Cow<'b, [u8]> {
    let mut out = bytes.to_vec();
    for piece in out.split_mut(|byte| separators.contains(byte)) {
        if !std::str::from_utf8(piece).is_ok_and(|piece| shows(piece.trim_ascii())) {
            piece.fill(private::STAR);
        }
    }
    Cow::Owned(out)
}
