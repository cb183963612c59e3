//! Keeps partitions moving: the source notes positions, examines partitions after errors, and makes a new client if
//! librdkafka cannot recover.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;

use crate::clock::monotonic_now;
use crate::event::{Record, TopicPartition};
use crate::source::SourceError;

use super::consumer::{KafkaSource, Trouble};
use super::failure::failed;
use super::membership::Membership;

const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the positions of the consumer are noted.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two replacements of the Kafka client.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The part of the source that keeps partitions moving.
impl KafkaSource {
    /// Returns the assigned partitions that are neither paused nor stopped nor faulty.
    pub(super) fn reading(&self) -> Vec<TopicPartition> {
        let faulty = self.consumer.context().faulty();
        let stands = |name: &TopicPartition| {
            self.paused.contains(name) || self.stops.all().contains_key(name) || faulty.contains(name)
        };
        self.consumer.context().assigned().into_iter().filter(|name| !stands(name)).collect()
    }

    /// Returns the next offsets of the partitions, as far as the client knows the offsets. After a seek, the position
    /// of a partition is unknown until the first record comes.
    fn positions(&self, names: &[TopicPartition]) -> BTreeMap<TopicPartition, i64> {
        let Ok(told) = self.consumer.position() else { return BTreeMap::new() };
        let entries = told.elements();
        let known = entries.iter().filter_map(|entry| match entry.offset() {
            Offset::Offset(offset) => Some((TopicPartition::new(entry.topic(), entry.partition()), offset)),
            _ => None,
        });
        known.filter(|(name, _)| names.contains(name)).collect()
    }

    /// Does the work that is due before a poll. Before a poll, each record of an earlier poll has been handed over, or
    /// its partition is paused.
    pub(super) fn look_after(&mut self, now: Instant) -> Result<(), SourceError> {
        self.watch.polled(now);
        if let Some((handed_over, read_to)) =
            self.noted.take_if(|(handed_over, _)| self.progress.is_settled(*handed_over))
        {
            tracing::trace!(handed_over, "positions are committed");
            self.status.set_read_to(read_to);
        }
        if now < self.note_at {
            return Ok(());
        }
        self.note_at = now + NOTE_EVERY;
        let names = self.reading();
        let known = self.positions(&names);
        let next =
            |name: &TopicPartition| known.get(name).copied().or_else(|| self.progress.next_offset(name)).unwrap_or(0);
        self.watch.moved(&names.iter().map(|name| (name.clone(), next(name))).collect(), now);
        self.watch.ask(&self.consumer, now);
        self.status.set_stalled(self.watch.stalled(now));
        if self.watch.renew(now) {
            self.trouble = Some(Trouble::Renew);
        }
        if self.noted.is_none() {
            self.noted = Some((self.progress.handed_over(), known));
        }
        if let Some((name, offset)) = self.stops.retry(now).map_err(failed)?
            && !self.paused.contains(&name)
        {
            self.go_on(&name, offset);
        }
        self.status.set_stopped(self.stops.all());
        Ok(())
    }

    /// Does the work that is due after a poll: reacts to errors, and drops records of logs that the store does not
    /// know.
    pub(super) fn repair(&mut self, from: usize, out: &mut Vec<Record>) -> Result<(), SourceError> {
        let made_again = self.consumer.context().hold_made_again();
        if !made_again.is_empty() {
            let mut index = 0;
            out.retain(|record| {
                index += 1;
                index <= from || !made_again.contains(&record.topic)
            });
            // librdkafka's knowledge of the deleted topic (above all the epoch of its leader) would stop the reading of
            // the new topic.
            return self.renew();
        }
        match self.trouble.take() {
            None => Ok(()),
            Some(Trouble::Examine) => self.examine(),
            Some(Trouble::Renew) if monotonic_now() < self.renew_at => {
                self.trouble = Some(Trouble::Renew);
                Ok(())
            }
            Some(Trouble::Renew) => self.renew(),
        }
    }

    /// Reacts to an error: stops the partitions whose next record cannot be read, and continues all other partitions
    /// after their last records, because librdkafka may have skipped records.
    fn examine(&mut self) -> Result<(), SourceError> {
        let names = self.reading();
        let known = self.positions(&names);
        let begin = |name: &TopicPartition| {
            let next = known.get(name).copied().or_else(|| self.progress.next_offset(name));
            (name.clone(), next.map_or(Offset::Beginning, Offset::Offset))
        };
        let next: Vec<_> = names.iter().map(begin).collect();
        let stopped = self.stops.examine(&next, monotonic_now()).map_err(failed)?;
        for name in &stopped {
            let _ = self.consumer.pause(&KafkaSource::list(std::slice::from_ref(name)));
        }
        self.status.set_stopped(self.stops.all());
        for (name, offset) in next.iter().filter(|(name, _)| !stopped.contains(name)) {
            self.seek_to(name, *offset);
        }
        Ok(())
    }

    /// Replaces the Kafka client with a new one. nova examines each partition again with the new client.
    fn renew(&mut self) -> Result<(), SourceError> {
        tracing::warn!("Kafka: the client is begun again");
        let now = monotonic_now();
        (self.renew_at, self.trouble, self.noted) = (now + RENEW_EVERY, None, None);
        let context = self.consumer.context().successor();
        // The previous client commits and leaves the group when it is dropped.
        self.consumer = self.settings.consumer().create_with_context(context).map_err(failed)?;
        self.membership = Membership::new(&self.settings, &self.topics, now);
        Ok(())
    }

    /// Reads a partition from the given offset, whatever had stopped the partition.
    pub(super) fn go_on(&mut self, partition: &TopicPartition, from: i64) {
        self.paused.retain(|name| name != partition);
        self.consumer.context().accept(partition);
        if self.stops.forget(partition) {
            self.status.set_stopped(self.stops.all());
        }
        self.seek(partition, from);
        let _ = self.consumer.resume(&KafkaSource::list(std::slice::from_ref(partition)));
    }

    pub(super) fn seek(&mut self, partition: &TopicPartition, from: i64) {
        self.noted = None;
        self.seek_to(partition, Offset::Offset(from));
    }

    fn seek_to(&mut self, partition: &TopicPartition, from: Offset) {
        let sought = self.consumer.seek(&partition.topic, partition.partition, from, SEEK_TIMEOUT);
        // An error for a partition that is not assigned now is ignored. When the partition is assigned, the store
        // decides where it begins.
        if let Err(error) = sought
            && self.consumer.context().assigned().contains(partition)
        {
            tracing::warn!(%partition, "Kafka: {error}");
            self.trouble = Some(Trouble::Renew);
        }
    }
}
