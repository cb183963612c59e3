//! The callbacks of librdkafka: assigned partitions begin at the store's offsets, and revoked partitions are drained
//! and then fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use crate::event::TopicPartition;
use crate::source::{Fault, PartitionCount, Progress};

use super::group::{self, Owner};
use super::identity::Identities;
use super::status::{Assignment, KafkaStatus, figures};

/// How long a revocation of partitions waits for the commit of records that were handed over.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const WATERMARKS_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Inner {
    /// The assigned partitions. The value of a partition is true if the store has read a log that is not the
    /// partition's present log.
    assigned: BTreeMap<TopicPartition, bool>,
    /// The partitions that were assigned since `fresh` was last read. A partition that ingest holds must be paused
    /// again after its assignment.
    fresh: Vec<TopicPartition>,
    revoked: Vec<TopicPartition>,
    faults: Vec<Fault>,
    /// The number of existing partitions of each topic. `counted` has the changed numbers that were not reported yet.
    counts: BTreeMap<Arc<str>, u32>,
    counted: Vec<PartitionCount>,
    /// The number of assignments of partitions to this consumer so far.
    assignments: u64,
}

/// The context of the Kafka consumer: the callbacks of librdkafka, and their state.
pub(super) struct Context {
    topics: Vec<String>,
    /// The store whose offsets this consumer commits.
    owner: Owner,
    progress: Arc<dyn Progress>,
    status: Arc<KafkaStatus>,
    identities: Arc<Identities>,
    inner: Mutex<Inner>,
}

impl Context {
    pub fn new(topics: &[String], owner: Owner, progress: Arc<dyn Progress>, status: Arc<KafkaStatus>) -> Context {
        let (topics, identities) = (topics.to_vec(), Arc::default());
        Context { topics, owner, progress, status, identities, inner: Mutex::default() }
    }

    /// Returns the context for the next client: no partition is assigned yet, and changes that were not reported are
    /// kept.
    pub fn successor(&self) -> Context {
        let mut inner = self.inner.lock();
        let (faults, counted) = (std::mem::take(&mut inner.faults), std::mem::take(&mut inner.counted));
        let fresh = Inner { faults, counted, counts: inner.counts.clone(), ..Inner::default() };
        Context {
            topics: self.topics.clone(),
            owner: self.owner,
            progress: Arc::clone(&self.progress),
            status: Arc::clone(&self.status),
            identities: Arc::clone(&self.identities),
            inner: Mutex::new(fresh),
        }
    }

    pub fn assigned(&self) -> Vec<TopicPartition> {
        self.inner.lock().assigned.keys().cloned().collect()
    }

    pub fn faulty(&self) -> Vec<TopicPartition> {
        self.inner.lock().assigned.iter().filter(|(_, faulty)| **faulty).map(|(name, _)| name.clone()).collect()
    }

    pub fn take_fresh(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.inner.lock().fresh)
    }

    /// Returns the number of assignments so far, and the topics of which some partitions are not assigned.
    pub fn lacking(&self) -> (u64, Vec<String>) {
        let inner = self.inner.lock();
        let assigned = |topic: &str| inner.assigned.keys().filter(|name| *name.topic == *topic).count();
        let lacking = inner.counts.iter().filter(|(topic, count)| assigned(topic) < **count as usize);
        (inner.assignments, lacking.map(|(topic, _)| topic.to_string()).collect())
    }

    pub fn take_counts(&self) -> Vec<PartitionCount> {
        std::mem::take(&mut self.inner.lock().counted)
    }

    pub fn take_revoked(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.inner.lock().revoked)
    }

    pub fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut self.inner.lock().faults)
    }

    /// Returns the store's next offsets in the form that a commit to Kafka needs. The metadata of each committed offset
    /// has the id of the store. A partition that the store never read is left out.
    pub fn offsets(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for name in partitions {
            if let Some(next) = self.progress.next_offset(name) {
                let mut entry = list.add_partition(&name.topic, name.partition);
                entry.set_metadata(self.owner.mark());
                // librdkafka would refuse only an invalid offset.
                let _ = entry.set_offset(Offset::Offset(next));
            }
        }
        list
    }

    /// Returns the offset at which a partition continues. If possible, reading begins one record before the store's
    /// next offset. If the record before the next offset equals the record that the store has committed, the log is the
    /// log that the store has read.
    fn start(&self, consumer: &BaseConsumer<Context>, name: &TopicPartition) -> Result<Offset, String> {
        let Some(next) = self.progress.next_offset(name) else { return Ok(Offset::Beginning) };
        let proof = self.progress.knows_last(name);
        match consumer.fetch_watermarks(&name.topic, name.partition, WATERMARKS_TIMEOUT) {
            Ok((low, high)) => judge(name, next, proof, low, high),
            Err(error) => {
                // If the log does not have the requested offset, the broker refuses the request, and nova examines
                // every partition again.
                tracing::warn!(partition = %name, "the bounds of the log are not known: {error}");
                Ok(Offset::Offset(if proof { next - 1 } else { next }))
            }
        }
    }

    /// Holds the partitions of topics that were deleted and made again since the last call, and returns the topics. A
    /// partition that was read before is held even if it is not assigned, because it has a new log now.
    pub fn hold_made_again(&self) -> BTreeSet<Arc<str>> {
        let topics = self.identities.take_made_again();
        for topic in &topics {
            let mut inner = self.inner.lock();
            let partitions = inner.counts.get(topic).copied().unwrap_or(0) as i32;
            for partition in (0..partitions).map(|partition| TopicPartition::new(Arc::clone(topic), partition)) {
                if let Some(next) = self.progress.next_offset(&partition).filter(|next| *next > 0) {
                    // The log of a topic that was made again begins at offset 0.
                    let way_out = way_out(&partition, 0);
                    let reason = format!(
                        "log-recreated: the topic of {partition} was deleted and made again while it was read, the store had \
                         read up to {next} of the log before; {way_out}"
                    );
                    inner.faults.push(Fault { partition, reason });
                }
            }
        }
        topics
    }

    /// Notes that a person has decided where the partition continues.
    pub fn accept(&self, name: &TopicPartition) {
        if let Some(faulty) = self.inner.lock().assigned.get_mut(name) {
            *faulty = false;
        }
    }

    fn fault(&self, consumer: &BaseConsumer<Context>, name: TopicPartition, reason: String) {
        let mut inner = self.inner.lock();
        let known = inner.assigned.insert(name.clone(), true) == Some(true);
        let mut list = TopicPartitionList::new();
        list.add_partition(&name.topic, name.partition);
        let _ = consumer.pause(&list);
        if !known {
            inner.faults.push(Fault { partition: name, reason });
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Context>, list: &mut TopicPartitionList) -> Result<(), KafkaError> {
        self.count(consumer, list);
        let mut faults = Vec::new();
        for name in names(list) {
            let offset = self.start(consumer, &name).unwrap_or_else(|reason| {
                faults.push((name.clone(), reason));
                Offset::End
            });
            list.set_partition_offset(&name.topic, name.partition, offset)?;
            let mut inner = self.inner.lock();
            inner.assigned.insert(name.clone(), false);
            inner.fresh.push(name);
        }
        consumer.incremental_assign(list)?;
        self.inner.lock().assignments += 1;
        for (name, reason) in faults {
            self.fault(consumer, name, reason);
        }
        Ok(())
    }

    /// Counts the partitions of every topic. If the broker does not answer, an assigned partition proves that the
    /// partitions with lower numbers exist.
    fn count(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) {
        if let Err(error) = self.count_again(consumer) {
            tracing::debug!("the partitions could not be counted: {error}");
        }
        for name in names(list) {
            let (topic, partitions) = (Arc::clone(&name.topic), name.partition as u32 + 1);
            let known = self.inner.lock().counts.get(&topic).copied().unwrap_or(0);
            self.counted(PartitionCount { topic, partitions: partitions.max(known) });
        }
    }

    /// Counts the partitions of every topic once more, without an assignment.
    pub fn count_again(&self, consumer: &BaseConsumer<Context>) -> Result<(), KafkaError> {
        group::partitions(consumer, &self.topics)?.into_iter().for_each(|count| self.counted(count));
        Ok(())
    }

    fn counted(&self, count: PartitionCount) {
        let mut inner = self.inner.lock();
        if inner.counts.insert(Arc::clone(&count.topic), count.partitions) != Some(count.partitions) {
            inner.counted.push(count);
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Context>, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let names = names(list);
        if !self.progress.drain(DRAIN_TIMEOUT) {
            tracing::warn!("partitions were revoked before everything read of them was committed");
        }
        // A lost partition already belongs to another member of the group, so nothing is committed after a loss.
        if !consumer.assignment_lost() {
            let offsets = self.offsets(&names);
            if offsets.count() > 0
                && let Err(error) = consumer.commit(&offsets, CommitMode::Sync)
            {
                tracing::debug!("Kafka: the offsets could not be committed: {error}");
            }
        }
        let mut inner = self.inner.lock();
        for name in names {
            inner.assigned.remove(&name);
            inner.revoked.push(name);
        }
        drop(inner);
        consumer.incremental_unassign(list)
    }
}

fn way_out(name: &TopicPartition, low: i64) -> String {
    format!(
        "to go on from the first record that is there: nova cdc seek {} {} {low}; to read the source again, stop nova, \
         then: nova rebuild",
        name.topic, name.partition
    )
}

/// Compares the bounds of a log with the store's next offset. `proof` says whether nova knows the record before the
/// store's next offset.
fn judge(name: &TopicPartition, next: i64, proof: bool, low: i64, high: i64) -> Result<Offset, String> {
    let way_out = way_out(name, low);
    if high < next {
        return Err(format!(
            "log-recreated: the log of {name} ends at {high}, the store has read up to {next}: the topic was created \
             again; {way_out}"
        ));
    }
    if low > next {
        let lost = low - next;
        return Err(format!(
            "log-gap: the log of {name} begins at {low}, the store continues at {next}: retention deleted {lost} offsets \
             that were never read; {way_out}"
        ));
    }
    Ok(Offset::Offset(if proof && low < next { next - 1 } else { next }))
}

fn names(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|one| TopicPartition::new(one.topic(), one.partition())).collect()
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            // nova sets the debug level of librdkafka only to see the lines about changed topic ids.
            return self.identities.heard(message);
        }
        match level {
            // librdkafka logs an error every second while a broker is unreachable. nova's Kafka source reports an
            // unreachable broker less often than librdkafka does.
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, "librdkafka: {message}");
            }
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("librdkafka: {error}: {reason}");
    }

    fn stats(&self, statistics: Statistics) {
        let assigned = self.assigned();
        let existing = self.inner.lock().counts.values().map(|count| *count as usize).sum();
        let seen = assigned.iter().filter_map(|name| {
            let partition = statistics.topics.get(&*name.topic)?.partitions.get(&name.partition)?;
            // The records after the last stable offset belong to open transactions, so no consumer gets them yet.
            let high = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            Some((name.clone(), (partition.lo_offset, high), self.progress.next_offset(name)))
        });
        let seen: Vec<_> = seen.collect();
        let assignment = Assignment { assigned: assigned.len(), existing };
        self.status.told(seen, assignment, figures(&statistics), statistics.time.saturating_mul(1_000));
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Context>, code: Code, list: &mut TopicPartitionList) {
        let done = match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(partitions = list.count(), "partitions assigned");
                self.assign(consumer, list)
            }
            _ => {
                tracing::info!(partitions = list.count(), "partitions revoked");
                self.revoke(consumer, list)
            }
        };
        if let Err(error) = done {
            tracing::error!("the rebalance failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_not_the_known_one_is_never_read_on_silently() {
        let name = TopicPartition::new("cdc.posts", 2);
        assert_eq!(judge(&name, 10, true, 0, 12), Ok(Offset::Offset(9)), "the committed record is looked at again");
        assert_eq!(judge(&name, 10, false, 0, 12), Ok(Offset::Offset(10)), "a seek: nothing before it is read");
        assert_eq!(judge(&name, 10, true, 10, 12), Ok(Offset::Offset(10)), "it is gone by retention, nothing is lost");
        assert_eq!(judge(&name, 0, true, 0, 0), Ok(Offset::Offset(0)));
        let gap = judge(&name, 10, true, 15, 20).unwrap_err();
        assert!(
            gap.starts_with("log-gap")
                && gap.contains("deleted 5 offsets")
                && gap.contains("nova cdc seek cdc.posts 2 15;"),
            "{gap}"
        );
        assert!(judge(&name, 10, true, 0, 9).unwrap_err().starts_with("log-recreated"));
    }
}
