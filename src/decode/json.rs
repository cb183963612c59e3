//! Debezium's JSON, read in one pass without building a tree: scalars are borrowed, what nobody asks for is skipped.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::debezium::{Image, Kind, Message, Shape};
use super::image::{ImageBuilder, Slot};
use super::kept::KeepUnknown;
use super::placeholder::Placeholders;
use super::units::{KnownUnits, Units};
use super::values::{Fault, Raw};
use crate::event::{Id, Table};

/// What each message is read with.
pub(super) struct Context<'c> {
    pub table: Table,
    pub placeholders: &'c Placeholders,
    pub keep: &'c Arc<KeepUnknown>,
    pub units: &'c mut KnownUnits,
}

/// Reads a value; `None` is the literal `null`, which some converters write for a null value.
pub(super) fn message(text: &str, context: &mut Context<'_>) -> Result<Option<Message>, Fault> {
    message_within(text, context, None)
}

/// `stated` is what the schema around the message states, if there is one.
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

/// What `{"schema": …, "payload": …}` holds.
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

/// Tells JSON of another kind than an object from what is no JSON at all.
pub(super) fn object(what: &str, text: &str) -> Result<(), Fault> {
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Err(Fault::new("wrong-type", format!("the {what} is JSON, but not an object"))),
        Err(error) => Err(malformed(what, &error)),
    }
}

/// The message holds a position and never a value, so that nothing dropped leaks through it.
pub(super) fn malformed(what: &str, error: &serde_json::Error) -> Fault {
    if error.is_data() {
        let (line, column) = (error.line(), error.column());
        return Fault::new(
            "wrong-type",
            format!("the {what} has a member of another type at line {line} column {column}"),
        );
    }
    Fault::new("malformed-json", format!("the {what} is not JSON: {error}"))
}

/// The primary key in a Kafka key: `{"id": …}`, with or without schema, or the string alone.
pub(super) fn key(text: &str) -> Result<Id, Fault> {
    let mut payload = None;
    let mut raw = key_member(text, &mut payload)?;
    if let (None, Some(inner)) = (&raw, payload) {
        raw = key_member(inner.get(), &mut None)?;
    }
    super::values::key_id(raw)
}

fn key_member<'a>(text: &'a str, payload: &mut Option<&'a RawValue>) -> Result<Option<Raw<'a>>, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = KeySeed { payload };
    let read = seed.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| malformed("key", &error))
}

/// A member's name, borrowed unless it holds escapes.
pub(super) struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Any value as a [`Raw`]; the content of objects and arrays is skipped.
pub(super) struct RawSeed;

impl<'de> DeserializeSeed<'de> for RawSeed {
    type Value = Raw<'de>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RawSeed {
    type Value = Raw<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Raw::Int(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Raw::TooLarge, Raw::Int))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Raw::Float)
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Raw::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Raw::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Object)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Array)
    }
}

/// The primary key's value, or the payload to look into.
struct KeySeed<'p, 'a> {
    payload: &'p mut Option<&'a RawValue>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, 'de> {
    type Value = Option<Raw<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(ObjectOr(self))
    }
}

impl<'de> ReadObject<'de> for KeySeed<'_, 'de> {
    type Value = Option<Raw<'de>>;
    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut id = None;
        while let Some(name) = map.next_key_seed(Name)? {
            match &*name {
                // Two ids are no key: an array is not a UUID either.
                "id" if id.is_some() => id = map.next_value::<IgnoredAny>().map(|_| Some(Raw::Array))?,
                "id" => id = Some(map.next_value_seed(RawSeed)?),
                "payload" => *self.payload = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(id)
    }
    fn other(self, raw: Raw<'de>) -> Self::Value {
        Some(raw)
    }
}

/// What reads an object member by member and takes anything else as a [`Raw`].
trait ReadObject<'de>: Sized {
    type Value;
    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error>;
    fn other(self, raw: Raw<'de>) -> Self::Value;
}

struct ObjectOr<T>(T);

impl<'de, T: ReadObject<'de>> Visitor<'de> for ObjectOr<T> {
    type Value = T::Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.object(map)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Null))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Bool(value)))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Int(value)))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        RawSeed.visit_u64(value).map(|raw| self.0.other(raw))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Float))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Text(Cow::Borrowed(value))))
    }
    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.0.other(Raw::Text(Cow::Owned(value.to_owned()))))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        RawSeed.visit_seq(seq).map(|raw| self.0.other(raw))
    }
}

/// Reads one message of a table's topic.
#[derive(Clone, Copy)]
struct Reader<'c> {
    table: Table,
    placeholders: &'c Placeholders,
    keep: &'c Arc<KeepUnknown>,
    units: Units,
    /// The shape, where the first member misled.
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
    /// The columns at the top and the `__*` members between them; `name` is the first.
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

    /// Reads a column; the kind of its value where the table has no such column.
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
    /// Whether it is an object.
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
