//! Reads the primary key from a Kafka key in JSON.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use super::members::{Name, ObjectOr, RawSeed, ReadObject, malformed};
use crate::decode::fault::Fault;
use crate::decode::raw::Raw;
use crate::decode::values;
use crate::event::Id;

/// Reads the primary key from a Kafka key: `{"id": …}`, with or without schema, or only the string.
pub fn read(text: &str) -> Result<Id, Fault> {
    let mut payload = None;
    let mut raw = member(text, &mut payload)?;
    if let (None, Some(inner)) = (&raw, payload) {
        raw = member(inner.get(), &mut None)?;
    }
    values::key_id(raw)
}

fn member<'a>(text: &'a str, payload: &mut Option<&'a RawValue>) -> Result<Option<Raw<'a>>, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    let seed = KeySeed { payload };
    let read = seed.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| malformed("key", &error))
}

/// Reads the value of the primary key, or the payload that contains this value.
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
                // A key with two ids is refused. nova treats the two ids as an array, which is refused because it is
                // not a UUID.
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
