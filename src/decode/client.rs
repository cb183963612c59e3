//! Reads and writes client events, and makes their ids and hashes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::fault::Fault;
use super::json::members::{Name, RawSeed, malformed, object};
use super::raw::Raw;
use super::time;
use super::whole::whole_number;
use crate::event::{Action, ClientEvent, Dead, Id, Record, TIMESTAMP_MS_RANGE};

/// The maximum length of `device` and `app_ver` in Unicode code points, because JSON Schema's `maxLength` counts code
/// points (2020-12 §6.3.1).
pub const DEVICE_MAX_CHARS: usize = 64;
pub const APP_VER_MAX_CHARS: usize = 64;
/// Reads one client event as `docs/api.md` describes it. An event without a user belongs to `user`. `fallback_id` makes
/// the id of an event that has no id.
pub fn parse(text: &str, user: Id, fallback_id: impl FnOnce() -> Id) -> Result<ClientEvent, Dead> {
    Ok(read(text, Some(user), fallback_id)?)
}

pub(super) fn read(text: &str, user: Option<Id>, fallback_id: impl FnOnce() -> Id) -> Result<ClientEvent, Fault> {
    object("event", text)?;
    let mut members = Members::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = (&mut members).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| malformed("event", &error))?;
    members.user_id = members.user_id.or(user);
    if members.fractions != 0 {
        members.read_fractions(text)?;
    }
    members.finish(fallback_id)
}

/// Makes the id of an event to which the client gave no id. The id is the same for each delivery of one record.
pub(super) fn id_of_record(record: &Record) -> Id {
    let mut bytes = Vec::with_capacity(record.topic.len() + 20);
    put(&mut bytes, record.topic.as_bytes());
    bytes.extend_from_slice(&record.partition.to_le_bytes());
    bytes.extend_from_slice(&record.offset.to_le_bytes());
    let mut id = xxh3_128(&bytes).to_be_bytes();
    // The id is a UUID of version 8 (custom) and variant 1. Clients do not make ids of this version.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Id(id)
}

/// Returns the dedup key of an event. The key is a hash over the user's id and the event's id. The length of each id
/// comes before the id.
pub fn dedup_key(user: Id, event_id: Id) -> u128 {
    let mut bytes = [0; 40];
    bytes[..4].copy_from_slice(&16u32.to_le_bytes());
    bytes[4..20].copy_from_slice(&user.0);
    bytes[20..24].copy_from_slice(&16u32.to_le_bytes());
    bytes[24..].copy_from_slice(&event_id.0);
    xxh3_128(&bytes)
}

/// Returns a hash over every part of an event except its id. Two events with the same id and different hashes are in
/// conflict.
pub fn payload_hash(event: &ClientEvent) -> u64 {
    let mut bytes = Vec::with_capacity(80 + event.device.len() + event.app_ver.len());
    bytes.extend_from_slice(&event.user_id.0);
    bytes.extend_from_slice(&event.post_id.0);
    bytes.push(u8::from(event.author_id.is_some()));
    bytes.extend_from_slice(&event.author_id.unwrap_or_default().0);
    bytes.push(event.action as u8);
    bytes.extend_from_slice(&event.event_time_ms.to_le_bytes());
    bytes.extend_from_slice(&event.dwell_ms.to_le_bytes());
    put(&mut bytes, event.device.as_bytes());
    put(&mut bytes, event.app_ver.as_bytes());
    xxh3_64(&bytes)
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// The JSON of an event for the events topic and the local log. [`parse`] reads the same event from this JSON.
pub fn encode(event: &ClientEvent) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    member(&mut out, "{\"event_id\":\"", &event.event_id.text(), "\"");
    member(&mut out, ",\"user_id\":\"", &event.user_id.text(), "\"");
    member(&mut out, ",\"post_id\":\"", &event.post_id.text(), "\"");
    if let Some(author) = event.author_id {
        member(&mut out, ",\"author_id\":\"", &author.text(), "\"");
    }
    member(&mut out, ",\"action\":\"", event.action.name().as_bytes(), "\"");
    member(&mut out, ",\"event_time\":", itoa::Buffer::new().format(event.event_time_ms).as_bytes(), "");
    member(&mut out, ",\"dwell_ms\":", itoa::Buffer::new().format(event.dwell_ms).as_bytes(), "");
    let texts = [(",\"device\":", &event.device), (",\"app_ver\":", &event.app_ver)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        member(&mut out, name, serde_json::Value::from(&**text).to_string().as_bytes(), "");
    }
    out.push(b'}');
    out
}

fn member(out: &mut Vec<u8>, before: &str, value: &[u8], after: &str) {
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(after.as_bytes());
}

/// The members of a client event, in the order in which [`encode`] writes them. The bit of a member in
/// [`Members::seen`] is the member's index in `NAMES`.
const NAMES: [&str; 9] =
    ["event_id", "user_id", "post_id", "author_id", "action", "event_time", "dwell_ms", "device", "app_ver"];

const EVENT_TIME: usize = 5;
const DWELL_MS: usize = 6;

#[derive(Default)]
struct Members {
    event_id: Option<Id>,
    user_id: Option<Id>,
    post_id: Option<Id>,
    author_id: Option<Id>,
    action: Option<Action>,
    event_time_ms: Option<i64>,
    dwell_ms: u32,
    device: Box<str>,
    app_ver: Box<str>,
    /// A bit set with one bit for each member. The bit is 1 if the event has the member.
    seen: u16,
    /// A bit set with one bit for each member. The bit is 1 if the member's number is written with a fraction or an
    /// exponent. A number with a fraction or an exponent may still be an integer.
    fractions: u16,
    fault: Option<Fault>,
}

impl Members {
    fn set(&mut self, index: usize, raw: Raw<'_>) {
        let Some(name) = NAMES.get(index).copied() else { return };
        let known = self.seen & 1 << index != 0;
        let set = if known { Err(Fault::duplicate(name)) } else { self.try_set((index, name), raw) };
        self.seen |= 1 << index;
        if let Err(fault) = set {
            self.fault.get_or_insert(fault);
        }
    }

    fn try_set(&mut self, (index, name): (usize, &str), raw: Raw<'_>) -> Result<(), Fault> {
        if matches!(raw, Raw::Null) {
            return Ok(());
        }
        if matches!(raw, Raw::Float) && [EVENT_TIME, DWELL_MS].contains(&index) {
            self.fractions |= 1 << index;
            return Ok(());
        }
        match index {
            0 => self.event_id = Some(id(name, raw)?),
            1 => self.user_id = Some(id(name, raw)?),
            2 => self.post_id = Some(id(name, raw)?),
            3 => self.author_id = Some(id(name, raw)?),
            4 => self.action = Some(action(raw)?),
            EVENT_TIME => self.event_time_ms = Some(event_time_ms(raw)?),
            DWELL_MS => self.dwell_ms = dwell_ms(raw)?,
            7 => self.device = text(name, raw, DEVICE_MAX_CHARS)?.into(),
            _ => self.app_ver = text(name, raw, APP_VER_MAX_CHARS)?.into(),
        }
        Ok(())
    }

    /// Reads each number that is written with a fraction or an exponent. nova computes the value of the number from its
    /// digits. Most events have no number of this form.
    fn read_fractions(&mut self, text: &str) -> Result<(), Fault> {
        #[derive(serde::Deserialize)]
        struct Numbers<'a> {
            #[serde(borrow)]
            event_time: Option<&'a RawValue>,
            #[serde(borrow)]
            dwell_ms: Option<&'a RawValue>,
        }
        let Numbers { event_time, dwell_ms } =
            serde_json::from_str(text).map_err(|error| malformed("event", &error))?;
        for (index, number) in [(EVENT_TIME, event_time), (DWELL_MS, dwell_ms)] {
            let Some(number) = number.filter(|_| self.fractions & 1 << index != 0) else { continue };
            let raw = whole_number(number.get()).map_or(Raw::Float, Raw::Int);
            let set = match index {
                EVENT_TIME => event_time_ms(raw).map(|millis| self.event_time_ms = Some(millis)),
                _ => self::dwell_ms(raw).map(|millis| self.dwell_ms = millis),
            };
            if let Err(fault) = set {
                self.fault.get_or_insert(fault);
            }
        }
        Ok(())
    }

    fn finish(self, fallback_id: impl FnOnce() -> Id) -> Result<ClientEvent, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let missing = |name: &str| Fault::new("missing-field", format!("`{name}` is required, and absent or null"));
        Ok(ClientEvent {
            event_id: self.event_id.unwrap_or_else(fallback_id),
            user_id: self.user_id.ok_or_else(|| missing("user_id"))?,
            post_id: self.post_id.ok_or_else(|| missing("post_id"))?,
            author_id: self.author_id,
            action: self.action.ok_or_else(|| missing("action"))?,
            event_time_ms: self.event_time_ms.ok_or_else(|| missing("event_time"))?,
            dwell_ms: self.dwell_ms,
            device: self.device,
            app_ver: self.app_ver,
        })
    }
}

impl<'de> DeserializeSeed<'de> for &mut Members {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Members {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Most writers write members in the order of `NAMES`, so the parser first tries the next name of that order.
        let mut due = 0;
        while let Some(name) = map.next_key_seed(Name)? {
            let mut order = (due..NAMES.len()).chain(0..due);
            match order.find(|index| NAMES.get(*index).is_some_and(|known| **known == *name)) {
                Some(index) => {
                    due = index + 1;
                    self.set(index, map.next_value_seed(RawSeed)?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

fn id(name: &str, raw: Raw<'_>) -> Result<Id, Fault> {
    match raw {
        Raw::Text(text) => Id::parse(text.as_bytes()).map_err(|_| Fault::invalid(name, "not a UUID")),
        raw => Err(Fault::wrong_type(name, "a UUID as string", &raw)),
    }
}

fn action(raw: Raw<'_>) -> Result<Action, Fault> {
    match raw {
        Raw::Text(text) => Action::from_name(&text).ok_or_else(|| {
            Fault::new("unknown-action", "`action` is not one of impression, view, like, comment, share")
        }),
        raw => Err(Fault::wrong_type("action", "a string", &raw)),
    }
}

fn event_time_ms(raw: Raw<'_>) -> Result<i64, Fault> {
    let millis = match raw {
        Raw::Int(millis) => millis,
        Raw::Text(text) => time::parse_millis(&text)
            .ok_or_else(|| Fault::invalid("event_time", "not an RFC 3339 time, nor epoch milliseconds as integer"))?,
        raw => return Err(Fault::wrong_type("event_time", "an RFC 3339 time or epoch milliseconds", &raw)),
    };
    if TIMESTAMP_MS_RANGE.contains(&millis) {
        return Ok(millis);
    }
    Err(Fault::invalid("event_time", "outside 1970 to 2100; an integer is epoch milliseconds"))
}

fn dwell_ms(raw: Raw<'_>) -> Result<u32, Fault> {
    match raw {
        Raw::Int(millis) => u32::try_from(millis).map_err(|_| Fault::invalid("dwell_ms", "outside 0 to 4294967295")),
        Raw::TooLarge => Err(Fault::invalid("dwell_ms", "outside 0 to 4294967295")),
        raw => Err(Fault::wrong_type("dwell_ms", "an integer of milliseconds", &raw)),
    }
}

fn text<'a>(name: &str, raw: Raw<'a>, max_chars: usize) -> Result<Cow<'a, str>, Fault> {
    match raw {
        // A text never has more code points than bytes, so the bytes are compared first.
        Raw::Text(text) if text.len() <= max_chars || text.chars().count() <= max_chars => Ok(text),
        Raw::Text(text) => {
            let chars = text.chars().count();
            Err(Fault::new("too-long", format!("`{name}` has {chars} characters, at most {max_chars} are taken")))
        }
        raw => Err(Fault::wrong_type(name, "a string", &raw)),
    }
}
