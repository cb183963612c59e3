//! Where records come from. Each source is owned by the ingest thread and polled by it.

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

/// How much one poll may bring.
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

/// What a poll brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    Records,
    /// Nothing within the wait.
    Idle,
    /// The source is finished: captures end.
    End,
}

/// Why a source cannot go on.
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
    /// Another store's offsets are in our consumer group.
    #[error(
        "the consumer group {group} belongs to another store, {owner}: two stores would each get a part of the records. \
         If that node runs, set kafka.replica = true here, or another kafka.group_id; if its store is lost, start this \
         one with nova serve --new-store: it reads every topic from the beginning"
    )]
    Group { group: String, owner: String },
}

/// A partition whose log is not the one that the store has read: it is held until a person decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub partition: TopicPartition,
    /// In words for that person.
    pub reason: String,
}

/// How many partitions a topic has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCount {
    pub topic: Arc<str>,
    pub partitions: u32,
}

/// A position in a source's own terms, which the store keeps beside the offset and never reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub partition: TopicPartition,
    /// It holds from this next offset on: it is stored when every record before that was consumed.
    pub offset: i64,
    /// At most [`nova_storage::codec::COOKIE_MAX_BYTES`].
    pub bytes: Arc<[u8]>,
}

/// A stream of records in offset order within each partition. May deliver an offset again; never leaves one out.
pub trait Source: Send {
    /// Appends records to `out`, up to the limits.
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError>;

    /// Delivers no more of a partition until [`Source::resume`].
    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError>;

    /// Delivers the partition again, from this offset.
    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError>;

    /// Called now and then instead of [`Source::poll`] while nothing may be consumed.
    fn idle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// What is wrong with partitions since the last call.
    fn take_faults(&mut self) -> Vec<Fault> {
        Vec::new()
    }

    /// What was counted since the last call, before any record of a partition that is new is polled.
    fn take_counts(&mut self) -> Vec<PartitionCount> {
        Vec::new()
    }

    /// The newest positions that belong to what was polled so far.
    fn take_cookies(&mut self) -> Vec<Cookie> {
        Vec::new()
    }

    /// Another record stands where the store has read one, at the offset before `next`. A source that can numbers what it
    /// delivers again from `next` on and says true; what it has delivered since its last position is void then. Else the
    /// partition is held.
    fn renumber(&mut self, _partition: &TopicPartition, _next: i64) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Rings this bell when there is something to poll, and says true; false of a source that cannot.
    fn ring_at(&mut self, _bell: &Arc<Bell>) -> bool {
        false
    }
}

/// What a source may know of the store.
pub trait Progress: Send + Sync {
    /// The next offset after the last commit; `None` for a partition that was never seen.
    fn next_offset(&self, partition: &TopicPartition) -> Option<i64>;

    /// Whether the record before the next offset can be told from another one. Not so after a seek: reading begins
    /// exactly at the next offset then.
    fn knows_last(&self, partition: &TopicPartition) -> bool;

    /// The source's own position as of the last commit; `None` where the store has none.
    fn cookie(&self, partition: &TopicPartition) -> Option<Arc<[u8]>>;

    /// Blocks until everything handed over before this call is committed; false on timeout.
    fn drain(&self, timeout: Duration) -> bool;

    /// How many records were handed over so far.
    fn handed_over(&self) -> u64;

    /// Whether so many records, in the order of their hand-over, were settled.
    fn is_settled(&self, handed_over: u64) -> bool;
}
