//! Writes client events to Kafka: nova accepts an event only after all in-sync replicas have acknowledged it.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use crate::event::Id;

use super::settings::KafkaSettings;

/// The maximum number of messages, and of kilobytes, that may wait for their acknowledgement by Kafka.
const QUEUE_MAX_MESSAGES: u32 = 100_000;
const QUEUE_MAX_KBYTES: u32 = 64 << 10;
/// How long a message may wait for its acknowledgement by Kafka. A client waits longer than this limit for its HTTP
/// answer.
const DELIVERY_TIMEOUT_MS: u32 = 4_000;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why events were not written to Kafka. If a client sends the events again after a failure, nova recognises the
/// already written events by their ids.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    #[error("the producer's queue is full")]
    Full,
    #[error("a message is larger than the topic takes")]
    TooLarge,
    #[error("Kafka did not acknowledge in time")]
    Unacknowledged,
}

/// The producer of client events.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer,
    topic: String,
}

impl Producer {
    /// Makes a producer for the topic. Making a producer succeeds even if no broker is reachable yet.
    pub fn new(settings: &KafkaSettings, topic: &str) -> Result<Producer, KafkaError> {
        let mut config = settings.client();
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "2");
        config.set("compression.type", "lz4").set("message.timeout.ms", DELIVERY_TIMEOUT_MS.to_string());
        config.set("queue.buffering.max.messages", QUEUE_MAX_MESSAGES.to_string());
        config.set("queue.buffering.max.kbytes", QUEUE_MAX_KBYTES.to_string());
        Ok(Producer { inner: config.create()?, topic: topic.to_owned() })
    }

    /// Writes to Kafka the events that arrived at `timestamp_ms`. Events of one user stay in order.
    pub async fn append(&self, events: Vec<(Id, Bytes)>, timestamp_ms: i64) -> Result<(), ProduceError> {
        let mut acknowledgements = Vec::with_capacity(events.len());
        for (user, value) in &events {
            let record = FutureRecord::to(&self.topic).key(&user.0).payload(&value[..]).timestamp(timestamp_ms);
            acknowledgements.push(self.inner.send_result(record).map_err(|(error, _)| refused(&error))?);
        }
        for acknowledgement in acknowledgements {
            match acknowledgement.await {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(refused(&error)),
                Err(_) => return Err(ProduceError::Unacknowledged),
            }
        }
        Ok(())
    }

    /// The number of events that were sent and that Kafka has not yet acknowledged.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    /// Waits until Kafka has acknowledged the sent events.
    pub fn flush(&self) {
        if let Err(error) = self.inner.flush(FLUSH_TIMEOUT) {
            tracing::warn!("Kafka: messages were not acknowledged before the end: {error}");
        }
    }
}

fn refused(error: &KafkaError) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => ProduceError::Full,
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => ProduceError::TooLarge,
        _ => {
            tracing::debug!("Kafka: {error}");
            ProduceError::Unacknowledged
        }
    }
}
