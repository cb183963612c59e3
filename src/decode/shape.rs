//! The shape of a Debezium message, recognised by the members at its top.

use super::raw::Raw;

/// The arrangement of the columns in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The members `before`, `after`, `source` and `op`.
    Envelope,
    /// The columns themselves (ExtractNewRecordState), with metadata in `__*` members.
    Flat,
    /// A message of another shape within `{"schema": …, "payload": …}`.
    Wrapped,
}

impl Shape {
    /// The shape that the first member of a message suggests. A conflict shows later, when the message is interpreted.
    pub fn of_first(name: &str) -> Shape {
        match name {
            "before" | "after" | "source" | "op" | "transaction" | "ts_ms" | "ts_us" | "ts_ns" => Shape::Envelope,
            "schema" | "payload" => Shape::Wrapped,
            _ => Shape::Flat,
        }
    }
}

/// Which of the members that determine a shape are present at the top.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Top {
    /// `op` is present and a string.
    pub op: bool,
    /// `before` or `after` is present.
    pub image: bool,
    /// `source` is present and an object.
    pub source: bool,
    /// `schema` is present and an object or null.
    pub schema: bool,
    /// `payload` is present and an object or null.
    pub payload: bool,
    /// `id` is present, as in flattened rows.
    pub id: bool,
    /// `ts_ms` is present, in one unit or several. A heartbeat has nothing else.
    pub time: bool,
    /// A member other than these is present.
    pub other: bool,
}

impl Top {
    /// Whether two of the three members are present that only Debezium's envelope has together.
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

/// The kind of a value, as far as a shape depends on it.
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
