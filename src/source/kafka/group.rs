//! Whose a consumer group is. Every commit of offsets carries the mark of the store behind it, so that a second node
//! with another store is told before it takes half of the records.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Before the store's id in the metadata of a commit.
const MARK: &str = "nova ";

/// A store, by the id that was made with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// The metadata of its commits.
    pub(super) fn mark(self) -> String {
        format!("{MARK}{self}")
    }

    /// `None` for what nova did not write.
    fn of(metadata: &str) -> Option<Owner> {
        u64::from_str_radix(metadata.strip_prefix(MARK)?, 16).ok().map(Owner)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The stores whose offsets are in the consumer's group, for topics with their number of partitions.
pub(super) fn owners<'t, C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    topics: impl Iterator<Item = (&'t str, u32)>,
) -> Result<BTreeSet<Owner>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partitions) in topics.filter(|(_, partitions)| *partitions > 0) {
        list.add_partition_range(topic, 0, partitions as i32 - 1);
    }
    if list.count() == 0 {
        return Ok(BTreeSet::new());
    }
    let committed = consumer.committed_offsets(list, TIMEOUT)?;
    Ok(committed.elements().iter().filter_map(|entry| Owner::of(entry.metadata())).collect())
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
