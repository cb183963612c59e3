//! The state of the PostgreSQL source for people and metrics. The session's thread writes the state, and readers hold
//! the lock only while they copy the state.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::event::TopicPartition;

use super::finding::{Effect, Finding};
use super::slot::Seen;

/// The state of the PostgreSQL source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The source has not tried to connect yet.
    #[default]
    Starting,
    /// The server cannot be reached, or refuses the connection. In the state `Away`, nova tries to connect again.
    Away(Finding),
    /// A person must correct a problem of the server. In the state `Unfit`, nova checks the server again at intervals.
    Unfit(Finding),
    /// The source is reading a snapshot of tables.
    Snapshot(Snapshot),
    /// The source is reading the stream of the slot.
    Streaming,
    /// A person must decide how the source continues.
    Stopped(Finding),
    /// The source has ended, because the process ends.
    Closed,
}

impl State {
    /// Returns the name of the state in metrics and answers.
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
    /// The table that the snapshot is reading. The name of the table is empty before the first table is read.
    pub table: &'static str,
    pub rows: u64,
    /// The number of rows of all tables, as the server's statistics estimate it, or 0 without statistics.
    pub estimated_rows: u64,
    /// The rows per second since the first row was read.
    pub rows_per_s: u64,
    /// The estimated time that the snapshot still takes, in seconds. The remaining time is `None` before the first row
    /// was read.
    pub left_s: Option<u64>,
    /// The transactions that keep the snapshot from beginning, in words.
    pub blocked: String,
}

/// What is known about the PostgreSQL source at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The state of the PostgreSQL server at the last check.
    pub seen: Seen,
    /// The findings of the last check that do not stop nova.
    pub warnings: Vec<Finding>,
    /// The end of the server's log, as far as the server has reported it.
    pub server_lsn: u64,
    /// The end of the log that the stream has brought, or 0 before the first stream.
    pub received_lsn: u64,
    /// The position up to which the store has every change, or 0 before the first position.
    pub committed_lsn: u64,
    /// The position that was last reported to the server.
    pub told_lsn: u64,
    /// The last time at which the store had everything that the server had reported, in epoch milliseconds, or 0 if the
    /// store never had everything.
    pub caught_up_ms: i64,
}

impl View {
    /// Returns the number of bytes of the server's log after the store's position.
    pub fn lag_bytes(&self) -> u64 {
        self.server_lsn.saturating_sub(self.committed_lsn)
    }

    /// Returns the largest possible age of the oldest change that the store does not have, in milliseconds.
    /// `arrival_ms` is the time at which the server committed the last change that the store has.
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

    /// Takes the warnings of a check, and returns those that the previous check did not have.
    pub(super) fn warn(&mut self, found: Vec<Finding>) -> Vec<Finding> {
        let found = found.into_iter().filter(|finding| finding.code.effect() == Effect::Warns);
        let before = std::mem::replace(&mut self.warnings, found.collect());
        let known = |finding: &&Finding| !before.iter().any(|other| other.code == finding.code);
        self.warnings.iter().filter(known).cloned().collect()
    }

    /// Returns why this node should get no traffic, in words for a person. Returns `None` if the stream is being read.
    /// The reason of a held partition is reported separately.
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            State::Starting => Some("postgres: not connected yet".to_owned()),
            // `nova postgres status` says more about an unreachable server than the finding does.
            State::Away(finding) => Some(format!("postgres: {finding}; nova postgres status")),
            State::Unfit(finding) | State::Stopped(finding) => Some(format!("postgres: {finding}")),
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

/// The shared state of the PostgreSQL source for people and metrics.
#[derive(Debug)]
pub struct PostgresStatus {
    partition: TopicPartition,
    view: Mutex<View>,
    pub reconnects: AtomicU64,
    /// The number of sessions that nova ended because the server sent nothing, not even a keepalive.
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

    /// Returns the only partition of the slot.
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
