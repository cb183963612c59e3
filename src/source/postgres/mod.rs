//! PostgreSQL as a direct source: the logical replication stream of one slot becomes the only partition `pg.{slot}` 0.
//! The session with the server (`session`) has its own thread and runtime. On this thread the `follower` compares the
//! slot with the store's position (`slot`), reads a snapshot, streams, and acknowledges. The follower uses the
//! interface `server`, which `net` implements. The follower numbers the records (`numbering`) and hands them over
//! through a bounded `link`, and ingest polls this source like any other source. nova commits the `position` together
//! with the effects of the records before it, and never acknowledges a change that is after the store's position.

pub mod around;
pub mod finding;
pub mod fitness;
pub mod follower;
pub mod hazards;
pub mod link;
pub mod lsn;
pub mod net;
pub mod numbering;
pub mod position;
pub mod publication;
pub mod redefined;
pub mod server;
pub mod session;
pub mod setup;
pub mod slot;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Record, TopicPartition};

use super::bell::Bell;
use super::{Cookie, Fault, PollLimits, Polled, Source, SourceError};

use self::link::{Link, Order};

/// A source that delivers the records of a slot.
pub struct PostgresSource {
    link: Arc<Link>,
    partition: TopicPartition,
    cookie: Option<Cookie>,
}

impl PostgresSource {
    /// Makes a source for the records that a session puts into the link.
    pub fn new(link: Arc<Link>, slot: &str) -> PostgresSource {
        PostgresSource { link, partition: link::partition(slot), cookie: None }
    }
}

impl Source for PostgresSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let (before, mut bytes, mut wait) = (out.len(), 0, limits.wait);
        while out.len() - before < limits.max_records && bytes < limits.max_bytes {
            let Some(chunk) = self.link.pop(wait) else { break };
            wait = Duration::ZERO;
            bytes +=
                chunk.records.iter().map(|record| record.value.as_ref().map_or(0, bytes::Bytes::len)).sum::<usize>();
            out.extend(chunk.records);
            self.cookie = chunk.cookie.or(self.cookie.take());
        }
        if out.len() == before && self.cookie.is_none() && self.link.is_closed() {
            return Err(SourceError::Postgres("the session's thread ended unexpectedly".to_owned()));
        }
        Ok(if out.len() > before { Polled::Records } else { Polled::Idle })
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        if *partition == self.partition {
            self.link.pause();
        }
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        // The session delivers the records after the last position a second time. nova drops records that the store
        // already has, which it recognises by their offsets.
        if *partition == self.partition {
            self.cookie = None;
            self.link.restart(Order::Restart);
        }
        Ok(())
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        self.link.take_faults()
    }

    fn take_cookies(&mut self) -> Vec<Cookie> {
        self.cookie.take().into_iter().collect()
    }

    fn renumber(&mut self, partition: &TopicPartition, next: i64) -> Result<bool, SourceError> {
        let ours = *partition == self.partition;
        if ours {
            tracing::warn!(%partition, next, "what comes again is numbered otherwise than before: it is numbered on");
            self.cookie = None;
            self.link.restart(Order::Renumber { next });
        }
        Ok(ours)
    }

    fn ring_at(&mut self, bell: &Arc<Bell>) -> bool {
        self.link.ring_at(bell);
        true
    }
}
