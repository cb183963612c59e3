//! The source's state for people and metrics. The session's thread writes it, and readers hold the lock only for a
//! copy.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::event::TopicPartition;

use super::finding::{Effect, Finding};
use super::slot::Seen;

/// The state of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was tried yet.
    #[default]
    Starting,
    /// The server cannot be reached or refuses. nova tries again.
    Away(Finding),
    /// A problem at the server must be corrected. nova checks again.
    Unfit(Finding),
    /// A snapshot is being read.
    Snapshot(Snapshot),
    /// The slot is being read.
    Streaming,
    /// A person must decide.
    Stopped(Finding),
    /// The process ends.
    Closed,
}

impl State {
    /// The name of the state.
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

/// The progress of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The table that is being read. It is empty before the first.
    pub table: &'static str,
    pub rows: u64,
    /// The estimated rows of all tables in the server's statistics, or 0 without statistics.
    pub estimated_rows: u64,
    /// The rows per second since the first row.
    pub rows_per_s: u64,
    /// The estimated remaining time in seconds. `None` before the first row.
    pub left_s: Option<u64>,
    /// The sessions that keep the snapshot from beginning.
    pub blocked: String,
}

/// The facts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The state of the server at the last check.
    pub seen: Seen,
    /// The findings of the check that do not stop nova.
    pub warnings: Vec<Finding>,
    /// The end of the server's log, as far as the server has reported it.
    pub server_lsn: u64,
    /// The position up to which the store has everything, or 0 before the first position.
    pub committed_lsn: u64,
    /// The position that was last reported to the server.
    pub told_lsn: u64,
    /// When the store last had everything that the server had reported, epoch milliseconds, or 0 before.
    pub caught_up_ms: i64,
}

impl View {
    /// The bytes of the log between the store's position and the end.
    pub fn lag_bytes(&self) -> u64 {
        self.server_lsn.saturating_sub(self.committed_lsn)
    }

    /// The possible age of the oldest change that the store does not have, milliseconds. `arrival_ms` is when the last
    /// change in the store was committed at the server.
    pub fn lag_ms(&self, arrival_ms: i64, now_ms: i64) -> i64 {
        let since_ms = match (self.committed_lsn, self.caught_up_ms) {
            (committed_lsn, _) if committed_lsn >= self.server_lsn => now_ms,
            (_, 0) if arrival_ms > 0 => arrival_ms,
            (_, 0) => now_ms,
            (_, caught_up_ms) => caught_up_ms,
        };
        now_ms.saturating_sub(since_ms).max(0)
    }

    /// All findings, both those that stop nova and those that do not.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let stops = match &self.state {
            State::Away(finding) | State::Unfit(finding) | State::Stopped(finding) => Some(finding),
            State::Starting | State::Snapshot(_) | State::Streaming | State::Closed => None,
        };
        stops.into_iter().chain(&self.warnings)
    }

    /// Takes the warnings of a check, and returns the new ones.
    pub(super) fn warn(&mut self, found: Vec<Finding>) -> Vec<Finding> {
        let found = found.into_iter().filter(|finding| finding.code.effect() == Effect::Warns);
        let before = std::mem::replace(&mut self.warnings, found.collect());
        let known = |finding: &&Finding| !before.iter().any(|other| other.code == finding.code);
        self.warnings.iter().filter(known).cloned().collect()
    }

    /// Why traffic should not come to this node, in words for a person. `None` if the stream is being read. A held
    /// partition reports its own reason.
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

/// The source's state for people and metrics.
#[derive(Debug)]
pub struct PostgresStatus {
    partition: TopicPartition,
    view: Mutex<View>,
    pub reconnects: AtomicU64,
    /// The number of sessions that were ended because nothing came, not even a keepalive.
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

    /// The only partition of the slot.
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
