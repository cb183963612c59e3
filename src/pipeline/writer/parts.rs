//! What the writer needs from outside, and what it tells of each commit.

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

/// What one commit did, for metrics.
#[derive(Clone, Debug, Default)]
pub struct CommitFacts {
    pub commit_ms: f64,
    /// From the begin of the batch until readers see it.
    pub process_ms: f64,
    /// From the commit until readers saw it.
    pub publish_ms: f64,
    pub records: usize,
    pub dead_letters: u64,
    pub dedup_keys: u64,
    /// Of the index of stored rows and the changed rows, and of the dedup set.
    pub rows_mem_bytes: usize,
    pub dedup_mem_bytes: usize,
    /// Bytes of stored rows, and the sorted runs in which they stand.
    pub rows_bytes: u64,
    pub rows_runs: usize,
    pub toast_unfilled: u64,
    /// Arrival of the oldest and newest record of the commit, epoch milliseconds.
    pub oldest_arrival_ms: Option<i64>,
    pub newest_arrival_ms: Option<i64>,
}

/// Told after each commit, on the writer's thread.
pub type OnCommit = Box<dyn FnMut(&CommitFacts) + Send>;

/// What the writer needs from outside.
pub struct Parts {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub settings: Settings,
    pub clock: Clock,
    /// Decodes dead letters that are replayed.
    pub decoder: Decoder,
    pub on_commit: Option<OnCommit>,
    /// Set when client events come over the local log.
    pub local: Option<LocalAcks>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<Status>>,
}
