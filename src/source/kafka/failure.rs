//! What librdkafka complains of, as the source says it.

use rdkafka::error::KafkaError;

use crate::source::SourceError;

pub(super) fn failed(error: KafkaError) -> SourceError {
    SourceError::Kafka(error.to_string())
}
