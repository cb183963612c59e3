//! The batch loop moves records from a source into the store. `ingest` (thread 1) polls a source and decodes the
//! records. `writer` (thread 2) owns the only write transaction and puts everything that a batch causes into one
//! commit. The two threads share `progress` with each other and with the code that reports their progress.
//!
//! `apply` judges one change against the stored row (`stored`, `cells`) with `order` and `fill`. `rows`, `journal` and
//! `dedup` are the data structures that the writer uses. `dead` reads the dead letters, and `sent` asks ClickHouse for
//! the events of dead letters. `halt` says why a table or a partition does not continue, and `regression` describes a
//! log that began again. `decided` keeps decisions of people about places in the log, and `meta` is the small state of
//! the writer. `seen` reads rows while the writer runs, and `tap` reports records to listeners. `rebuild` and
//! `reconcile` prepare a stopped store for reading the source again.

pub mod apply;
pub mod audit;
pub mod cells;
pub mod compare;
pub mod dead;
pub mod decided;
pub mod dedup;
pub mod edge;
mod fill;
mod filter;
pub mod first;
pub mod halt;
pub mod ingest;
pub mod journal;
pub mod meta;
mod order;
pub mod progress;
pub mod rebuild;
pub mod reconcile;
pub mod regression;
pub mod row_json;
pub mod rows;
pub mod seen;
pub mod sent;
pub mod stored;
pub mod sweep;
pub mod tap;
pub mod unread;
pub mod writer;

use crate::arrival::TimeOf;
use crate::event::{Change, ClientEvent, Dead, Ignored, Record, SnapshotMark};
use crate::source::{Cookie, PartitionCount};

use self::decided::Decision;
use self::dedup::Entry;
use self::halt::Hold;
use self::progress::Slot;

/// The maximum number of batches that may wait between ingest and the writer.
pub const QUEUE_MAX_MESSAGES: usize = 4;

/// A record for the writer.
#[derive(Debug)]
pub struct Item {
    pub slot: Slot,
    /// How often the record's partition had been rewound when the record was polled. The writer drops a record that was
    /// polled before the latest rewind of its partition.
    pub rewind: u32,
    pub digest: u64,
    pub record: Record,
    pub body: Body,
}

/// The decoded content of a record that does not wait.
#[derive(Debug)]
pub enum Body {
    Change(Change),
    Event(ClientEvent, Entry),
    Ignore(Ignored),
    Snapshot(SnapshotMark),
    Dead(Dead),
}

/// The records and notes that ingest hands over at once. The records of each partition are in the order of their
/// offsets.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    /// For each partition, the number of dropped records whose offsets were below the partition's next offset.
    pub redelivered: Vec<(Slot, u64)>,
    /// The partitions whose log is not the log that nova read before.
    pub faults: Vec<(Slot, Hold)>,
    /// For each topic, the number of its partitions.
    pub counts: Vec<PartitionCount>,
    /// The positions that sources let nova store (cookies), each with the rewind number of its partition.
    pub cookies: Vec<(Slot, u32, Cookie)>,
}

/// The effect that a truncate of a source table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TruncatePolicy {
    /// The table halts until a person decides.
    #[default]
    Quarantine,
    /// nova deletes every row of the table.
    Apply,
    Ignore,
}

impl From<Decision> for TruncatePolicy {
    fn from(decision: Decision) -> TruncatePolicy {
        match decision {
            Decision::Apply => TruncatePolicy::Apply,
            Decision::Ignore => TruncatePolicy::Ignore,
        }
    }
}

/// The settings of the pipeline, with the units in their names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clock that decides when records arrived.
    pub time_of: TimeOf,
    pub truncate: TruncatePolicy,
    /// How long nova remembers the id of an event after the event's arrival.
    pub dedup_horizon_ms: i64,
    /// The maximum age of an event at its arrival. An event that is older than this maximum at its arrival is late.
    pub event_max_age_ms: i64,
    /// nova holds a partition after this many undecodable records in a row, because somebody has probably broken the
    /// topic. The breaker is `None` in a replay, which must account for every record.
    pub breaker_dead_in_a_row: Option<u32>,
    /// If the dead letter queue has this many letters, nova holds the partitions that would add more letters.
    pub dead_max_letters: u64,
    /// A checkpoint is due when the journal since the last checkpoint is larger than half of that checkpoint. The
    /// journal's length at a due checkpoint is at least `checkpoint_min_bytes` and at most `checkpoint_max_bytes`.
    pub checkpoint_min_bytes: u64,
    pub checkpoint_max_bytes: u64,
    /// The minimum number of bytes of a running checkpoint that one commit writes.
    pub checkpoint_slice_bytes: u64,
    /// How long consumed records stay in the local log.
    pub local_retention_ms: i64,
    /// nova pauses consumption while more than this number of bytes waits for ClickHouse, and continues when less than
    /// nine tenths of the number waits.
    pub outbox_max_bytes: u64,
}

/// During a load, a checkpoint is due at this many bytes of journal. With this limit nova writes a third as many
/// checkpoints as with the limit for serving, and needs 200 MB more memory.
pub const LOAD_CHECKPOINT_BYTES: u64 = 192 << 20;

impl Settings {
    /// Changes the settings for a bulk load, for which no client waits. nova then writes fewer checkpoints and longer
    /// runs of rows, and merges runs less often.
    pub fn for_load(&mut self) {
        (self.checkpoint_min_bytes, self.checkpoint_max_bytes) = (LOAD_CHECKPOINT_BYTES, LOAD_CHECKPOINT_BYTES);
    }
}

impl Default for Settings {
    fn default() -> Settings {
        const HOUR_MS: i64 = 3_600_000;
        Settings {
            time_of: TimeOf::default(),
            truncate: TruncatePolicy::default(),
            dedup_horizon_ms: 24 * HOUR_MS,
            event_max_age_ms: 24 * HOUR_MS,
            breaker_dead_in_a_row: None,
            dead_max_letters: 1_000_000,
            checkpoint_min_bytes: 4 << 20,
            checkpoint_max_bytes: 64 << 20,
            checkpoint_slice_bytes: 1 << 20,
            local_retention_ms: 24 * HOUR_MS,
            outbox_max_bytes: 8 << 30,
        }
    }
}
