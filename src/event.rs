//! The vocabulary of the pipeline: what a source delivers, what `decode` makes of it, and what became of it. This
//! module has no I/O and no clock.

mod origin;
mod table;

use std::sync::Arc;

use bytes::Bytes;
use nova_storage::codec::CodecError;
pub use nova_storage::id::{Id, TopicPartition};

pub use self::origin::{Origin, OriginKind, Relation, SnapshotMark, Tables, WireColumn};
pub use self::table::{Column, ColumnType, DROPPED_COLUMNS, Table};

/// One record as a source delivers it, before anything is known about its content.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    /// The time in the log, epoch milliseconds: the broker's or the producer's, so any number. It is [`NO_TIMESTAMP`]
    /// if the log has no time. `arrival` decides when the record arrived.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Box<str>, Bytes)>,
    /// Set if the source itself could not read the record (for example a line of a capture that is not JSON). Such a
    /// record becomes a dead letter, and `value` holds the original bytes (at most [`DEAD_VALUE_MAX_BYTES`]).
    pub defect: Option<Box<Dead>>,
    /// Set for a record that comes from PostgreSQL directly. Such a record has a `value` as `origin` says, no key and
    /// no headers.
    pub origin: Option<Arc<Origin>>,
    /// The distance from the LSN in `origin` to the record's LSN.
    pub lsn_delta: u32,
}

// Records are moved often, so they must be small.
const _: () = assert!(size_of::<Record>() <= 144);

impl Record {
    /// The LSN of a record that has an [`Origin`].
    pub fn lsn(&self) -> Option<u64> {
        Some(self.origin.as_ref()?.base_lsn.saturating_add(u64::from(self.lsn_delta)))
    }
}

/// Kafka's number for a record without a timestamp.
pub const NO_TIMESTAMP: i64 = -1;

/// The range of plausible times, 1970 to 2100, epoch milliseconds.
pub const TIMESTAMP_MS_RANGE: std::ops::Range<i64> = 0..4_102_444_800_000;

/// How far a client event's time may be ahead of its arrival, because clocks differ.
pub const EVENT_MAX_AHEAD_MS: i64 = 5 * 60_000;

/// A dead letter keeps at most this many bytes of a key or of a value.
pub const DEAD_VALUE_MAX_BYTES: usize = 1 << 20;

/// The value of one column. `TimestampTz` and `Timestamp` are both [`Cell::Micros`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The record does not carry the column.
    Missing,
    Null,
    /// The record says that the value did not change, and does not repeat it (Debezium's placeholder for an out-of-line
    /// value, or a header that names the column as unchanged). The stored row has the value.
    Unavailable,
    Bool(bool),
    Uuid(Id),
    /// The time in epoch microseconds; `i64::MAX` is `infinity`, `i64::MIN` is `-infinity`.
    Micros(i64),
    Text(Box<str>),
    /// JSON text as the source printed it, checked to be well formed.
    Json(Box<str>),
}

/// All values of a row after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One cell per column of [`Table::columns`].
    pub cells: Box<[Cell]>,
    /// The columns that the table's list does not have, as the text of one JSON object with members sorted by name.
    /// `None` without such columns.
    pub extra: Option<Box<str>>,
    /// Unknown columns whose value the record does not repeat (a placeholder, or a header that names them as
    /// unchanged), sorted: their values are those of the stored row. These columns are not members of `extra`.
    pub extra_unavailable: Box<[Box<str>]>,
}

/// How a change was written on the wire. A null value means a delete only after a [`Format::FlatTombstone`] row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// Debezium's full envelope.
    Envelope = 0,
    /// ExtractNewRecordState with `__deleted` (rewrite mode).
    FlatRewrite = 1,
    /// ExtractNewRecordState without `__deleted`: deletes are null values.
    FlatTombstone = 2,
}

/// Debezium's operation, for `_op` in ClickHouse. `Unknown` is a flattened record without `__op`.
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

/// The operation that a change asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeBody {
    Upsert(Row),
    Delete,
    /// A null value. The writer looks at the stored row's [`Format`] to find out whether the null value is a delete or
    /// a compaction marker.
    Tombstone,
    Truncate,
}

/// One change of one source row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: Table,
    /// The primary key, taken from the Kafka key. A truncate has [`Id::NIL`].
    pub key: Id,
    pub op: Op,
    pub format: Format,
    /// PostgreSQL's log sequence number. A read (`Op::Read`) has the position of the log at which the snapshot was
    /// taken; every other change has the position at which it was written. `None` if the format does not carry the
    /// number, and for reads of incremental snapshots, whose number is missing or belongs to another record.
    pub lsn: Option<u64>,
    /// When the source committed the change, epoch microseconds.
    pub source_ts_us: Option<i64>,
    /// A changed key is rare, so it is kept in a box: records are moved often and must be small.
    pub renamed: Option<Box<Renamed>>,
    /// The connector says that this read is the last one of its snapshot.
    pub ends_snapshot: bool,
    pub body: ChangeBody,
}

/// The other key of a row whose primary key was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// The change is an upsert, and this is the key that the row had before (header `__debezium.oldkey`). The row under
    /// the old key has the values that the record does not repeat.
    From(Id),
    /// The change is a delete, and this is the key that the row has now (header `__debezium.newkey`).
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

/// What a user did to a post.
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

    /// The action of a stored number: its discriminant, which never changes.
    pub fn numbered(number: u8) -> Result<Action, CodecError> {
        let unknown = CodecError::Unknown { what: "action", number: number.into() };
        Action::ALL.into_iter().find(|action| *action as u8 == number).ok_or(unknown)
    }

    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// One client event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEvent {
    pub event_id: Id,
    pub user_id: Id,
    pub post_id: Id,
    pub author_id: Option<Id>,
    pub action: Action,
    /// The client's own time, epoch milliseconds; the writer clamps it to the arrival.
    pub event_time_ms: i64,
    pub dwell_ms: u32,
    pub device: Box<str>,
    pub app_ver: Box<str>,
}

/// Why a record that nova understands has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// A null value after a delete that the envelope already reported.
    Tombstone,
    Heartbeat,
    /// A message of `pg_logical_emit_message`.
    Message,
    /// A record of the topic `{prefix}.transaction`.
    TransactionMarker,
    /// A topic that nova does not follow.
    UnknownTopic,
    /// A truncate under the policy `ignore`.
    Truncate,
    /// The beginning or the end of a snapshot that is read directly.
    SnapshotMark,
}

/// A record that can never be applied, with the reason in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    pub stage: Stage,
    /// A short stable code, e.g. `malformed-json`.
    pub reason: &'static str,
    /// Names the field, the problem with its value, and what nova expected. The text never holds values of dropped
    /// columns.
    pub detail: String,
}

/// The stage of the pipeline at which a dead letter arose.
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

/// Why a record cannot be decoded yet. Only the partition of the record waits.
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

/// The result of a record. Every consumed record has exactly one outcome (N2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    Applied = 0,
    /// nova has already applied the same event id, or the same version of the row.
    Duplicate = 1,
    /// The stored row is newer than this version of the row.
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

/// The columns of a stored row that memory needs: ranking and visibility depend on them.
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
    /// `counts` is false once the comment is softly deleted.
    Comment {
        user: Id,
        post: Id,
        created_at_us: i64,
        counts: bool,
    },
}

impl Facts {
    /// The action that the row counts as, and the row's own time in epoch microseconds. `None` for a row that does not
    /// count.
    pub fn counted(&self) -> Option<(Action, i64)> {
        match self {
            Facts::Like { created_at_us, .. } => Some((Action::Like, *created_at_us)),
            Facts::Comment { created_at_us, counts: true, .. } => Some((Action::Comment, *created_at_us)),
            Facts::User { .. } | Facts::Post { .. } | Facts::Follow { .. } | Facts::Comment { .. } => None,
        }
    }
}

/// What a committed record does to memory. An effect is a transition and never an operation letter (N7): `old` and
/// `new` are the live row before and after, and `None` means that there is no row. Applying the same effects in the
/// same order gives the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Row {
        key: Id,
        old: Option<Facts>,
        new: Option<Facts>,
    },
    /// A new client event; `at_ms` is its time clamped to its arrival.
    Event {
        user: Id,
        post: Id,
        action: Action,
        at_ms: i64,
        dwell_ms: u32,
    },
    /// The next like or comment under this key is dated ahead of the clock, and counts at `at_ms`.
    Dated {
        action: Action,
        key: Id,
        at_ms: i64,
    },
}
