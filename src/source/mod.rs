//! The sources of records. The ingest thread owns each source and polls it.

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

/// The limits of one poll.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    pub max_records: usize,
    pub max_bytes: usize,
    /// The longest wait for the first record.
    pub wait: Duration,
}

impl Default for PollLimits {
    fn default() -> PollLimits {
        PollLimits { max_records: 4_096, max_bytes: 8 << 20, wait: Duration::from_millis(20) }
    }
}

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    Records,
    /// Nothing came within the wait.
    Idle,
    /// The source has ended, as captures do.
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
    /// The consumer group has the offsets of another store.
    #[error(
        "the consumer group {group} belongs to another store, {owner}: two stores would each get a part of the records. \
         If that node runs, set kafka.replica = true here, or another kafka.group_id; if its store is lost, start this \
         one with nova serve --new-store: it reads every topic from the beginning"
    )]
    Group { group: String, owner: String },
}

/// A partition whose log is not the one that the store has read. It is held until a person decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub partition: TopicPartition,
    /// The reason in words for a person.
    pub reason: String,
}

/// The present number of a topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCount {
    pub topic: Arc<str>,
    pub partitions: u32,
}

/// A position in a source's own form. The store keeps it beside the offset and never reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub partition: TopicPartition,
    /// The position is valid from this next offset on. It is stored when every record before was consumed.
    pub offset: i64,
    /// The bytes, at most [`nova_storage::codec::COOKIE_MAX_BYTES`].
    pub bytes: Arc<[u8]>,
}

/// A stream of records in offset order within each partition. It may deliver an offset again, and never leaves one out.
pub trait Source: Send {
    /// Appends records to `out`, up to the limits.
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError>;

    /// Delivers no more records of a partition until [`Source::resume`].
    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError>;

    /// Delivers the partition again, from this offset.
    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError>;

    /// Is called instead of [`Source::poll`], from time to time, while nothing may be consumed.
    fn idle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// The faults of partitions since the last call.
    fn take_faults(&mut self) -> Vec<Fault> {
        Vec::new()
    }

    /// The counts of partitions since the last call. The counts come before any record of a new partition.
    fn take_counts(&mut self) -> Vec<PartitionCount> {
        Vec::new()
    }

    /// The newest positions for the records that were polled so far.
    fn take_cookies(&mut self) -> Vec<Cookie> {
        Vec::new()
    }

    /// Is called if another record is at the place of a record that the store has read, at the offset before `next`. A
    /// source that can do so numbers its next deliveries from `next` on and returns true. Records that it has delivered
    /// since its last position are then void. Otherwise the partition is held.
    fn renumber(&mut self, _partition: &TopicPartition, _next: i64) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Rings this bell from now on when there is something to poll, and returns true. A source that cannot do so
    /// returns false.
    fn ring_at(&mut self, _bell: &Arc<Bell>) -> bool {
        false
    }
}

/// The facts about the store that a source may read.
pub trait Progress: Send + Sync {
    /// The next offset after the last commit. `None` for a partition that was never seen.
    fn next_offset(&self, partition: &TopicPartition) -> Option<i64>;

    /// Whether the record before the next offset can be compared with another. After a seek it cannot, and reading
    /// begins exactly at the next offset.
    fn knows_last(&self, partition: &TopicPartition) -> bool;

    /// The source's own position as of the last commit. `None` if the store has none.
    fn cookie(&self, partition: &TopicPartition) -> Option<Arc<[u8]>>;

    /// Blocks until everything handed over before this call is committed. Returns false after a timeout.
    fn drain(&self, timeout: Duration) -> bool;

    /// The number of records handed over so far.
    fn handed_over(&self) -> u64;

    /// Whether this many records, in the order of their hand-over, were settled.
    fn is_settled(&self, handed_over: u64) -> bool;
}
