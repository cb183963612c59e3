//! Reads JSON one member after another, without building a tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decode::fault::Fault;
use crate::decode::raw::Raw;

/// Returns the fault of a text that is not a JSON object: it is JSON of another kind, or not JSON at all.
pub fn object(what: &str, text: &str) -> Result<(), Fault> {
    if text.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Err(Fault::new("wrong-type", format!("the {what} is JSON, but not an object"))),
        Err(error) => Err(malformed(what, &error)),
    }
}

/// Returns the fault of malformed JSON. The message names a position and never a value, so it never contains a private
/// value.
pub fn malformed(what: &str, error: &serde_json::Error) -> Fault {
    if error.is_data() {
        let (line, column) = (error.line(), error.column());
        return Fault::new(
            "wrong-type",
            format!("the {what} has a member of another type at line {line} column {column}"),
        );
    }
    Fault::new("malformed-json", format!("the {what} is not JSON: {error}"))
}

/// Reads the name of a member. The name is borrowed from the JSON text unless the name has escapes.
pub struct Name;

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

/// Reads any JSON value as a [`Raw`], and skips the content of objects and arrays.
pub struct RawSeed;

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

/// Reads a JSON object one member after another, and reads any other value as a [`Raw`].
pub trait ReadObject<'de>: Sized {
    type Value;
    fn object<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error>;
    fn other(self, raw: Raw<'de>) -> Self::Value;
}

/// Reads a JSON object with `T`, and reads any other value as a [`Raw`].
pub struct ObjectOr<T>(pub T);

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
