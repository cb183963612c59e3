//! The batch loop. `ingest` (thread 1) polls a source and decodes. `writer` (thread 2) owns the only write transaction
//! and puts everything that a batch causes into one commit. `progress` is shared by both and by everyone who watches.
//!
//! `apply` judges one change against its stored row (`stored`, `cells`) with `order` and `fill`. `rows`, `journal` and
//! `dedup` are the structures behind it. `dead` reads the dead letters, and `sent` asks ClickHouse for their events.
//! `halt` says why a table or a partition stands still (`regression`: because its log began again). `decided` keeps
//! people's decisions about places in the log, and `meta` is the writer's own small record. `seen` reads rows beside
//! the writer, and `tap` reports records to listeners. `rebuild` and `reconcile` prepare a stopped store for reading
//! the source again.

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

/// The most batches that may wait between ingest and the writer.
pub const QUEUE_MAX_MESSAGES: usize = 4;

/// A record for the writer.
#[derive(Debug)]
pub struct Item {
    pub slot: Slot,
    /// How often the partition had been rewound when the record was polled. A record that was polled before a rewind is
    /// void.
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

/// The records and notes that ingest hands over at once, in the order of offsets within each partition.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    /// The number of records below the partition's next offset, which were dropped.
    pub redelivered: Vec<(Slot, u64)>,
    /// Partitions whose log is not the one that was read before.
    pub faults: Vec<(Slot, Hold)>,
    /// Counts of partitions of topics.
    pub counts: Vec<PartitionCount>,
    /// The positions that sources keep for themselves, with the rewind number of their partition.
    pub cookies: Vec<(Slot, u32, Cookie)>,
}

/// The effect of a truncate of a source table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TruncatePolicy {
    /// The table halts until a person decides.
    #[default]
    Quarantine,
    /// Every row of the table is deleted.
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

/// The settings of the pipeline. Units are in the names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The clock that decides when records arrived.
    pub time_of: TimeOf,
    pub truncate: TruncatePolicy,
    /// How long an event id is remembered after its arrival.
    pub dedup_horizon_ms: i64,
    /// An event that is older than this at its arrival is late.
    pub event_max_age_ms: i64,
    /// A partition is held after this many undecodable records in a row, because somebody has broken the topic. `None`
    /// in a replay, which must account for every record.
    pub breaker_dead_in_a_row: Option<u32>,
    /// If the dead letter queue has this size, partitions that add to it are held.
    pub dead_max_letters: u64,
    /// A checkpoint is due when the journal since the last one is larger than half the checkpoint, within these limits.
    pub checkpoint_min_bytes: u64,
    pub checkpoint_max_bytes: u64,
    /// The least bytes of a checkpoint in one commit.
    pub checkpoint_slice_bytes: u64,
    /// How long consumed records stay in the local log.
    pub local_retention_ms: i64,
    /// Consumption pauses while more bytes than this wait for ClickHouse, and continues below nine tenths of it.
    pub outbox_max_bytes: u64,
}

/// A checkpoint during a load is due at this many bytes. That is a third as often as at most while serving, and takes
/// 200 MB more memory.
pub const LOAD_CHECKPOINT_BYTES: u64 = 192 << 20;

impl Settings {
    /// Changes the settings for a load for which nobody waits: there are fewer checkpoints, and longer runs of rows,
    /// which are merged less often.
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
