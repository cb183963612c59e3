//! The Kafka consumer and the state of its partitions. Polling and upkeep use both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::clock::monotonic_now;
use crate::event::TopicPartition;
use crate::source::{Progress, SourceError};

use super::context::Context;
use super::failure::failed;
use super::membership::Membership;
use super::settings::KafkaSettings;
use super::status::KafkaStatus;
use super::stops::Stops;
use super::watch::Watch;

/// How often the store's offsets are committed to the Kafka broker.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// What nova must do after an error of the Kafka consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Records of some partition cannot be read, so nova must examine the partitions.
    Examine,
    /// The consumer's position is outside of the log, so every partition must begin again at the store's offset.
    Renew,
}

/// Kafka as a source of records.
pub struct KafkaSource {
    pub(super) settings: KafkaSettings,
    pub(super) topics: Vec<String>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) consumer: BaseConsumer<Context>,
    pub(super) membership: Membership,
    pub(super) status: Arc<KafkaStatus>,
    pub(super) stops: Stops,
    pub(super) watch: Watch,
    pub(super) trouble: Option<Trouble>,
    pub(super) renew_at: Instant,
    pub(super) note_at: Instant,
    /// The positions of the consumer, and the number of records that had been handed over when the positions were
    /// noted.
    pub(super) noted: Option<(u64, BTreeMap<TopicPartition, i64>)>,
    pub(super) commit_at: Instant,
    /// Whether all partitions are paused because the store takes no more records for now.
    pub(super) idle: bool,
    /// The partitions that ingest has paused.
    pub(super) paused: Vec<TopicPartition>,
    /// When each error was last logged: librdkafka has few error codes, so the list stays short.
    pub(super) complained: Vec<(RDKafkaErrorCode, Instant)>,
    /// The topic name of the last record. The following records of the same topic share this name in memory.
    pub(super) topic: Arc<str>,
}

impl KafkaSource {
    /// Makes the source, which joins the consumer group in the first poll that reaches a broker.
    pub fn new(
        settings: &KafkaSettings,
        topics: &[String],
        progress: Arc<dyn Progress>,
        status: Arc<KafkaStatus>,
    ) -> Result<KafkaSource, SourceError> {
        let context = Context::new(topics, settings.owner, Arc::clone(&progress), Arc::clone(&status));
        let consumer: BaseConsumer<Context> = settings.consumer().create_with_context(context).map_err(failed)?;
        let now = monotonic_now();
        Ok(KafkaSource {
            settings: settings.clone(),
            topics: topics.to_vec(),
            progress,
            consumer,
            membership: Membership::new(settings, topics, now),
            status,
            stops: Stops::new(settings, now),
            watch: Watch::new(now),
            trouble: None,
            renew_at: now,
            note_at: now,
            noted: None,
            commit_at: now + COMMIT_EVERY,
            idle: false,
            paused: Vec::new(),
            complained: Vec::new(),
            topic: "".into(),
        })
    }

    pub(super) fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for name in partitions {
            list.add_partition(&name.topic, name.partition);
        }
        list
    }
}
