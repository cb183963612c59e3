//! The operations behind the control routes of a server for tests.

use crate::event::{Id, Record};

use super::shapes::{ClockTold, Fault, PartitionCounted, Settled, SnapshotTold, TestLog};

/// The reason why the server for tests did not carry out a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request does not fit the state of the server, or is wrong.
    #[error("{0}")]
    No(String),
    /// The server has no snapshot with the requested name.
    #[error("{0}")]
    NoSnapshot(String),
    /// The server did not carry out the request in time.
    #[error("{0}")]
    Late(String),
}

/// The operations of a server for tests. Every call may block, and returns after its effect is complete.
pub trait Testing: Send + Sync {
    /// The time of the server's clock, and whether a test or the system moves the clock.
    fn clock(&self) -> ClockTold;
    /// Moves the clock to a time in epoch milliseconds, and runs every job that is due until this time.
    fn move_clock(&self, to_ms: i64) -> Result<(), Refused>;
    /// Waits until the server has applied and published every accepted record.
    fn settle(&self) -> Result<Settled, Refused>;
    /// Sends records through the pipeline, and returns their outcomes by partition.
    fn captures(&self, records: Vec<Record>) -> Result<Vec<PartitionCounted>, Refused>;
    /// Keeps the state of the server under a name.
    fn snapshot(&self, name: &str) -> Result<SnapshotTold, Refused>;
    /// Restores a snapshot, or the initial state of the server.
    fn reset(&self, name: Option<&str>) -> Result<SnapshotTold, Refused>;
    /// The entries of the log from the number `since` on, oldest first.
    fn log(&self, since: u64, limit: usize) -> TestLog;
    /// Sets the named faults, and ends all faults that are not named.
    fn fault(&self, fault: &Fault) -> Result<(), Refused>;
    /// Notes, without blocking, that the server served a page at the time `at_ms`, in epoch milliseconds.
    fn page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: String);
    /// The pretended delay of the source, in milliseconds. The call of `behind_ms` does not block.
    fn behind_ms(&self) -> i64;
}
