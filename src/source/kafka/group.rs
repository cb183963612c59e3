//! Finds out which store owns a consumer group. Every commit of offsets carries the id of the store, so that a second
//! node with another store is refused before it takes half of the records.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use crate::source::PartitionCount;

/// The longest wait for the answer to one request to Kafka. The wait for an answer of Kafka is short, because a source
/// that waits for its first broker can be stopped only between requests.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The text before the store's id in the metadata of a commit.
const MARK: &str = "nova ";

/// A store, identified by the id that was drawn when the store was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// Returns the metadata for commits of this store.
    pub(super) fn mark(self) -> String {
        format!("{MARK}{self}")
    }

    /// Returns the store that the metadata of a commit names. Returns `None` if nova did not write the metadata.
    fn of(metadata: &str) -> Option<Owner> {
        u64::from_str_radix(metadata.strip_prefix(MARK)?, 16).ok().map(Owner)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Returns the number of partitions of each given topic. Missing topics are left out of the result. One request covers
/// all topics of the cluster, because librdkafka answers a request for a missing topic only after the timeout, and nova
/// polls nothing while it waits for the answer.
pub(super) fn partitions<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topics: &[String],
) -> Result<Vec<PartitionCount>, KafkaError> {
    let told = consumer.fetch_metadata(None, TIMEOUT)?;
    let ours = told.topics().iter().filter(|topic| topics.iter().any(|name| name == topic.name()));
    let counts = ours.map(|topic| (topic.name(), topic.partitions().len() as u32));
    let counts = counts.filter(|(_, partitions)| *partitions > 0);
    Ok(counts.map(|(topic, partitions)| PartitionCount { topic: topic.into(), partitions }).collect())
}

/// Returns the stores whose offsets for the given topics are committed in the consumer group.
pub(super) fn owners<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topics: &[String],
) -> Result<BTreeSet<Owner>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for PartitionCount { topic, partitions } in partitions(consumer, topics)? {
        list.add_partition_range(&topic, 0, partitions as i32 - 1);
    }
    if list.count() == 0 {
        return Ok(BTreeSet::new());
    }
    let committed = consumer.committed_offsets(list, TIMEOUT)?;
    Ok(committed.elements().iter().filter_map(|entry| Owner::of(entry.metadata())).collect())
}

/// Whether the consumer group has at most one member.
pub(super) fn alone<C: ConsumerContext>(consumer: &impl Consumer<C>, group: &str) -> Result<bool, KafkaError> {
    let told = consumer.fetch_group_list(Some(group), TIMEOUT)?;
    Ok(told.groups().iter().all(|group| group.members().len() <= 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_what_others_write_is_nobodys() {
        for id in [0, 7, u64::MAX] {
            assert_eq!(Owner::of(&Owner(id).mark()), Some(Owner(id)));
        }
        for other in ["", "nova", "nova x", "7", "kafka-streams"] {
            assert_eq!(Owner::of(other), None);
        }
    }
}
