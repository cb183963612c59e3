//! The objects that the writer gets from its caller, and the reports of the writer about each commit.

use std::sync::Arc;

use nova_storage::Store;
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::decode::Decoder;
use crate::pipeline::Settings;
use crate::pipeline::progress::Shared;
use crate::source::local::LocalAcks;
use crate::state::State;
use crate::warehouse::status::Status;

/// The figures of one commit, for metrics.
#[derive(Clone, Debug, Default)]
pub struct CommitFacts {
    pub commit_ms: f64,
    /// The time from the beginning of the batch until readers see its effects, milliseconds.
    pub process_ms: f64,
    /// The time from the commit until readers see its effects, milliseconds.
    pub publish_ms: f64,
    pub records: usize,
    pub dead_letters: u64,
    pub dedup_keys: u64,
    /// The number of bytes that the index of rows and the changed rows take in memory, and the number of bytes that the
    /// dedup set takes.
    pub rows_mem_bytes: usize,
    pub dedup_mem_bytes: usize,
    /// The number of bytes of stored rows, and the number of sorted runs.
    pub rows_bytes: u64,
    pub rows_runs: usize,
    pub toast_unfilled: u64,
    /// The arrivals of the oldest and of the newest record in the commit, epoch milliseconds.
    pub oldest_arrival_ms: Option<i64>,
    pub newest_arrival_ms: Option<i64>,
}

/// A function that is called after each commit, on the writer's thread.
pub type OnCommit = Box<dyn FnMut(&CommitFacts) + Send>;

/// The objects that the writer gets from its caller.
pub struct Parts {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub settings: Settings,
    pub clock: Clock,
    /// The decoder of replayed dead letters.
    pub decoder: Decoder,
    pub on_commit: Option<OnCommit>,
    /// The acknowledgements of the local log, if client events come over the local log.
    pub local: Option<LocalAcks>,
    /// The state of the warehouse, if nova sends rows to ClickHouse.
    pub warehouse: Option<Arc<Status>>,
}
