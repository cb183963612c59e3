//! The consumer, and what is known of its partitions: what polling and upkeep work on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::event::TopicPartition;
use crate::source::{Progress, SourceError};

use super::context::Context;
use super::failure::failed;
use super::membership::Membership;
use super::settings::KafkaSettings;
use super::status::KafkaStatus;
use super::stops::Stops;
use super::watch::Watch;

/// How often the store's offsets are committed to the broker.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The records of some partition cannot be read.
    Examine,
    /// A position is none of the log's: every partition begins again where the store is.
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
    /// Positions, and how many records had been handed over when they were noted.
    pub(super) noted: Option<(u64, BTreeMap<TopicPartition, i64>)>,
    pub(super) commit_at: Instant,
    /// Everything is paused: the store takes no more for now.
    pub(super) idle: bool,
    /// Partitions that ingest has paused.
    pub(super) paused: Vec<TopicPartition>,
    /// When each complaint was last logged; librdkafka's codes are few.
    pub(super) complained: Vec<(RDKafkaErrorCode, Instant)>,
    /// The last topic name seen, shared by its records.
    pub(super) topic: Arc<str>,
}

impl KafkaSource {
    /// Joins the group with the first poll that reaches a broker.
    pub fn new(
        settings: &KafkaSettings,
        topics: &[String],
        progress: Arc<dyn Progress>,
        status: Arc<KafkaStatus>,
    ) -> Result<KafkaSource, SourceError> {
        let context = Context::new(topics, settings.owner, Arc::clone(&progress), Arc::clone(&status));
        let consumer: BaseConsumer<Context> = settings.consumer().create_with_context(context).map_err(failed)?;
        let now = Instant::now();
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
