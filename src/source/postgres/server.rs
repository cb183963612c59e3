//! What the follower needs of a PostgreSQL server: the seam between what nova decides and how it is asked. `net` asks a real
//! server; tests put a double in its place, with a clock of its own.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Relation;

use super::finding::{Code, Finding};
use super::slot::{Published, Seen};

/// A server, connected or to be connected when it is asked.
pub trait Server {
    type Clock: Clock;
    type Stream: Stream;
    type Copy: Copy;

    fn clock(&self) -> Self::Clock;

    /// What is there: the server, the slot, the publication, and the tables around it.
    fn look(&mut self) -> impl Future<Output = Result<Seen, Failure>>;

    /// The end of a timeline in the history of a later one: where that one branched off it, or off an earlier one.
    /// `None` where the history does not name it.
    fn branched_at(&mut self, timeline: u32, of: u32) -> impl Future<Output = Result<Option<u64>, Failure>>;

    fn drop_slot(&mut self) -> impl Future<Output = Result<(), Failure>>;

    /// Makes a slot, and opens the snapshot that was exported with it for [`Server::copy`]. A temporary one is gone when
    /// the snapshot ends. A slot waits for every transaction that is open: `told` is called now and then with who they are.
    fn make_slot(&mut self, temporary: bool, told: impl Fn(String)) -> impl Future<Output = Result<Made, Failure>>;

    /// Every row of a table in the open snapshot, with the columns that are published.
    fn copy(&mut self, table: &Published) -> impl Future<Output = Result<Self::Copy, Failure>>;

    fn end_snapshot(&mut self) -> impl Future<Output = ()>;

    /// Begins to stream. `acknowledged` is what the store has; the slot is ours when this returns.
    fn start(&mut self, from: u64, acknowledged: u64) -> impl Future<Output = Result<Self::Stream, Failure>>;
}

/// Time as the follower sees it.
pub trait Clock: Clone {
    /// Since some moment of the past.
    fn elapsed(&self) -> Duration;

    /// Epoch milliseconds.
    fn now_ms(&self) -> i64;

    fn sleep(&self, wait: Duration) -> impl Future<Output = ()>;
}

/// The replication stream of a slot.
pub trait Stream {
    /// The next event. Dropping the future loses none.
    fn next(&mut self) -> impl Future<Output = Result<Event, Failure>>;

    /// The next event, where it is here already.
    fn next_at_once(&mut self) -> Option<Result<Event, Failure>>;

    /// Everything before this LSN is durable here: told to the server soon.
    fn acknowledge(&mut self, lsn: u64);

    /// What the server was told last.
    fn told(&self) -> u64;

    fn close(self) -> impl Future<Output = ()>;
}

/// The rows of a table.
pub trait Copy {
    fn columns(&self) -> &Relation;

    /// The next bytes of COPY's text format; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>>;
}

/// What the stream tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin {
        /// LSN of the commit.
        commit_lsn: u64,
        commit_us: i64,
    },
    /// Any other message of pgoutput than Begin, Commit and Message.
    Change {
        lsn: u64,
        message: Bytes,
    },
    Commit {
        lsn: u64,
        end_lsn: u64,
    },
    /// `pg_logical_emit_message`.
    Message {
        lsn: u64,
        content: Bytes,
    },
    /// The server has sent everything before this LSN.
    KeepAlive {
        wal_end: u64,
    },
}

/// A slot that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The stream has every transaction that commits after this; the snapshot has the others.
    pub consistent_lsn: u64,
    /// The server's time then, epoch microseconds.
    pub at_us: i64,
}

/// Why something cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server cannot be reached, or the connection broke.
    #[error("{0}")]
    Away(String),
    /// The server refused; its SQLSTATE where it told one.
    #[error("{text}")]
    Refused { code: String, text: String },
    /// Something is to be corrected first.
    #[error("{0}")]
    Wrong(String),
    /// The same, of the kinds that have a code.
    #[error("{0}")]
    Found(Box<Finding>),
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Failure {
        Failure::Found(Box::new(finding))
    }
}

impl Failure {
    /// Whether the server said that the slot is used by another session (55006).
    pub fn is_in_use(&self) -> bool {
        matches!(self, Failure::Refused { code, .. } if code == "55006")
    }

    /// With its code, as people are told.
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
