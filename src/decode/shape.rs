//! Recognises the shape of a Debezium message by the members at the top of the message.

use super::raw::Raw;

/// The arrangement of the columns in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The columns are in an envelope with the members `before`, `after`, `source` and `op`.
    Envelope,
    /// The columns are the members of the message itself (ExtractNewRecordState). Metadata are in members whose names
    /// begin with two underscores.
    Flat,
    /// The message wraps a message of another shape: `{"schema": …, "payload": …}`.
    Wrapped,
}

impl Shape {
    /// Returns the shape that the first member of a message suggests. If the suggestion was wrong, nova notices it when
    /// it interprets the message.
    pub fn of_first(name: &str) -> Shape {
        match name {
            "before" | "after" | "source" | "op" | "transaction" | "ts_ms" | "ts_us" | "ts_ns" => Shape::Envelope,
            "schema" | "payload" => Shape::Wrapped,
            _ => Shape::Flat,
        }
    }
}

/// Says which of the members that determine a shape are at the top of the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Top {
    /// Whether `op` is present and is a string.
    pub op: bool,
    /// Whether `before` or `after` is present.
    pub image: bool,
    /// Whether `source` is present and is an object.
    pub source: bool,
    /// Whether `schema` is present and is an object or null.
    pub schema: bool,
    /// Whether `payload` is present and is an object or null.
    pub payload: bool,
    /// Whether `id` is present, as in a flattened row.
    pub id: bool,
    /// Whether `ts_ms` is present, in one unit or in several units. A heartbeat has no member except its times.
    pub time: bool,
    /// Whether a member is present that no other field of this struct describes.
    pub other: bool,
}

impl Top {
    /// Whether at least two of `op`, an image (`before` or `after`) and `source` are present. Only Debezium's envelope
    /// has two of `op`, an image and `source`.
    pub fn is_envelope(self) -> bool {
        u8::from(self.op) + u8::from(self.image) + u8::from(self.source) >= 2
    }

    pub fn is_wrapper(self) -> bool {
        self.schema && self.payload
    }

    /// Whether the message is `{"ts_ms": …}` and nothing else.
    pub fn is_heartbeat(self) -> bool {
        self.time && !(self.op || self.image || self.source || self.schema || self.payload || self.id || self.other)
    }

    pub fn member(&mut self, name: &str, kind: Kind) {
        match name {
            "op" if kind == Kind::Text => self.op = true,
            "before" | "after" => self.image |= matches!(kind, Kind::Object | Kind::Null),
            "source" if kind == Kind::Object => self.source = true,
            "schema" if matches!(kind, Kind::Object | Kind::Null) => self.schema = true,
            "payload" if matches!(kind, Kind::Object | Kind::Null) => self.payload = true,
            "id" => self.id = true,
            "ts_ms" | "ts_us" | "ts_ns" => self.time |= name == "ts_ms",
            _ => self.other = true,
        }
    }
}

/// The kind of a value, as far as the shape of a message depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Text,
    Object,
    Other,
}

impl From<&Raw<'_>> for Kind {
    fn from(raw: &Raw<'_>) -> Kind {
        match raw {
            Raw::Null => Kind::Null,
            Raw::Text(_) => Kind::Text,
            Raw::Object => Kind::Object,
            _ => Kind::Other,
        }
    }
}
