//! librdkafka by itself, to compare with: a consumer of its defaults that looks at nothing.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::settings::KafkaSettings;

/// A broker that sends nothing for so long has no more.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What was read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// From the assignment to the last message.
    pub took: Duration,
    /// Keys and values.
    pub bytes: u64,
}

/// Reads `count` messages of a topic from its beginning. The group of the settings is neither joined nor committed to.
///
/// # Errors
/// If the topic cannot be read, or has fewer messages.
pub fn read(settings: &KafkaSettings, topic: &str, count: u64) -> Result<Read, KafkaError> {
    let mut config = settings.client();
    config.set("group.id", &settings.group_id).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), SILENCE_MAX)?;
    let mut all = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        all.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    let began = Instant::now();
    consumer.assign(&all)?;
    let mut bytes = 0;
    for _ in 0..count {
        let silent = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        let message = consumer.poll(SILENCE_MAX).ok_or(silent)??;
        bytes += (message.key_len() + message.payload_len()) as u64;
    }
    Ok(Read { took: began.elapsed(), bytes })
}
