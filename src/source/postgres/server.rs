//! The interface between the follower and a PostgreSQL server. The interface separates nova's decisions from the
//! requests to the server. `net` implements the interface for a real server, and tests use a double with its own clock.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Relation;

use super::finding::{Code, Finding};
use super::slot::{Published, Seen};

/// A PostgreSQL server that is connected, or that connects when it is asked.
pub trait Server {
    type Clock: Clock;
    type Stream: Stream;
    type Copy: Copy;

    fn clock(&self) -> Self::Clock;

    /// Returns the state of the server, the slot, the publication, and the tables around the publication.
    fn look(&mut self) -> impl Future<Output = Result<Seen, Failure>>;

    /// Returns the LSN at which the later timeline `of` branched off from `timeline`. Returns `None` if the history of
    /// the later timeline does not contain the earlier timeline.
    fn branched_at(&mut self, timeline: u32, of: u32) -> impl Future<Output = Result<Option<u64>, Failure>>;

    fn drop_slot(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// Makes a slot, and opens the snapshot that the server exports with the slot. [`Server::copy`] reads from this
    /// snapshot. A temporary slot disappears when its snapshot ends. The server makes the slot only after all open
    /// transactions have ended. Until then, `told` is called at intervals with a description of these transactions.
    fn make_slot(&mut self, temporary: bool, told: impl Fn(String)) -> impl Future<Output = Result<Made, Failure>>;

    /// Returns every row of a table in the open snapshot, with the published columns.
    fn copy(&mut self, table: &Published) -> impl Future<Output = Result<Self::Copy, Failure>>;

    fn end_snapshot(&mut self) -> impl Future<Output = ()>;

    /// Begins to stream from the LSN `from`. `acknowledged` is the LSN of the store's position. When the call returns,
    /// no other session can use the slot.
    fn start(&mut self, from: u64, acknowledged: u64) -> impl Future<Output = Result<Self::Stream, Failure>>;
}

/// The clock of the follower.
pub trait Clock: Clone {
    /// Returns the time since a fixed moment in the past.
    fn elapsed(&self) -> Duration;

    /// Returns the wall time in epoch milliseconds.
    fn now_ms(&self) -> i64;

    fn sleep(&self, wait: Duration) -> impl Future<Output = ()>;
}

/// The replication stream of a slot.
pub trait Stream {
    /// Returns the next event of the replication stream. Dropping the returned future loses no event.
    fn next(&mut self) -> impl Future<Output = Result<Event, Failure>>;

    /// Returns the next event of the replication stream, or `None` if it has not arrived.
    fn next_at_once(&mut self) -> Option<Result<Event, Failure>>;

    /// Notes that everything before the LSN `lsn` is durable in the store. The stream reports the acknowledged LSN to
    /// the server soon.
    fn acknowledge(&mut self, lsn: u64);

    /// Returns the LSN that was last reported to the server.
    fn told(&self) -> u64;

    fn close(self) -> impl Future<Output = ()>;
}

/// The rows of a table that is being copied.
pub trait Copy {
    fn columns(&self) -> &Relation;

    /// Returns the next bytes in the text format of COPY. Returns `None` after the last bytes of the table.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>>;
}

/// An event of the replication stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin {
        /// The LSN of the transaction's commit.
        commit_lsn: u64,
        commit_us: i64,
    },
    /// Any message of pgoutput except Begin, Commit and Message.
    Change {
        lsn: u64,
        message: Bytes,
    },
    Commit {
        lsn: u64,
        end_lsn: u64,
    },
    /// A logical message, which somebody sent with `pg_logical_emit_message`.
    Message {
        lsn: u64,
        content: Bytes,
    },
    /// A keepalive message, which says that the server has sent everything before `wal_end`.
    KeepAlive {
        wal_end: u64,
    },
}

/// A replication slot that has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The LSN at which the slot begins: the stream has every transaction that commits after this LSN, and the snapshot
    /// has all earlier transactions.
    pub consistent_lsn: u64,
    /// The server's time when the slot was made, in epoch microseconds.
    pub at_us: i64,
}

/// Why an operation on the server is impossible now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server cannot be reached, or the connection broke.
    #[error("{0}")]
    Away(String),
    /// The server refused the operation, with the SQLSTATE if it sent one.
    #[error("{text}")]
    Refused { code: String, text: String },
    /// A person must first correct a problem that has no code.
    #[error("{0}")]
    Wrong(String),
    /// A person must first correct a problem that has a code.
    #[error("{0}")]
    Found(Box<Finding>),
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Failure {
        Failure::Found(Box::new(finding))
    }
}

impl Failure {
    /// Whether the server said that another session uses the slot (55006).
    pub fn is_in_use(&self) -> bool {
        matches!(self, Failure::Refused { code, .. } if code == "55006")
    }

    /// Returns the failure as a finding with its code, for people.
    pub fn finding(&self) -> Finding {
        match self {
            Failure::Found(finding) => (**finding).clone(),
            failure if failure.is_in_use() => {
                let remedy = "Stop the other reader, or give nova a slot of its own: postgres.slot. A session of nova's own \
                              that broke ends by itself within a minute";
                Finding::new(Code::SlotInUse, failure.to_string(), remedy)
            }
            Failure::Away(text) => {
                let remedy = "Start the server, or correct host and port in postgres.url; nova tries again";
                Finding::new(Code::Unreachable, text.as_str(), remedy)
            }
            Failure::Refused { text, .. } | Failure::Wrong(text) => Finding::new(
                Code::Refused,
                text.as_str(),
                "Correct that at the server, or postgres.url; nova tries again",
            ),
        }
    }
}
