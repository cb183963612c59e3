//! What whoever runs a server for tests does for its control routes.

use crate::event::{Id, Record};

use super::shapes::{ClockTold, Fault, PartitionCounted, Settled, SnapshotTold, TestLog};

/// Why what was asked for is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not fit how the server is, or what the caller said.
    #[error("{0}")]
    No(String),
    /// A snapshot that was never made.
    #[error("{0}")]
    NoSnapshot(String),
    /// It was not done in time.
    #[error("{0}")]
    Late(String),
}

/// What a server for tests does. Every call may block, and returns after its effect.
pub trait Testing: Send + Sync {
    /// The time, and who moves it.
    fn clock(&self) -> ClockTold;
    /// Moves the clock, epoch milliseconds; what is due until then is done.
    fn move_clock(&self, to_ms: i64) -> Result<(), Refused>;
    /// Everything that was accepted is applied and published.
    fn settle(&self) -> Result<Settled, Refused>;
    /// Sends records through the pipeline; what became of them, by partition.
    fn captures(&self, records: Vec<Record>) -> Result<Vec<PartitionCounted>, Refused>;
    /// Keeps the server as it is under a name.
    fn snapshot(&self, name: &str) -> Result<SnapshotTold, Refused>;
    /// Goes back to a snapshot, or to the beginning.
    fn reset(&self, name: Option<&str>) -> Result<SnapshotTold, Refused>;
    /// What happened behind a number, oldest first.
    fn log(&self, since: u64, limit: usize) -> TestLog;
    /// Puts faults in; those that are not named end.
    fn fault(&self, fault: &Fault) -> Result<(), Refused>;
    /// A page was served, at this time, epoch milliseconds. Does not block.
    fn page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: String);
    /// How far the source is said to be behind, milliseconds. Does not block.
    fn behind_ms(&self) -> i64;
}
