//! The batch loop. `ingest` (thread 1) polls a source and decodes; `writer` (thread 2) owns the only write transaction
//! and puts everything that a batch causes into one commit; `progress` is what both, and everyone who watches, share.
//!
//! `apply` judges one change against its stored row (`stored`, `cells`) by `order` and `fill`; `rows`, `journal` and `dedup`
//! are the structures behind it, `dead` reads the dead letters, `halt` says why a table or a partition stands still
//! (`regression`: because its log began again), `decided` remembers what people decided about places in the log, `sent` asks
//! ClickHouse for their events, `meta` is the writer's own small record. `seen` reads rows beside the writer, `tap` tells who
//! watches. `rebuild` and `reconcile` prepare a stopped store to be read again.

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

/// Batches that may wait between ingest and the writer.
pub const QUEUE_MAX_MESSAGES: usize = 4;

/// A record on its way to the writer.
#[derive(Debug)]
pub struct Item {
    pub slot: Slot,
    /// How often the partition had been rewound when the record was polled: what was polled before a rewind is void.
    pub rewind: u32,
    pub digest: u64,
    pub record: Record,
    pub body: Body,
}

/// What decode made of a record that does not wait.
#[derive(Debug)]
pub enum Body {
    Change(Change),
    Event(ClientEvent, Entry),
    Ignore(Ignored),
    Snapshot(SnapshotMark),
    Dead(Dead),
}

/// What ingest hands over at once, in offset order within each partition.
#[derive(Debug, Default)]
pub struct Batch {
    pub items: Vec<Item>,
    /// Records below the partition's next offset, dropped: how many.
    pub redelivered: Vec<(Slot, u64)>,
    /// Partitions whose log is not the one that was read.
    pub faults: Vec<(Slot, Hold)>,
    /// Topics whose partitions were counted.
    pub counts: Vec<PartitionCount>,
    /// Positions that sources keep for themselves, with the rewind number of their partition.
    pub cookies: Vec<(Slot, u32, Cookie)>,
}

/// What a truncate of a source table does.
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

/// How the pipeline behaves; the units are in the names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose clock says when records arrived.
    pub time_of: TimeOf,
    pub truncate: TruncatePolicy,
    /// How long an event id is remembered after its arrival.
    pub dedup_horizon_ms: i64,
    /// An event older than this at its arrival is late.
    pub event_max_age_ms: i64,
    /// After so many undecodable records in a row a partition is held: somebody broke the topic. `None` in a replay,
    /// where every record is to be accounted for.
    pub breaker_dead_in_a_row: Option<u32>,
    /// Partitions that add to a dead letter queue of this size are held.
    pub dead_max_letters: u64,
    /// A checkpoint is due when the journal since the last one is larger than half the checkpoint, within these bounds.
    pub checkpoint_min_bytes: u64,
    pub checkpoint_max_bytes: u64,
    /// What one commit carries of a checkpoint, at least.
    pub checkpoint_slice_bytes: u64,
    /// How long consumed records stay in the local log.
    pub local_retention_ms: i64,
    /// Consumption pauses while more bytes than this wait for ClickHouse, and goes on below nine tenths of it.
    pub outbox_max_bytes: u64,
}

/// A load's checkpoint is due at this many bytes: a third as often as at most while serving, for 200 MB more memory.
pub const LOAD_CHECKPOINT_BYTES: u64 = 192 << 20;

impl Settings {
    /// For a load that nobody waits for: fewer checkpoints, and longer runs of rows, which are merged less often.
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
