//! Two sources in one node: changes from PostgreSQL, and client events from the local log or from Kafka. Each of the
//! two sources has its own partitions, positions and counts, but ingest sees a single source.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::monotonic_now;
use crate::event::{Record, TopicPartition};

use super::bell::Bell;
use super::{Cookie, Fault, PartitionCount, PollLimits, Polled, Source, SourceError};

/// How often a source that cannot ring the bell is polled while no source has records.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// One source that combines two sources for ingest.
pub struct Both {
    changes: Box<dyn Source>,
    /// The only partition of the source `changes`. All other partitions belong to the source `events`.
    partition: TopicPartition,
    events: Box<dyn Source>,
    bell: Arc<Bell>,
    /// The longest wait for the bell, after which both sources are polled.
    look_every: Duration,
}

impl Both {
    pub fn new(mut changes: Box<dyn Source>, partition: TopicPartition, mut events: Box<dyn Source>) -> Both {
        let bell = Arc::<Bell>::default();
        let rings = changes.ring_at(&bell) & events.ring_at(&bell);
        let look_every = if rings { Duration::MAX } else { LOOK_EVERY };
        Both { changes, partition, events, bell, look_every }
    }

    fn of(&mut self, partition: &TopicPartition) -> &mut dyn Source {
        if *partition == self.partition { &mut *self.changes } else { &mut *self.events }
    }
}

impl Source for Both {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        let half = PollLimits { max_records: limits.max_records / 2, wait: Duration::ZERO, ..*limits };
        let deadline = monotonic_now() + limits.wait;
        loop {
            let polled = [self.changes.poll(&half, out)?, self.events.poll(&half, out)?];
            if out.len() > before {
                return Ok(Polled::Records);
            }
            let left = deadline.saturating_duration_since(monotonic_now());
            match polled {
                [Polled::End, Polled::End] => return Ok(Polled::End),
                _ if left.is_zero() => return Ok(Polled::Idle),
                _ => self.bell.wait(left.min(self.look_every)),
            }
        }
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        self.of(partition).pause(partition)
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.of(partition).resume(partition, from)
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.changes.idle()?;
        self.events.idle()
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        let mut faults = self.changes.take_faults();
        faults.append(&mut self.events.take_faults());
        faults
    }

    fn take_counts(&mut self) -> Vec<PartitionCount> {
        let mut counts = self.changes.take_counts();
        counts.append(&mut self.events.take_counts());
        counts
    }

    fn take_cookies(&mut self) -> Vec<Cookie> {
        let mut cookies = self.changes.take_cookies();
        cookies.append(&mut self.events.take_cookies());
        cookies
    }

    fn renumber(&mut self, partition: &TopicPartition, next: i64) -> Result<bool, SourceError> {
        self.of(partition).renumber(partition, next)
    }
}
