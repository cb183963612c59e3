//! Kafka: a consumer whose positions are the store's. The broker's committed offset is a hint for people and tools and
//! never exceeds the store's next offset (N4); on assignment the store decides where reading goes on.

pub mod bare;
mod context;
mod group;
mod identity;
mod membership;
pub mod producer;
mod status;
mod stops;
pub mod topics;
mod upkeep;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::BaseProducer;

use crate::event::{NO_TIMESTAMP, Record, TopicPartition};

use super::{Fault, PartitionCount, PollLimits, Polled, Progress, Source, SourceError};

use self::context::Context;
pub use self::group::Owner;
use self::membership::Membership;
pub use self::producer::{ProduceError, Producer};
pub use self::status::{BrokerFigures, Figures, KafkaStatus, Watermarks};
pub use self::stops::Stop;
use self::stops::Stops;
use self::upkeep::Trouble;
use self::watch::Watch;

/// Messages that librdkafka fetches ahead, in kilobytes.
const FETCH_AHEAD_MAX_KBYTES: u32 = 32 << 10;
/// How often the store's offsets are committed to the broker.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// The same complaint of the client is logged no more often than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// Which brokers, as whom, and how secured.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    pub group_id: String,
    /// Static membership: a restart takes its partitions back at once, and a copy of the store elsewhere is fenced.
    pub instance_id: Option<String>,
    /// The store that commits to the group.
    pub owner: Owner,
    /// Takes a group over that another store committed to.
    pub take_over: bool,
    /// librdkafka's names and values for SASL and TLS.
    pub security: Vec<(&'static str, String)>,
}

/// Credentials are nobody's to read.
impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaSettings({}, {})", self.brokers, self.group_id)
    }
}

impl KafkaSettings {
    /// Whether librdkafka takes the settings; no broker is asked.
    pub fn check(&self) -> Result<(), KafkaError> {
        self.client().create::<BaseProducer>().map(drop)
    }

    /// What consumer, producer and admin client have in common.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "nova");
        config.set("topic.metadata.refresh.interval.ms", "5000").set("allow.auto.create.topics", "false");
        config.set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.security {
            config.set(*name, value);
        }
        config
    }

    fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", &self.group_id);
        if let Some(instance_id) = &self.instance_id {
            config.set("group.instance.id", instance_id);
        }
        // Where to go on is ours to say, always: a silent jump would lose records.
        config.set("auto.offset.reset", "error").set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false").set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", "30000").set("statistics.interval.ms", "1000");
        config.set("queued.max.messages.kbytes", FETCH_AHEAD_MAX_KBYTES.to_string());
        // Damage on the way or on the broker's disk is an error; librdkafka does not look unless it is asked to.
        config.set("check.crcs", "true");
        config.set("debug", identity::DEBUG).set_log_level(RDKafkaLogLevel::Debug);
        config
    }
}

/// See the module.
pub struct KafkaSource {
    settings: KafkaSettings,
    topics: Vec<String>,
    progress: Arc<dyn Progress>,
    consumer: BaseConsumer<Context>,
    membership: Membership,
    status: Arc<KafkaStatus>,
    stops: Stops,
    watch: Watch,
    trouble: Option<Trouble>,
    renew_at: Instant,
    note_at: Instant,
    /// Positions, and how many records had been handed over when they were noted.
    noted: Option<(u64, BTreeMap<TopicPartition, i64>)>,
    commit_at: Instant,
    /// Everything is paused: the store takes no more for now.
    idle: bool,
    /// Partitions that ingest has paused.
    paused: Vec<TopicPartition>,
    /// When each complaint was last logged; librdkafka's codes are few.
    complained: Vec<(RDKafkaErrorCode, Instant)>,
    /// The last topic name seen, shared by its records.
    topic: Arc<str>,
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

    /// One message, or what else the client has to tell.
    fn take(&mut self, wait: Duration, out: &mut Vec<Record>) -> Result<Option<usize>, SourceError> {
        // The message borrows the consumer; what is made of it does not.
        let taken = match self.consumer.poll(wait) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(message)) => {
                let record = record(&message, &mut self.topic);
                Some(Ok((record, message.payload_len() + message.key_len())))
            }
        };
        match taken {
            None => Ok(None),
            Some(Ok((record, bytes))) => {
                out.push(record);
                Ok(Some(bytes))
            }
            Some(Err(error)) => {
                self.complain(error)?;
                Ok(None)
            }
        }
    }

    fn complain(&mut self, error: KafkaError) -> Result<(), SourceError> {
        let code = match &error {
            KafkaError::PartitionEOF(_) => return Ok(()),
            KafkaError::MessageConsumptionFatal(_) => return Err(failed(error)),
            KafkaError::MessageConsumption(code) => {
                match code {
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::LogTruncation => {
                        self.trouble = Some(Trouble::Renew);
                    }
                    code if stops::may_stop(*code) => self.trouble = self.trouble.or(Some(Trouble::Examine)),
                    _ => {}
                }
                *code
            }
            KafkaError::Global(code) => *code,
            _ => RDKafkaErrorCode::Unknown,
        };
        if let Some((_, text)) = self.consumer.client().fatal_error() {
            return Err(SourceError::Kafka(text));
        }
        let now = Instant::now();
        self.complained.retain(|(_, at)| now - *at < COMPLAIN_EVERY);
        if !self.complained.iter().any(|(known, _)| *known == code) {
            tracing::warn!("Kafka: {error}");
            self.complained.push((code, now));
        }
        Ok(())
    }

    /// Tells the broker how far the store is.
    fn commit(&mut self) {
        if Instant::now() < self.commit_at {
            return;
        }
        self.commit_at = Instant::now() + COMMIT_EVERY;
        let list = self.consumer.context().offsets(&self.consumer.context().assigned());
        if list.count() > 0 {
            match self.consumer.commit(&list, CommitMode::Async) {
                Ok(()) => self.status.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                Err(error) => {
                    tracing::debug!("Kafka: the offsets could not be committed: {error}");
                    0
                }
            };
        }
    }

    fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for name in partitions {
            list.add_partition(&name.topic, name.partition);
        }
        list
    }

    /// Holds and drops what an assignment or a revocation changed: what was polled of partitions that are no longer ours
    /// may be given to another member.
    fn fence(&mut self, from: usize, out: &mut Vec<Record>) {
        // An assignment begins without pauses; what ingest holds stays held.
        let fresh = self.consumer.context().take_fresh();
        let stands = |name: &TopicPartition| self.paused.contains(name) || self.stops.all().contains_key(name);
        let held: Vec<_> = fresh.into_iter().filter(|name| self.idle || stands(name)).collect();
        if !held.is_empty() {
            let _ = self.consumer.pause(&KafkaSource::list(&held));
        }
        let revoked = self.consumer.context().take_revoked();
        if revoked.is_empty() {
            return;
        }
        let mut index = 0;
        out.retain(|record| {
            index += 1;
            let gone = |name: &TopicPartition| name.partition == record.partition && name.topic == record.topic;
            index <= from || !revoked.iter().any(gone)
        });
        self.paused.retain(|name| !revoked.contains(name));
        let stood = revoked.iter().filter(|name| self.stops.forget(name)).count();
        if stood > 0 {
            self.status.set_stopped(self.stops.all());
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let now = Instant::now();
        if let Err(error) = self.membership.keep(&self.consumer, now)? {
            self.complain(error)?;
        }
        if std::mem::take(&mut self.idle) {
            self.consumer.resume(&KafkaSource::list(&self.reading())).map_err(failed)?;
        }
        self.look_after(now)?;
        let (from, mut bytes, mut wait) = (out.len(), 0, limits.wait);
        while out.len() - from < limits.max_records && bytes < limits.max_bytes {
            match self.take(wait, out)? {
                Some(taken) => bytes += taken,
                None => break,
            }
            wait = Duration::ZERO;
        }
        self.fence(from, out);
        self.repair(from, out)?;
        self.commit();
        Ok(if out.len() > from { Polled::Records } else { Polled::Idle })
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        if !self.idle {
            let assigned = self.consumer.context().assigned();
            self.consumer.pause(&KafkaSource::list(&assigned)).map_err(failed)?;
            self.idle = true;
        }
        // Polled all the same, or the group would take our partitions away.
        let mut none = Vec::new();
        self.take(Duration::ZERO, &mut none)?;
        for record in none {
            let name = TopicPartition { topic: record.topic, partition: record.partition };
            self.seek(&name, record.offset);
        }
        self.fence(0, &mut Vec::new());
        self.repair(0, &mut Vec::new())?;
        self.commit();
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        if !self.paused.contains(partition) {
            self.paused.push(partition.clone());
        }
        let list = KafkaSource::list(std::slice::from_ref(partition));
        // Not assigned any more: nothing of it comes.
        let _ = self.consumer.pause(&list);
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.paused.retain(|name| name != partition);
        self.consumer.context().accept(partition);
        if self.stops.forget(partition) {
            self.status.set_stopped(self.stops.all());
        }
        self.seek(partition, from);
        let _ = self.consumer.resume(&KafkaSource::list(std::slice::from_ref(partition)));
        Ok(())
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        self.consumer.context().take_faults()
    }

    fn take_counts(&mut self) -> Vec<PartitionCount> {
        self.consumer.context().take_counts()
    }
}

/// `topic` is the name seen last, shared by the records of a run.
fn record(message: &BorrowedMessage<'_>, topic: &mut Arc<str>) -> Record {
    if **topic != *message.topic() {
        *topic = message.topic().into();
    }
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let value = |bytes: Option<&[u8]>| Bytes::copy_from_slice(bytes.unwrap_or_default());
        headers.iter().map(|header| (header.key.into(), value(header.value))).collect()
    });
    Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(NO_TIMESTAMP),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

fn failed(error: KafkaError) -> SourceError {
    SourceError::Kafka(error.to_string())
}
