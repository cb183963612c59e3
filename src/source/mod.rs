//! The sources from which nova gets records: captures, Kafka, PostgreSQL and the local log. The ingest thread owns each
//! source and polls it.

pub mod bell;
pub mod both;
pub mod capture;
pub mod connect;
pub mod handed;
pub mod kafka;
pub mod local;
pub mod postgres;

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Record, TopicPartition};

use self::bell::Bell;

/// The limits of one poll of a source.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    pub max_records: usize,
    pub max_bytes: usize,
    /// How long a poll waits for its first record.
    pub wait: Duration,
}

impl Default for PollLimits {
    fn default() -> PollLimits {
        PollLimits { max_records: 4_096, max_bytes: 8 << 20, wait: Duration::from_millis(20) }
    }
}

/// The result of a poll of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    Records,
    /// No record came while the poll waited.
    Idle,
    /// The source has no more records, like a capture that was read to its end.
    End,
}

/// Why a source cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error(
        "cannot read {path} from line {line} on: {source}; what stands before is committed: repair the file and replay it again"
    )]
    Broken { path: String, line: i64, source: std::io::Error },
    #[error("Kafka: {0}")]
    Kafka(String),
    #[error("postgres: {0}")]
    Postgres(String),
    /// The consumer group has committed offsets of a store other than this node's store.
    #[error(
        "the consumer group {group} belongs to another store, {owner}: two stores would each get a part of the records. \
         If that node runs, set kafka.replica = true here, or another kafka.group_id; if its store is lost, start this \
         one with nova serve --new-store: it reads every topic from the beginning"
    )]
    Group { group: String, owner: String },
}

/// A partition whose log is not the log that the store has read. The partition is held until a person decides where it
/// continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub partition: TopicPartition,
    /// The reason for the fault, in words for a person.
    pub reason: String,
}

/// The present number of partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCount {
    pub topic: Arc<str>,
    pub partitions: u32,
}

/// A position in a form that only the source understands. The store keeps the cookie beside the offset, and never
/// interprets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub partition: TopicPartition,
    /// The offset from which on the position is valid. The store keeps the position as soon as it has consumed every
    /// record before the position's offset.
    pub offset: i64,
    /// The position as bytes, at most [`nova_storage::codec::COOKIE_MAX_BYTES`].
    pub bytes: Arc<[u8]>,
}

/// A stream of records in offset order within each partition. A source may deliver an offset again, and never leaves an
/// offset out.
pub trait Source: Send {
    /// Appends records to `out`, up to the limits of the poll.
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError>;

    /// Delivers no more records of a partition until [`Source::resume`].
    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError>;

    /// Delivers records of the partition again, from the offset `from` on.
    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError>;

    /// The ingest thread calls `idle` from time to time instead of [`Source::poll`] while no record may be consumed.
    fn idle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Returns the faults of partitions since the last call.
    fn take_faults(&mut self) -> Vec<Fault> {
        Vec::new()
    }

    /// Returns the counts of partitions that have changed since the last call. A count is returned before any record of
    /// a new partition.
    fn take_counts(&mut self) -> Vec<PartitionCount> {
        Vec::new()
    }

    /// Returns the newest positions for the records that were polled so far.
    fn take_cookies(&mut self) -> Vec<Cookie> {
        Vec::new()
    }

    /// nova calls `renumber` if the source's record at the offset before `next` is not the record that the store has
    /// read at this offset. A source that can number its records again gives `next` to its next record and returns
    /// true. If `renumber` returns true, the records that the source has delivered since its last position are void. If
    /// `renumber` returns false, nova holds the partition.
    fn renumber(&mut self, _partition: &TopicPartition, _next: i64) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Makes the source ring this bell from now on whenever it has records to poll, and returns true. A source that
    /// cannot ring a bell returns false.
    fn ring_at(&mut self, _bell: &Arc<Bell>) -> bool {
        false
    }
}

/// The facts about the store that a source may read.
pub trait Progress: Send + Sync {
    /// Returns the next offset of a partition as of the last commit. Returns `None` for a partition that the store has
    /// never seen.
    fn next_offset(&self, partition: &TopicPartition) -> Option<i64>;

    /// Whether the store has a digest of the record before the next offset, so that nova can compare the source's
    /// record with the digest. After a seek the store has no digest of this record, and reading begins exactly at the
    /// next offset.
    fn knows_last(&self, partition: &TopicPartition) -> bool;

    /// Returns the source's own position as of the last commit. Returns `None` if the store has no position for the
    /// partition.
    fn cookie(&self, partition: &TopicPartition) -> Option<Arc<[u8]>>;

    /// Blocks until every record that was handed over before the call is committed. Returns false if the timeout passes
    /// before everything is committed.
    fn drain(&self, timeout: Duration) -> bool;

    /// Returns the number of records that were handed over so far.
    fn handed_over(&self) -> u64;

    /// Whether the first `handed_over` records, in the order of their hand-over, were settled.
    fn is_settled(&self, handed_over: u64) -> bool;
}
