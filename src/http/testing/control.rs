//! The operations behind the control routes of a server for tests.

use crate::event::{Id, Record};

use super::shapes::{ClockTold, Fault, PartitionCounted, Settled, SnapshotTold, TestLog};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request does not fit the state of the server, or is wrong.
    #[error("{0}")]
    No(String),
    /// A snapshot that was never made.
    #[error("{0}")]
    NoSnapshot(String),
    /// The request was not carried out in time.
    #[error("{0}")]
    Late(String),
}

/// The operations of a server for tests. Every call may block, and returns after its effect.
pub trait Testing: Send + Sync {
    /// The time, and whether tests or the system move it.
    fn clock(&self) -> ClockTold;
    /// Moves the clock to a time in epoch milliseconds, and does everything that is due until then.
    fn move_clock(&self, to_ms: i64) -> Result<(), Refused>;
    /// Waits until everything that was accepted is applied and published.
    fn settle(&self) -> Result<Settled, Refused>;
    /// Sends records through the pipeline. Returns their outcomes by partition.
    fn captures(&self, records: Vec<Record>) -> Result<Vec<PartitionCounted>, Refused>;
    /// Keeps the state of the server under a name.
    fn snapshot(&self, name: &str) -> Result<SnapshotTold, Refused>;
    /// Restores a snapshot, or the beginning.
    fn reset(&self, name: Option<&str>) -> Result<SnapshotTold, Refused>;
    /// The log from the number `since` on, oldest first.
    fn log(&self, since: u64, limit: usize) -> TestLog;
    /// Sets faults. Faults that are not named end.
    fn fault(&self, fault: &Fault) -> Result<(), Refused>;
    /// Notes that a page was served at this time, epoch milliseconds. The call does not block.
    fn page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: String);
    /// The pretended delay of the source, milliseconds. The call does not block.
    fn behind_ms(&self) -> i64;
}
