//! A simulated Kafka as a source sees it: logs with gaps, a consumer that may get offsets again, and partitions that
//! come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nova::event::{Record, TopicPartition};
use nova::pipeline::progress::Shared;
use nova::source::local::LocalSource;
use nova::source::{PollLimits, Polled, Progress as _, Source, SourceError};
use parking_lot::Mutex;

use crate::support::events::Rng;

/// What the coordinator of the group reports to the consumer at the consumer's next poll.
#[derive(Clone, Debug)]
pub enum Rebalance {
    Revoked(TopicPartition),
    Assigned(TopicPartition),
}

/// The content of a record that a producer writes.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Box<str>, Bytes)>,
}

impl Content {
    /// Makes a content with a value and without a key.
    pub fn of(value: impl Into<Bytes>) -> Content {
        Content { value: Some(value.into()), ..Content::default() }
    }
}

/// The logs, and the offsets that the group has committed.
#[derive(Default)]
pub struct Broker {
    pub logs: BTreeMap<TopicPartition, Vec<Record>>,
    pub committed: BTreeMap<TopicPartition, i64>,
    pub orders: Vec<Rebalance>,
    /// The partitions of the only member of the group.
    pub assigned: BTreeSet<TopicPartition>,
}

impl Broker {
    /// Appends a record `gap` offsets after the last record, and returns its offset.
    pub fn append(
        &mut self,
        name: &TopicPartition,
        timestamp_ms: i64,
        Content { key, value, headers }: Content,
        gap: i64,
    ) -> i64 {
        if !self.logs.contains_key(name) {
            self.orders.push(Rebalance::Assigned(name.clone()));
        }
        let log = self.logs.entry(name.clone()).or_default();
        let offset = log.last().map_or(0, |last| last.offset + 1) + gap;
        let (topic, partition) = (Arc::clone(&name.topic), name.partition);
        log.push(Record {
            topic,
            partition,
            offset,
            timestamp_ms,
            key,
            value,
            headers,
            defect: None,
            origin: None,
            lsn_delta: 0,
        });
        offset
    }

    /// The dead member loses its partitions, and the next member gets all partitions.
    pub fn restart(&mut self) {
        self.assigned.clear();
        self.orders = self.logs.keys().cloned().map(Rebalance::Assigned).collect();
    }
}

/// The Kafka consumer of one nova process.
pub struct SimSource {
    pub broker: Arc<Mutex<Broker>>,
    pub progress: Arc<Shared>,
    pub rng: Rng,
    pub local: Option<LocalSource>,
    positions: BTreeMap<TopicPartition, i64>,
    paused: BTreeSet<TopicPartition>,
}

impl SimSource {
    pub fn new(broker: Arc<Mutex<Broker>>, progress: Arc<Shared>, seed: u64, local: Option<LocalSource>) -> SimSource {
        let (positions, paused) = Default::default();
        SimSource { broker, progress, rng: Rng(seed), local, positions, paused }
    }

    /// The simulated source handles a rebalance as the Kafka source does. Reading begins at the position of the store,
    /// or one record earlier if possible. Polled records of a revoked partition are dropped, and the committed offset
    /// of the partition becomes the offset that the store has.
    fn rebalance(&mut self, out: &mut Vec<Record>) {
        let mut broker = self.broker.lock();
        for order in std::mem::take(&mut broker.orders) {
            match order {
                Rebalance::Assigned(name) => {
                    let next = self.progress.next_offset(&name).unwrap_or(0);
                    self.positions.insert(name.clone(), (next - 1).max(0));
                    broker.assigned.insert(name);
                }
                Rebalance::Revoked(name) if broker.assigned.remove(&name) => {
                    let next = self.progress.next_offset(&name);
                    next.map(|next| broker.committed.insert(name.clone(), next));
                    self.positions.remove(&name);
                    self.paused.remove(&name);
                    out.retain(|record| record.partition != name.partition || record.topic != name.topic);
                }
                Rebalance::Revoked(_) => {}
            }
        }
    }

    fn commit(&mut self) {
        let mut broker = self.broker.lock();
        for name in self.positions.keys() {
            if let Some(next) = self.progress.next_offset(name) {
                broker.committed.insert(name.clone(), next);
            }
        }
    }

    fn fetch(&mut self, out: &mut Vec<Record>) {
        let broker = self.broker.lock();
        for (name, position) in &mut self.positions {
            if self.paused.contains(name) || self.rng.below(3) == 0 {
                continue;
            }
            // Offsets that were delivered may be delivered once more.
            if self.rng.below(20) == 0 {
                *position = (*position - 1 - self.rng.below(5) as i64).max(0);
            }
            let log = &broker.logs[name];
            let from = log.partition_point(|record| record.offset < *position);
            let taken = log[from..].iter().take(self.rng.below(24) as usize);
            out.extend(taken.cloned().inspect(|record| *position = record.offset + 1));
        }
    }
}

impl Source for SimSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        // A rebalance may come before or after the records of a poll.
        if self.rng.below(2) == 0 {
            self.rebalance(out);
        }
        self.fetch(out);
        self.rebalance(out);
        if self.rng.below(3) == 0 {
            self.commit();
        }
        if let Some(local) = &mut self.local {
            local.poll(&PollLimits { wait: Duration::ZERO, ..*limits }, out)?;
        }
        Ok(if out.is_empty() { Polled::Idle } else { Polled::Records })
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        self.paused.insert(partition.clone());
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.paused.remove(partition);
        if let Some(position) = self.positions.get_mut(partition) {
            *position = from;
        }
        match &mut self.local {
            Some(local) if partition.partition == nova::source::local::LOCAL_PARTITION => local.resume(partition, from),
            _ => Ok(()),
        }
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.rebalance(&mut Vec::new());
        self.commit();
        Ok(())
    }
}
