//! What people and metrics see of the source. Written by the session's thread; readers hold the lock for a copy.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::event::TopicPartition;

use super::finding::{Effect, Finding};
use super::slot::Seen;

/// How the source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was tried yet.
    #[default]
    Starting,
    /// The server cannot be reached or refuses; tried again.
    Away(Finding),
    /// Something at the server is to be corrected; looked at again.
    Unfit(Finding),
    /// A snapshot is read.
    Snapshot(Snapshot),
    /// The slot is read on.
    Streaming,
    /// A person decides.
    Stopped(Finding),
    /// The process ends.
    Closed,
}

impl State {
    /// A word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Away(_) => "away",
            State::Unfit(_) => "unfit",
            State::Snapshot(_) => "snapshot",
            State::Streaming => "streaming",
            State::Stopped(_) => "stopped",
            State::Closed => "closed",
        }
    }
}

/// How far a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The table at hand; empty before the first.
    pub table: &'static str,
    pub rows: u64,
    /// By the server's statistics, over all tables; 0 where they say nothing.
    pub estimated_rows: u64,
    /// Whole rows a second, since the first.
    pub rows_per_s: u64,
    /// By these two; `None` before the first row.
    pub left_s: Option<u64>,
    /// Who keeps it from beginning.
    pub blocked: String,
}

/// What is known at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The last look.
    pub seen: Seen,
    /// What it found that does not stop nova.
    pub warnings: Vec<Finding>,
    /// The end of the server's log, as far as it has told.
    pub server_lsn: u64,
    /// Up to where the store has everything; 0 before the first position.
    pub committed_lsn: u64,
    /// What the server was told last.
    pub told_lsn: u64,
    /// When the store last had everything that the server had told, epoch milliseconds; 0 before.
    pub caught_up_ms: i64,
}

impl View {
    /// Bytes of the log between the store and its end.
    pub fn lag_bytes(&self) -> u64 {
        self.server_lsn.saturating_sub(self.committed_lsn)
    }

    /// How old the oldest change may be that the store does not have, milliseconds. `arrival_ms`: when the last one was
    /// committed at the server that the store has.
    pub fn lag_ms(&self, arrival_ms: i64, now_ms: i64) -> i64 {
        let since_ms = match (self.committed_lsn, self.caught_up_ms) {
            (committed_lsn, _) if committed_lsn >= self.server_lsn => now_ms,
            (_, 0) if arrival_ms > 0 => arrival_ms,
            (_, 0) => now_ms,
            (_, caught_up_ms) => caught_up_ms,
        };
        now_ms.saturating_sub(since_ms).max(0)
    }

    /// What stops nova, and what does not.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let stops = match &self.state {
            State::Away(finding) | State::Unfit(finding) | State::Stopped(finding) => Some(finding),
            State::Starting | State::Snapshot(_) | State::Streaming | State::Closed => None,
        };
        stops.into_iter().chain(&self.warnings)
    }

    /// Takes the warnings of a look; those that are new are given back.
    pub(super) fn warn(&mut self, found: Vec<Finding>) -> Vec<Finding> {
        let found = found.into_iter().filter(|finding| finding.code.effect() == Effect::Warns);
        let before = std::mem::replace(&mut self.warnings, found.collect());
        let known = |finding: &&Finding| !before.iter().any(|other| other.code == finding.code);
        self.warnings.iter().filter(known).cloned().collect()
    }

    /// Why traffic should not come here, in words for a person; `None`: the stream is read. A held partition says its own
    /// reason besides.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            State::Starting => Some("postgres: not connected yet".to_owned()),
            State::Away(finding) | State::Unfit(finding) | State::Stopped(finding) => {
                Some(format!("postgres: {finding}"))
            }
            State::Snapshot(Snapshot { blocked, .. }) if !blocked.is_empty() => {
                Some(format!("postgres: the snapshot waits for transactions that are open: {blocked}"))
            }
            State::Snapshot(Snapshot { table, rows, estimated_rows, .. }) => {
                Some(format!("postgres: the snapshot is read: {rows} rows of about {estimated_rows}, now {table}"))
            }
            State::Streaming => None,
            State::Closed => Some("postgres: closed".to_owned()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct PostgresStatus {
    partition: TopicPartition,
    view: Mutex<View>,
    pub reconnects: AtomicU64,
    /// Sessions that were ended because nothing came, not even a keepalive.
    pub stalls: AtomicU64,
    pub snapshot_rows: AtomicU64,
    pub snapshots: AtomicU64,
}

impl PostgresStatus {
    pub fn new(slot: &str) -> PostgresStatus {
        PostgresStatus {
            partition: super::link::partition(slot),
            view: Mutex::default(),
            reconnects: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            snapshot_rows: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
        }
    }

    /// The one partition of the slot.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    pub fn view(&self) -> View {
        self.view.lock().clone()
    }

    pub(super) fn set(&self, state: State) {
        self.view.lock().state = state;
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock());
    }

    pub(super) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
