//! Reads Debezium's JSON in one pass without building a tree. Scalars are borrowed from the text, and the values of
//! unknown members are skipped.

pub(super) mod key;
pub(super) mod members;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::debezium::{Image, Message};
use super::fault::Fault;
use super::image::{ImageBuilder, Slot};
use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::raw::Raw;
use super::shape::{Kind, Shape};
use super::units::{KnownUnits, Units};
use crate::event::Table;

use self::members::{Name, ObjectOr, RawSeed, ReadObject, malformed, object};

/// The settings with which nova reads each message.
pub(super) struct Context<'c> {
    pub table: Table,
    pub placeholders: &'c Placeholders,
    pub keep: &'c Arc<KeepUnknown>,
    pub units: &'c mut KnownUnits,
}

/// Reads a message. The result is `None` if the message is the literal `null`, which some converters write for a null
/// value.
pub(super) fn message(text: &str, context: &mut Context<'_>) -> Result<Option<Message>, Fault> {
    message_within(text, context, None)
}

/// Reads a message. If the message is within a wrapper, `stated` has the time units that the wrapper's schema states.
fn message_within(text: &str, context: &mut Context<'_>, stated: Option<Units>) -> Result<Option<Message>, Fault> {
    if is_null(text) {
        return Ok(None);
    }
    object("value", text)?;
    let (table, placeholders, keep) = (context.table, context.placeholders, context.keep);
    let mut reader = Reader { table, placeholders, keep, units: stated.unwrap_or_default(), forced: None };
    let (mut message, mut wrapper) = read(text, reader)?;
    if let Some(shape) = message.conflict() {
        reader.forced = Some(shape);
        (message, wrapper) = read(text, reader)?;
    }
    match (message.shape, wrapper.payload) {
        (Shape::Wrapped, Some(payload)) if stated.is_none() => {
            message.sound()?;
            let units = wrapper.schema.map_or(Units::default(), |schema| context.units.of(schema.get(), table));
            message_within(payload.get(), context, Some(units))
        }
        (Shape::Wrapped, _) => Err(Fault::new("unrecognised-shape", "a `schema` without a `payload` that is a change")),
        _ => Ok(Some(message)),
    }
}

/// The content of a message of the form `{"schema": …, "payload": …}`.
#[derive(Clone, Copy, Default)]
struct Wrapper<'a> {
    schema: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

fn read<'a>(text: &'a str, reader: Reader<'_>) -> Result<(Message, Wrapper<'a>), Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| malformed("value", &error))
}

fn is_null(text: &str) -> bool {
    text.trim_ascii() == "null"
}

/// Reads one message from the topic of a table.
#[derive(Clone, Copy)]
struct Reader<'c> {
    table: Table,
    placeholders: &'c Placeholders,
    keep: &'c Arc<KeepUnknown>,
    units: Units,
    /// The true shape of the message, if its first member suggested a wrong shape.
    forced: Option<Shape>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = (Message, Wrapper<'de>);
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = (Message, Wrapper<'de>);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some(mut name) = map.next_key_seed(Name)? else {
            return Ok((Message::new(Shape::Envelope), Wrapper::default()));
        };
        let mut message = Message::new(self.forced.unwrap_or_else(|| Shape::of_first(&name)));
        let mut wrapper = Wrapper::default();
        if message.shape == Shape::Flat {
            message.image = Image::Row(self.flat(name, &mut message, map)?);
            return Ok((message, wrapper));
        }
        loop {
            match message.shape {
                Shape::Wrapped => {
                    let value: &RawValue = map.next_value()?;
                    message.top.member(&name, kind(value));
                    match &*name {
                        "schema" => wrapper.schema = Some(value),
                        "payload" if wrapper.payload.is_some() => message.fail(Fault::duplicate("payload")),
                        "payload" => wrapper.payload = Some(value),
                        _ => {}
                    }
                }
                _ => self.envelope_member(&name, &mut message, &mut map)?,
            }
            match map.next_key_seed(Name)? {
                Some(next) => name = next,
                None => return Ok((message, wrapper)),
            }
        }
    }
}

fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'"') => Kind::Text,
        Some(b'n') => Kind::Null,
        _ => Kind::Other,
    }
}

impl<'c> Reader<'c> {
    /// Reads the columns of a flattened row, and the members between them whose names begin with two underscores.
    /// `name` is the name of the first member.
    fn flat<'de, A: MapAccess<'de>>(
        self,
        mut name: Cow<'de, str>,
        message: &mut Message,
        mut map: A,
    ) -> Result<ImageBuilder, A::Error> {
        let mut image = ImageBuilder::new(self.table, self.keep);
        loop {
            if name.starts_with("__") {
                message.set_meta(&name, map.next_value_seed(RawSeed)?);
            } else {
                message.top.id |= name == "id";
                if let Some(kind) = self.column(&name, &mut image, &mut map)? {
                    message.top.member(&name, kind);
                }
            }
            match map.next_key_seed(Name)? {
                Some(next) => name = next,
                None => return Ok(image),
            }
        }
    }

    fn envelope_member<'de, A: MapAccess<'de>>(
        self,
        name: &str,
        message: &mut Message,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "after" => {
                if !matches!(message.image, Image::Absent) {
                    message.fail(Fault::duplicate("after"));
                }
                message.image = map.next_value_seed(ImageSeed(self))?;
                message.top.image |= !matches!(message.image, Image::Not(_));
            }
            "source" => {
                if message.top.source {
                    message.fail(Fault::duplicate("source"));
                }
                message.top.source |= map.next_value_seed(SourceSeed(message))?;
            }
            "op" => {
                let raw = map.next_value_seed(RawSeed)?;
                message.top.member("op", Kind::from(&raw));
                message.set_op("op", raw);
            }
            _ => {
                let value: &RawValue = map.next_value()?;
                message.top.member(name, kind(value));
            }
        }
        Ok(())
    }

    /// Reads the value of a column. If the table does not have the column, the function returns the kind of the value.
    fn column<'de, A: MapAccess<'de>>(
        self,
        name: &str,
        image: &mut ImageBuilder,
        map: &mut A,
    ) -> Result<Option<Kind>, A::Error> {
        match image.slot(name) {
            Slot::Column(index) => {
                image.set(index, map.next_value_seed(RawSeed)?, self.units.of(index), self.placeholders);
                Ok(None)
            }
            Slot::Dropped => map.next_value::<IgnoredAny>().map(|_| None),
            Slot::Extra => {
                let value: &RawValue = map.next_value()?;
                image.extra(name, value.get(), self.placeholders);
                Ok(Some(kind(value)))
            }
        }
    }
}

struct ImageSeed<'c>(Reader<'c>);

impl<'de> DeserializeSeed<'de> for ImageSeed<'_> {
    type Value = Image;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(ObjectOr(self))
    }
}

impl<'de> ReadObject<'de> for ImageSeed<'_> {
    type Value = Image;
    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut image = ImageBuilder::new(self.0.table, self.0.keep);
        while let Some(name) = map.next_key_seed(Name)? {
            let _ = self.0.column(&name, &mut image, &mut map)?;
        }
        Ok(Image::Row(image))
    }
    fn other(self, raw: Raw<'de>) -> Self::Value {
        if raw == Raw::Null { Image::Null } else { Image::Not(raw.kind()) }
    }
}

struct SourceSeed<'m>(&'m mut Message);

impl<'de> DeserializeSeed<'de> for SourceSeed<'_> {
    /// `true` means that the JSON value is an object.
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(ObjectOr(self))
    }
}

impl<'de> ReadObject<'de> for SourceSeed<'_> {
    type Value = bool;
    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            match &*name {
                "lsn" | "ts_us" | "ts_ms" | "table" | "snapshot" | "connector" => {
                    self.0.set_source(&name, map.next_value_seed(RawSeed)?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(true)
    }
    fn other(self, raw: Raw<'de>) -> Self::Value {
        if raw != Raw::Null {
            self.0.fail(Fault::wrong_type("source", "an object", &raw));
        }
        false
    }
}
