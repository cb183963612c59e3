//! The connection settings of Kafka, and the settings for librdkafka.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::group::Owner;
use super::identity;

/// The largest amount of messages that librdkafka fetches ahead, in kilobytes.
const FETCH_AHEAD_MAX_KBYTES: u32 = 32 << 10;

/// The Kafka brokers, the consumer group, and the security of the connections.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// The addresses of the brokers as `host:port`, separated by commas.
    pub brokers: String,
    pub group_id: String,
    /// The id for static membership (`group.instance.id`): after a restart nova gets its partitions back at once, and
    /// Kafka fences a second node with a copy of the store.
    pub instance_id: Option<String>,
    /// The store that commits its offsets to the group.
    pub owner: Owner,
    /// Whether nova takes over a consumer group to which another store has committed.
    pub take_over: bool,
    /// The settings of SASL and TLS, in librdkafka's names and values.
    pub security: Vec<(&'static str, String)>,
}

/// Prints the settings without the credentials, which are secret.
impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaSettings({}, {})", self.brokers, self.group_id)
    }
}

impl KafkaSettings {
    /// Checks whether librdkafka accepts the settings. The check makes no connection to a broker.
    pub fn check(&self) -> Result<(), KafkaError> {
        self.client().create::<BaseProducer>().map(drop)
    }

    /// Returns the settings that the Kafka consumer, producer and admin client share.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "nova");
        config.set("topic.metadata.refresh.interval.ms", "5000").set("allow.auto.create.topics", "false");
        config.set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.security {
            config.set(*name, value);
        }
        config
    }

    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", &self.group_id);
        if let Some(instance_id) = &self.instance_id {
            config.set("group.instance.id", instance_id);
        }
        // nova itself decides where reading continues, because a silent jump of librdkafka to another offset would lose
        // records.
        config.set("auto.offset.reset", "error").set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false").set("partition.assignment.strategy", "cooperative-sticky");
        config.set("session.timeout.ms", "30000").set("statistics.interval.ms", "1000");
        config.set("queued.max.messages.kbytes", FETCH_AHEAD_MAX_KBYTES.to_string());
        // Damage on the network or on the broker's disk must be an error, and librdkafka checks for damage only with
        // `check.crcs`.
        config.set("check.crcs", "true");
        config.set("debug", identity::DEBUG).set_log_level(RDKafkaLogLevel::Debug);
        config
    }
}
