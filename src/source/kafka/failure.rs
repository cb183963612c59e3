//! The errors of librdkafka in the words of nova's source.

use rdkafka::error::KafkaError;

use crate::source::SourceError;

pub(super) fn failed(error: KafkaError) -> SourceError {
    SourceError::Kafka(error.to_string())
}
