//! The types of the pipeline: what a source delivers, what `decode` makes of a record, and what became of the record.
//! The module `event` has no I/O and no clock.

mod origin;
mod table;

use std::sync::Arc;

use bytes::Bytes;
use nova_storage::codec::CodecError;
pub use nova_storage::id::{Id, TopicPartition};

pub use self::origin::{Origin, OriginKind, Relation, SnapshotMark, Tables, WireColumn};
pub use self::table::{Column, ColumnType, DROPPED_COLUMNS, Table};

/// One record as a source delivers it, before nova knows anything about its content.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The time of the record in the log, in epoch milliseconds. The broker or the producer has set the time of a
    /// record, so it may be any number. The time in the log is [`NO_TIMESTAMP`] if the log has no time for a record.
    /// `arrival` decides when a record arrived.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The defect of the record, if the source could not read the record (for example a line of a capture that is not
    /// JSON). A record with a defect becomes a dead letter, and its `value` holds the original bytes (at most
    /// [`DEAD_VALUE_MAX_BYTES`]).
    pub defect: Option<Box<Dead>>,
    /// The origin of a record that comes from PostgreSQL directly. A record with an origin has no key and no headers,
    /// and `origin` says in which form the record's `value` is.
    pub origin: Option<Arc<Origin>>,
    /// The distance from the LSN in `origin` to the LSN of the record.
    pub lsn_delta: u32,
}

// Records must be small, because nova moves them often.
const _: () = assert!(size_of::<Record>() <= 144);

impl Record {
    /// Returns the LSN of a record that has an [`Origin`].
    pub fn lsn(&self) -> Option<u64> {
        Some(self.origin.as_ref()?.base_lsn.saturating_add(u64::from(self.lsn_delta)))
    }
}

/// The value that Kafka returns as the timestamp of a record without a timestamp.
pub const NO_TIMESTAMP: i64 = -1;

/// The range of plausible times in epoch milliseconds: 1970 to 2100.
pub const TIMESTAMP_MS_RANGE: std::ops::Range<i64> = 0..4_102_444_800_000;

/// How far the time of a client event may be ahead of its arrival, because clocks differ.
pub const EVENT_MAX_AHEAD_MS: i64 = 5 * 60_000;

/// The maximum number of bytes of the key in a dead letter, and also the maximum number of bytes of the value.
pub const DEAD_VALUE_MAX_BYTES: usize = 1 << 20;

/// The value of one column of a row. The column types `TimestampTz` and `Timestamp` both have values of
/// [`Cell::Micros`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The record does not contain the column.
    Missing,
    Null,
    /// The record says that the value did not change, and does not repeat it. Debezium writes a placeholder for an
    /// unchanged out-of-line value, or a header names the column as unchanged. The stored row has the unchanged value.
    Unavailable,
    Bool(bool),
    Uuid(Id),
    /// The time in epoch microseconds. `i64::MAX` means `infinity`, and `i64::MIN` means `-infinity`.
    Micros(i64),
    Text(Box<str>),
    /// A JSON text as the source wrote it. nova has checked that the text is well formed.
    Json(Box<str>),
}

/// All values that a row has after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One cell for each column of [`Table::columns`].
    pub cells: Box<[Cell]>,
    /// The columns of the row that [`Table::columns`] does not have, as the text of one JSON object whose members are
    /// sorted by name. `extra` is `None` if the row has only columns of [`Table::columns`].
    pub extra: Option<Box<str>>,
    /// The sorted names of unknown columns whose values the record does not repeat, because a placeholder or a header
    /// says that they are unchanged. The stored row has the values of the columns in `extra_unavailable`. `extra` has
    /// no members for the columns in `extra_unavailable`.
    pub extra_unavailable: Box<[Box<str>]>,
}

/// The format in which a record contained a change. A null value means a delete only if the stored row has the format
/// [`Format::FlatTombstone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// The record has the full envelope of Debezium.
    Envelope = 0,
    /// ExtractNewRecordState flattened the record, and `__deleted` marks a delete (rewrite mode).
    FlatRewrite = 1,
    /// ExtractNewRecordState flattened the record, there is no `__deleted`, and a null value is a delete.
    FlatTombstone = 2,
}

/// The operation of a change as Debezium names it. ClickHouse's column `_op` contains the operation. `Unknown` is the
/// operation of a flattened record without `__op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    Read = b'r',
    Create = b'c',
    Update = b'u',
    Delete = b'd',
    Truncate = b't',
    Unknown = b'?',
}

/// The operation that a change requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeBody {
    Upsert(Row),
    Delete,
    /// The record has a null value. The writer decides by the [`Format`] of the stored row whether a null value is a
    /// delete or a marker for log compaction.
    Tombstone,
    Truncate,
}

/// A change of one row of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: Table,
    /// The primary key of the row, from the key of the Kafka record. A truncate has the key [`Id::NIL`].
    pub key: Id,
    pub op: Op,
    pub format: Format,
    /// PostgreSQL's log sequence number (LSN) of the change. A read (`Op::Read`) has the LSN at which the snapshot was
    /// taken; every change that is not a read has the LSN at which it was written. The LSN is `None` if the format does
    /// not contain an LSN. It is also `None` for a read of an incremental snapshot, because the LSN of such a read is
    /// missing or belongs to a different record.
    pub lsn: Option<u64>,
    /// The time at which the source committed the change, in epoch microseconds.
    pub source_ts_us: Option<i64>,
    /// The row's key before or after the change, or `None` if the change has not changed the row's primary key. A
    /// changed primary key is rare, so it is kept in a box. The box keeps the type `Change` small.
    pub renamed: Option<Box<Renamed>>,
    /// Whether the connector says that this read is the last read of its snapshot.
    pub ends_snapshot: bool,
    pub body: ChangeBody,
}

/// The key that a row had before, or has after, a change of its primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// The change is an upsert, and the row had this key before (header `__debezium.oldkey`). The stored row under the
    /// old key has the values that the record does not repeat.
    From(Id),
    /// The change is a delete, and the row has this key now (header `__debezium.newkey`).
    To(Id),
}

impl Change {
    pub fn renamed_from(&self) -> Option<Id> {
        match self.renamed.as_deref() {
            Some(Renamed::From(key)) => Some(*key),
            _ => None,
        }
    }

    pub fn renamed_to(&self) -> Option<Id> {
        match self.renamed.as_deref() {
            Some(Renamed::To(key)) => Some(*key),
            _ => None,
        }
    }
}

/// An action of a user on a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    Impression = 0,
    View = 1,
    Like = 2,
    Comment = 3,
    Share = 4,
}

impl Action {
    pub const ALL: [Action; 5] = [Action::Impression, Action::View, Action::Like, Action::Comment, Action::Share];

    pub const fn name(self) -> &'static str {
        match self {
            Action::Impression => "impression",
            Action::View => "view",
            Action::Like => "like",
            Action::Comment => "comment",
            Action::Share => "share",
        }
    }

    /// Returns the action with a stored number. The number of an action is its discriminant and never changes.
    pub fn numbered(number: u8) -> Result<Action, CodecError> {
        let unknown = CodecError::Unknown { what: "action", number: number.into() };
        Action::ALL.into_iter().find(|action| *action as u8 == number).ok_or(unknown)
    }

    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// One event that a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    pub event_id: Id,
    pub user_id: Id,
    pub post_id: Id,
    pub author_id: Option<Id>,
    pub action: Action,
    /// The event's time by the client's clock, in epoch milliseconds. The writer limits the event's time by the arrival
    /// of the event.
    pub event_time_ms: i64,
    pub dwell_ms: u32,
    pub device: Box<str>,
    pub app_ver: Box<str>,
}

/// The reason why a record that nova understands has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The record is a null value after a delete that the envelope has already reported.
    Tombstone,
    Heartbeat,
    /// The record is a message of `pg_logical_emit_message`.
    Message,
    /// The record is from the topic `{prefix}.transaction`.
    TransactionMarker,
    /// The record is from a topic that nova does not follow.
    UnknownTopic,
    /// The record is a truncate, and the policy for truncates is `ignore`.
    Truncate,
    /// The record marks the beginning or the end of a snapshot that nova reads from PostgreSQL directly.
    SnapshotMark,
}

/// A record that nova can never apply, with the reason as a text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    pub stage: Stage,
    /// A short code that never changes, such as `malformed-json`.
    pub reason: &'static str,
    /// A text that names the field, the problem with its value, and what nova expected. The detail never contains
    /// values of dropped columns.
    pub detail: String,
}

/// The stage of the pipeline at which a record became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Source,
    Decode,
    Dedup,
    Apply,
    Warehouse,
}

impl Stage {
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Source => "source",
            Stage::Decode => "decode",
            Stage::Dedup => "dedup",
            Stage::Apply => "apply",
            Stage::Warehouse => "warehouse",
        }
    }
}

/// The reason why nova cannot decode a record yet. While a record waits, only its partition waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub reason: &'static str,
    pub detail: String,
}

/// The result of decoding one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Change(Change),
    Event(ClientEvent),
    Ignore(Ignored),
    Snapshot(SnapshotMark),
    Dead(Dead),
    Wait(Wait),
}

/// The outcome of a record. Every consumed record has exactly one outcome (rule N2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    Applied = 0,
    /// nova has already applied an event with this id, or this version of the row.
    Duplicate = 1,
    /// The stored row is newer than the version of the row in the record.
    Stale = 2,
    Ignored = 3,
    /// The event is older than the dedup horizon.
    Late = 4,
    Dead = 5,
}

impl Outcome {
    pub const ALL: [Outcome; 6] =
        [Outcome::Applied, Outcome::Duplicate, Outcome::Stale, Outcome::Ignored, Outcome::Late, Outcome::Dead];

    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Duplicate => "duplicate",
            Outcome::Stale => "stale",
            Outcome::Ignored => "ignored",
            Outcome::Late => "late",
            Outcome::Dead => "dead",
        }
    }
}

/// The columns of a stored row that nova needs in memory, because ranking and visibility depend on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    User {
        username: Box<str>,
        active: bool,
        created_at_us: i64,
    },
    Post {
        author: Id,
        created_at_us: i64,
        published: bool,
    },
    Follow {
        follower: Id,
        followee: Id,
        created_at_us: i64,
    },
    Like {
        user: Id,
        post: Id,
        created_at_us: i64,
    },
    /// A comment. `counts` is false after the comment was softly deleted.
    Comment {
        user: Id,
        post: Id,
        created_at_us: i64,
        counts: bool,
    },
}

impl Facts {
    /// Returns the action that the row counts as, and the row's own time in epoch microseconds. Returns `None` for a
    /// row that does not count.
    pub fn counted(&self) -> Option<(Action, i64)> {
        match self {
            Facts::Like { created_at_us, .. } => Some((Action::Like, *created_at_us)),
            Facts::Comment { created_at_us, counts: true, .. } => Some((Action::Comment, *created_at_us)),
            Facts::User { .. } | Facts::Post { .. } | Facts::Follow { .. } | Facts::Comment { .. } => None,
        }
    }
}

/// The effect of a committed record on memory. An effect is a transition and not an operation (rule N7): `old` and
/// `new` are the live row before and after the record, and `None` means that there is no live row. The same effects in
/// the same order always give the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Row {
        key: Id,
        old: Option<Facts>,
        new: Option<Facts>,
    },
    /// A new client event. `at_ms` is the event's time, limited by its arrival.
    Event {
        user: Id,
        post: Id,
        action: Action,
        at_ms: i64,
        dwell_ms: u32,
    },
    /// The next like or comment under `key` has a time ahead of the clock, so it counts at the time `at_ms`.
    Dated {
        action: Action,
        key: Id,
        at_ms: i64,
    },
}
