//! The commands that people and the HTTP edge give to the writer. The writer executes each command in the present
//! commit, and answers the command after that commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Outcome, Table, Tables, TopicPartition};
use crate::pipeline::decided::Decision;
use crate::pipeline::halt::Halt;

/// A function to which the writer gives the answer of a command after the commit.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A command for the writer.
pub enum Command {
    /// Changes the table of decisions and answers (`edge`), and writes an entry of the audit log if one is needed.
    Edge { entries: Vec<EdgeEntry>, audit: Option<Audit>, reply: Reply<()> },
    /// Decodes dead letters again and applies them. Dead letters that succeed are removed in the same commit.
    ReplayDead {
        ids: Vec<u64>,
        actor: String,
        /// If `force` is set, nova also applies events from before the dedup horizon. A forced replay leaves out the
        /// letters in the set, because ClickHouse already has their events (`pipeline/sent.rs`).
        force: Option<BTreeSet<u64>>,
        reply: Reply<Vec<(u64, Result<Replayed, CommandError>)>>,
    },
    /// Reports, for each of the given dead letters, what a replay of only this letter would do. A trial changes nothing
    /// and commits nothing.
    TryDead {
        ids: Vec<u64>,
        /// The dead letters that a forced replay leaves out, as in `ReplayDead`.
        force: Option<BTreeSet<u64>>,
        reply: Reply<Vec<(u64, Result<Tried, CommandError>)>>,
    },
    /// Removes a dead letter for ever.
    DiscardDead { id: u64, actor: String, reason: String, reply: Reply<Result<(), CommandError>> },
    /// Halts a table until it is resumed.
    Pause { table: Table, actor: String, reply: Reply<()> },
    /// Lets a halted table continue. `truncate` decides what becomes of the truncate that halted the table.
    Resume { table: Table, truncate: Option<Decision>, actor: String, reply: Reply<Result<(), CommandError>> },
    /// Moves a partition to a new offset, which is between 0 and [`SEEK_MAX`]. nova skips the records between the old
    /// and the new offset, or reads them a second time.
    Seek { partition: TopicPartition, next: i64, actor: String, reply: Reply<Result<(), CommandError>> },
    /// Lets nova read tables again from PostgreSQL directly. If all tables are read again, nova makes a new replication
    /// slot.
    Resnapshot { partition: TopicPartition, tables: Tables, actor: String, reply: Reply<()> },
    /// Raises the table's epoch after `lsn_regression`, and lets the table continue.
    BumpEpoch { table: Table, actor: String, reply: Reply<u16> },
    /// nova has read the source to its end after a rebuild, so ClickHouse gets deletes for some of the rows that were
    /// not read again. The answer is the number of rows that the next command of this kind must check.
    EndRebuild { reply: Reply<u64> },
    /// nova has read the source to its end after a first snapshot that the connector took twice. The answer is the
    /// number of rows that nova has deleted.
    EndFirstSnapshot { reply: Reply<u64> },
}

impl Command {
    /// Whether the command may change the store.
    pub(super) fn changes(&self) -> bool {
        !matches!(self, Command::TryDead { .. })
    }
}

/// One entry of the table of decisions and answers (`edge`).
#[derive(Clone, Debug)]
pub struct EdgeEntry {
    pub kind: &'static str,
    pub name: Vec<u8>,
    /// The new value of the entry, or `None` to remove the entry.
    pub value: Option<Vec<u8>>,
}

/// An entry for the audit log.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    pub actor: String,
    pub action: &'static str,
    pub subject: String,
    pub detail: String,
}

/// The outcome of a replayed dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The dead letter has left the queue.
    Gone(Outcome),
    /// nova still cannot apply the dead letter. nova has counted the letter's attempts.
    StillDead,
}

/// The outcome that a dead letter would have if it were the only replayed letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The outcome with which the letter would leave the queue, or `None` if it would stay in the queue.
    pub outcome: Option<Outcome>,
    /// The reason for the outcome, in words.
    pub why: String,
}

/// The reason for which the writer refused a command. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no dead letter {0}; nova dlq list shows those that wait")]
    NoSuchLetter(u64),
    #[error("dead letter {id} was cut to {kept} of {whole} bytes when it was stored: it can only be discarded")]
    Cut { id: u64, kept: usize, whole: u64 },
    #[error(
        "dead letter {0} is a row that ClickHouse refused: repair the table and produce the row again, or discard it"
    )]
    NotARecord(u64),
    #[error(
        "dead letter {0} is a line of a capture and no record: repair the capture and replay it into another --data, or \
         discard the letter"
    )]
    NotALine(u64),
    #[error(
        "dead letter {0} came from the topic {1}, which this configuration does not follow: set kafka.topic_prefix and \
         kafka.events_topic to what they were"
    )]
    NotFollowed(u64, String),
    #[error(
        "dead letter {0} is an event from before the dedup horizon: whether it was applied meanwhile is not known any \
         more; --force looks for its id in post_events, and replays it if ClickHouse has none"
    )]
    BeyondHorizon(u64),
    #[error("dead letter {0} is an event that post_events has already: discard it")]
    Sent(u64),
    #[error(
        "dead letter {0} truncates {1}, and is not replayed, because it is not known any more which rows came after it: \
         read {1} again (PostgreSQL directly: nova cdc resnapshot {1}; Kafka: nova cdc seek to the letter's offset, or \
         nova rebuild), and discard the letter"
    )]
    Truncates(u64, Table),
    #[error("table {0} would halt again: {1}")]
    Halted(Table, Box<Halt>),
    #[error("{0} is none of the topics that nova reads: kafka.topic_prefix and kafka.events_topic say which those are")]
    NoSuchPartition(TopicPartition),
    #[error("{0} is not halted")]
    NotHalted(Table),
    #[error("{0} cannot be resumed: {1}")]
    NoOrder(Table, Box<Halt>),
    #[error("a truncate halted {0}: say what becomes of its rows: truncate apply, or ignore")]
    Undecided(Table),
    #[error("truncate: no truncate halted {0}, so there is none to decide on; go on without it. It halted for: {1}")]
    NoTruncate(Table, Box<Halt>),
    #[error(
        "partition: {0} is none: the numbers of a topic's partitions begin at 0 (nova cdc seek TOPIC PARTITION OFFSET)"
    )]
    Partition(i32),
    #[error("partition: {partition} is not there: {topic} has {found}, whose numbers are 0 to {}", .found - 1)]
    PartitionBeyond { topic: Arc<str>, partition: i32, found: u32 },
    #[error("offset: {0} is none: give one from 0 to {SEEK_MAX}, the first that shall be read")]
    Offset(i64),
    #[error(
        "offset: {next} is behind the end of the local log, which is never read again: what it took is committed. Give {end} or more"
    )]
    LocalOffset { next: i64, end: i64 },
}

/// The highest offset to which a person can move a partition. The version of a row has 48 bits for the offset.
pub const SEEK_MAX: i64 = (1 << 48) - 1;
