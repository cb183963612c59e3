//! A plain consumer of librdkafka with its default settings, as a baseline for comparison. The plain consumer ignores
//! the content of messages.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::clock::monotonic_now;

use super::settings::KafkaSettings;

/// The time without a message after which the consumer assumes that the topic has no more messages.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What a plain consumer has read, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The time from the assignment of the partitions to the last message.
    pub took: Duration,
    /// The total size of the keys and values in bytes.
    pub bytes: u64,
}

/// Reads `count` messages of a topic from its beginning, without joining or committing to the consumer group of the
/// settings.
///
/// # Errors
/// The topic cannot be read, or has fewer messages.
pub fn read(settings: &KafkaSettings, topic: &str, count: u64) -> Result<Read, KafkaError> {
    let mut config = settings.client();
    config.set("group.id", &settings.group_id).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), SILENCE_MAX)?;
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    let began = monotonic_now();
    consumer.assign(&all)?;
    let mut bytes = 0;
    for _ in 0..count {
        let silent = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        let message = consumer.poll(SILENCE_MAX).ok_or(silent)??;
        bytes += (message.key_len() + message.payload_len()) as u64;
    }
    Ok(Read { took: began.elapsed(), bytes })
}
