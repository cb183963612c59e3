//! The owner of a consumer group. Every commit of offsets has the mark of its store, so that a second node with another
//! store is refused before it takes half of the records.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use crate::source::PartitionCount;

/// The limit for one request. A source that waits for its first broker can be stopped between requests.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The text before the store's id in the metadata of a commit.
const MARK: &str = "nova ";

/// A store, named by the id that was made with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// The metadata of the store's commits.
    pub(super) fn mark(self) -> String {
        format!("{MARK}{self}")
    }

    /// The store in the metadata. `None` if nova did not write the metadata.
    fn of(metadata: &str) -> Option<Owner> {
        u64::from_str_radix(metadata.strip_prefix(MARK)?, 16).ok().map(Owner)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of partitions of each of these topics. Missing topics are left out. One request covers all topics of the
/// cluster: if asked for a missing topic, librdkafka waits until the timeout, and nothing is polled in this time.
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

/// The stores whose offsets for these topics are in the consumer's group.
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

/// Whether the group has no other member.
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
