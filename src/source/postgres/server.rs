//! The interface of a PostgreSQL server for the follower. It separates nova's decisions from the requests to the
//! server. `net` implements it for a real server, and tests use a double with its own clock.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Relation;

use super::finding::{Code, Finding};
use super::slot::{Published, Seen};

/// A server that is connected, or connects when it is asked.
pub trait Server {
    type Clock: Clock;
    type Stream: Stream;
    type Copy: Copy;

    fn clock(&self) -> Self::Clock;

    /// The state of the server, the slot, the publication, and the tables around it.
    fn look(&mut self) -> impl Future<Output = Result<Seen, Failure>>;

    /// The end of a timeline in the history of a later one: the LSN at which the later one branched off. `None` if the
    /// history does not have the timeline.
    fn branched_at(&mut self, timeline: u32, of: u32) -> impl Future<Output = Result<Option<u64>, Failure>>;

    fn drop_slot(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// Makes a slot, and opens the snapshot that was exported with it for [`Server::copy`]. A temporary slot disappears
    /// when the snapshot ends. A slot waits for every open transaction: `told` is called at intervals with a
    /// description of them.
    fn make_slot(&mut self, temporary: bool, told: impl Fn(String)) -> impl Future<Output = Result<Made, Failure>>;

    /// Every row of a table in the open snapshot, with the published columns.
    fn copy(&mut self, table: &Published) -> impl Future<Output = Result<Self::Copy, Failure>>;

    fn end_snapshot(&mut self) -> impl Future<Output = ()>;

    /// Begins to stream. `acknowledged` is the store's position. When this returns, this session has the slot.
    fn start(&mut self, from: u64, acknowledged: u64) -> impl Future<Output = Result<Self::Stream, Failure>>;
}

/// The time for the follower.
pub trait Clock: Clone {
    /// The time since some moment of the past.
    fn elapsed(&self) -> Duration;

    /// The time in epoch milliseconds.
    fn now_ms(&self) -> i64;

    fn sleep(&self, wait: Duration) -> impl Future<Output = ()>;
}

/// The replication stream of a slot.
pub trait Stream {
    /// The next event. Dropping the future loses no event.
    fn next(&mut self) -> impl Future<Output = Result<Event, Failure>>;

    /// The next event, if it is already here.
    fn next_at_once(&mut self) -> Option<Result<Event, Failure>>;

    /// Everything before this LSN is durable in the store. The server learns of the LSN soon.
    fn acknowledge(&mut self, lsn: u64);

    /// The LSN that was last reported to the server.
    fn told(&self) -> u64;

    fn close(self) -> impl Future<Output = ()>;
}

/// The rows of a table.
pub trait Copy {
    fn columns(&self) -> &Relation;

    /// The next bytes of COPY's text format. `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>>;
}

/// An event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin {
        /// The LSN of the commit.
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
    /// A message of `pg_logical_emit_message`.
    Message {
        lsn: u64,
        content: Bytes,
    },
    /// A keepalive: the server has sent everything before this LSN.
    KeepAlive {
        wal_end: u64,
    },
}

/// A slot that has been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The stream has every transaction that commits after this LSN, and the snapshot has the others.
    pub consistent_lsn: u64,
    /// The server's time at that moment, epoch microseconds.
    pub at_us: i64,
}

/// Why an operation is impossible now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server cannot be reached, or the connection broke.
    #[error("{0}")]
    Away(String),
    /// The server refused, with its SQLSTATE if it sent one.
    #[error("{text}")]
    Refused { code: String, text: String },
    /// A problem without a code must be corrected first.
    #[error("{0}")]
    Wrong(String),
    /// A problem with a code must be corrected first.
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

    /// The failure as a finding with its code, for people.
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
