//! Which shape a Debezium message has, told by the members at its top.

use super::raw::Raw;

/// How the columns are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `before`, `after`, `source`, `op`.
    Envelope,
    /// The columns themselves (ExtractNewRecordState), metadata as `__*`.
    Flat,
    /// `{"schema": …, "payload": …}` around one of the others.
    Wrapped,
}

impl Shape {
    /// What the first member of a message says; a conflict shows later, where the message is judged.
    pub fn of_first(name: &str) -> Shape {
        match name {
            "before" | "after" | "source" | "op" | "transaction" | "ts_ms" | "ts_us" | "ts_ns" => Shape::Envelope,
            "schema" | "payload" => Shape::Wrapped,
            _ => Shape::Flat,
        }
    }
}

/// Which members that make a shape are there at the top, whatever is beside them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Top {
    /// `op`, a string.
    pub op: bool,
    /// `before` or `after`.
    pub image: bool,
    /// `source`, an object.
    pub source: bool,
    /// `schema`, an object or null.
    pub schema: bool,
    /// `payload`, an object or null.
    pub payload: bool,
    /// `id`, which flattened rows have.
    pub id: bool,
    /// `ts_ms`, all that a heartbeat has, in one unit or several.
    pub time: bool,
    /// A member that is none of these.
    pub other: bool,
}

impl Top {
    /// Two of the three members that only Debezium's envelope has together.
    pub fn is_envelope(self) -> bool {
        u8::from(self.op) + u8::from(self.image) + u8::from(self.source) >= 2
    }

    pub fn is_wrapper(self) -> bool {
        self.schema && self.payload
    }

    /// `{"ts_ms": …}` and nothing else.
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
