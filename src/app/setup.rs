//! The parts and limits that make a node, and how a configuration sets them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::decode::{Decoder, FileSchemas, HttpSchemas, KeepUnknown, NoSchemas, RegistrySettings, Schemas, Topics};
use crate::event::Table;
use crate::feed::settings::FeedSettings;
use crate::http::EdgeSettings;
use crate::http::testing::Testing;
use crate::otlp::OtlpSettings;
use crate::pipeline::Settings;
use crate::source::connect::ConnectorSettings;
use crate::source::kafka::{KafkaSettings, Owner};
use crate::source::postgres::follower::FollowSettings;
use crate::source::postgres::net::{ConnectSettings, split_ssl_mode};
use crate::source::postgres::session::PostgresSettings;
use crate::state::StateSettings;
use crate::tls::TlsError;
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings, Password};
use crate::warehouse::layout::Layout;
use crate::warehouse::sender::Pace;

use super::error::AppError;

/// The parts and limits that make a node.
pub struct Setup {
    pub data_dir: PathBuf,
    pub clock: Clock,
    pub settings: Settings,
    pub state: StateSettings,
    pub topics: Topics,
    pub schemas: Arc<dyn Schemas>,
    /// The connector's placeholder for unchanged values, if the connector does not use Debezium's default.
    pub placeholder: Option<String>,
    /// The columns that nova does not know and nevertheless keeps.
    pub keep_unknown: KeepUnknown,
    /// The settings of the Kafka cluster from which records come. If `kafka` is `None`, client events come from nova's
    /// local log.
    pub kafka: Option<KafkaSettings>,
    /// The settings of the connector that writes the topics of the tables, if nova can ask Kafka Connect about the
    /// connector.
    pub connect: Option<ConnectorSettings>,
    /// The settings of the PostgreSQL server from which changes come directly. If changes come from PostgreSQL
    /// directly, Kafka has only client events.
    pub postgres: Option<PostgresSettings>,
    /// Whether this node is a replica. A replica reads the records that a primary node reads, and leaves to the primary
    /// what must be done only once.
    pub replica: bool,
    /// The settings of the ClickHouse server that gets the rows. If `clickhouse` is `None`, analytics are off.
    pub clickhouse: Option<ClickHouseSettings>,
    pub pace: Pace,
    pub drain: Drain,
    pub feed: FeedSettings,
    /// The settings of the OpenTelemetry collector that gets the traces.
    pub otlp: Option<OtlpSettings>,
    /// The URL of the Redis server to which nova copies feeds, suggestions and trending for readers outside nova.
    pub redis_url: Option<String>,
    /// The settings of the Redis port, if nova serves Redis clients.
    pub port: Option<PortSetup>,
    pub edge: EdgeSettings,
    /// The configuration in force by section and key, without secrets, for people to look at.
    pub shown: serde_json::Value,
    /// The settings of a server for tests, if the node is a server for tests.
    pub testing: Option<TestSetup>,
}

/// The settings that only a server for tests has.
#[derive(Clone)]
pub struct TestSetup {
    /// The object that carries out what the control routes of the test server ask for.
    pub control: Arc<dyn Testing>,
    /// The development key as PEM. Each process makes a new key.
    pub key: Arc<[u8]>,
    /// Whether requests need no token.
    pub anyone: bool,
    /// Whether jobs run only when a test moves the clock, and not at their intervals.
    pub by_hand: bool,
    /// The stand-in for ClickHouse. The stand-in has no views, so no job asks it.
    pub clickhouse: Option<ClickHouse>,
}

/// The settings of the Redis port.
#[derive(Clone, Copy, Debug)]
pub struct PortSetup {
    pub listen: SocketAddr,
    /// The limit in bytes of the cache behind the Redis port.
    pub cache_bytes: usize,
}

/// How long a node that ends waits for ClickHouse.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// The node stops waiting if ClickHouse acknowledges no row for this long.
    pub idle: Duration,
    pub most: Duration,
}

impl Setup {
    pub fn new(data_dir: impl Into<PathBuf>, topics: Topics, schemas: Arc<dyn Schemas>) -> Setup {
        let (settings, state) = (Settings::default(), StateSettings::default());
        // If the delivery takes longer than the limit `most`, a person has to decide. nova sends the rows that remain
        // in the outbox after the next start.
        let drain = Drain { idle: Duration::from_secs(10), most: Duration::from_secs(3_600) };
        Setup {
            data_dir: data_dir.into(),
            clock: Clock::System,
            settings,
            state,
            topics,
            schemas,
            placeholder: None,
            keep_unknown: KeepUnknown::default(),
            kafka: None,
            connect: None,
            postgres: None,
            replica: false,
            clickhouse: None,
            pace: Pace::default(),
            drain,
            feed: FeedSettings::default(),
            otlp: None,
            redis_url: None,
            port: None,
            edge: EdgeSettings::default(),
            shown: serde_json::Value::Null,
            testing: None,
        }
    }

    /// Makes the setup that a configuration describes.
    pub fn configured(config: &Config, schemas: Arc<dyn Schemas>) -> Setup {
        let (prefix, events) = (config.topic_prefix.clone(), config.events_topic.clone());
        let mut setup = Setup::new(&config.data_dir, Topics { prefix, events, last_part: false }, schemas);
        setup.settings.truncate = config.truncate;
        setup.settings.dedup_horizon_ms = i64::from(config.dedup_horizon_hours) * 3_600_000;
        setup.settings.outbox_max_bytes = u64::from(config.clickhouse_outbox_max_mib) << 20;
        setup.edge = config.edge.clone();
        setup.shown = config.json();
        setup.replica = config.kafka_replica;
        setup.feed = config.feed;
        setup.state = StateSettings { ranking: config.ranking, likes: config.likes, comments: config.comments };
        setup.placeholder.clone_from(&config.placeholder);
        setup.keep_unknown.clone_from(&config.keep_unknown);
        // Only the primary writes rows to ClickHouse and copies lists to the Redis server.
        if !setup.replica {
            setup.redis_url.clone_from(&config.redis_url);
            setup.clickhouse = clickhouse(config);
        }
        setup
    }

    /// Makes the setup of `nova serve`. The setup of `nova serve` has Kafka if brokers are configured.
    pub fn serving(config: &Config) -> Result<Setup, AppError> {
        let mut setup = Setup::configured(config, registry(config)?);
        setup.settings.breaker_dead_in_a_row = Some(BREAKER_DEAD_IN_A_ROW);
        setup.kafka = kafka(config);
        setup.connect = connect(config);
        setup.otlp.clone_from(&config.otlp);
        let cache_bytes = (config.cache_limit_mib as usize) << 20;
        setup.port = config.cache_listen.map(|listen| PortSetup { listen, cache_bytes });
        setup.postgres = postgres(config);
        setup.drain = Drain { idle: Duration::from_secs(2), most: Duration::from_secs(5) };
        Ok(setup)
    }

    /// Whether this node delivers rows to ClickHouse.
    pub(super) fn delivers(&self) -> bool {
        self.clickhouse.is_some() || self.stand_in().is_some()
    }

    /// Returns the client of the ClickHouse server that gets this node's rows. Returns `None` if this node sends no
    /// rows to ClickHouse.
    pub(super) fn delivers_to(&self) -> Result<Option<ClickHouse>, TlsError> {
        match self.stand_in() {
            Some(clickhouse) => Ok(Some(clickhouse.clone())),
            None => self.clickhouse.as_ref().map(ClickHouse::new).transpose(),
        }
    }

    fn stand_in(&self) -> Option<&ClickHouse> {
        self.testing.as_ref()?.clickhouse.as_ref()
    }

    pub fn decoder(&self) -> Decoder {
        let decoder = Decoder::new(self.topics.clone(), Arc::clone(&self.schemas)).with_kept(self.keep_unknown.clone());
        match &self.placeholder {
            Some(placeholder) => decoder.with_placeholder(placeholder),
            None => decoder,
        }
    }
}

/// nova holds a topic after this many undecodable records in a row.
const BREAKER_DEAD_IN_A_ROW: u32 = 100;
const CLICKHOUSE_TIMEOUT: Duration = Duration::from_secs(30);
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the settings of ClickHouse from a configuration.
pub fn clickhouse(config: &Config) -> Option<ClickHouseSettings> {
    let file = config.clickhouse_password_file.as_ref().map(|path| Password::File(path.into()));
    Some(ClickHouseSettings {
        url: config.clickhouse_url.clone()?,
        database: config.clickhouse_database.clone(),
        user: config.clickhouse_user.clone(),
        password: config.clickhouse_password.clone().map(Password::Text).or(file),
        ca_file: config.clickhouse_ca_file.as_ref().map(PathBuf::from),
        layout: layout(config),
        timeout: CLICKHOUSE_TIMEOUT,
    })
}

/// Returns the layout of ClickHouse's databases and tables from a configuration.
pub fn layout(config: &Config) -> Layout {
    Layout { replicated: config.clickhouse_replicated, cluster: config.clickhouse_cluster.clone() }
}

/// Returns the settings of Kafka from a configuration.
pub fn kafka(config: &Config) -> Option<KafkaSettings> {
    let security = [
        ("security.protocol", &config.kafka_security_protocol),
        ("sasl.mechanism", &config.kafka_sasl_mechanism),
        ("sasl.username", &config.kafka_sasl_username),
        ("sasl.password", &config.kafka_sasl_password),
        ("ssl.ca.location", &config.kafka_ssl_ca_location),
    ];
    Some(KafkaSettings {
        brokers: config.kafka_brokers.clone()?,
        group_id: config.kafka_group_id.clone(),
        instance_id: config.kafka_instance_id.clone(),
        owner: Owner::default(),
        take_over: false,
        security: security.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect(),
    })
}

/// Returns the connector's settings from a configuration, if nova reads the connector's topics.
fn connect(config: &Config) -> Option<ConnectorSettings> {
    let reads = config.kafka_brokers.is_some() && config.postgres_url.is_none();
    let url = config.connect_url.as_ref().filter(|_| reads)?;
    Some(ConnectorSettings::new(url, &config.connector))
}

/// Returns the settings of PostgreSQL from a configuration.
pub fn postgres(config: &Config) -> Option<PostgresSettings> {
    let (slot, publication) = (config.postgres_slot.clone(), config.postgres_publication.clone());
    let (url, ssl_mode) = split_ssl_mode(config.postgres_url.as_deref()?)?;
    Some(PostgresSettings {
        connect: ConnectSettings {
            url,
            password_file: config.postgres_password_file.as_ref().map(PathBuf::from),
            ssl_mode: ssl_mode.unwrap_or(config.postgres_ssl_mode),
            ca_file: config.postgres_ca_file.as_ref().map(PathBuf::from),
            slot: slot.clone(),
            publication: publication.clone(),
            failover: config.postgres_failover,
        },
        follow: FollowSettings {
            slot,
            publication,
            resnapshot: config.postgres_resnapshot,
            max_held_wal_mib: config.postgres_max_held_wal_mib,
        },
    })
}

/// Makes the client of the Schema Registry from a configuration.
pub fn registry(config: &Config) -> Result<Arc<dyn Schemas>, AppError> {
    let Some(url) = config.registry_url.clone() else { return Ok(Arc::new(NoSchemas)) };
    let password = config.registry_password.clone().unwrap_or_default();
    let basic_auth = config.registry_user.clone().map(|user| (user, password));
    let ca_file = config.registry_ca_file.as_ref().map(PathBuf::from);
    let settings = RegistrySettings { url, ca_file, basic_auth, timeout: REGISTRY_TIMEOUT };
    Ok(Arc::new(HttpSchemas::start(settings, || Clock::System.now_ms())?))
}

/// Returns the names of the topics of the source tables.
pub fn table_topics(topics: &Topics) -> Vec<String> {
    Table::ALL.iter().map(|table| format!("{}.{table}", topics.prefix)).collect()
}

/// Reads the schemas from a file beside a capture.
pub fn file_schemas(path: &Path) -> Result<FileSchemas, AppError> {
    let text = std::fs::read_to_string(path).map_err(|source| AppError::SchemasFile { path: path.into(), source })?;
    FileSchemas::parse(&text).map_err(|source| AppError::Schemas { path: path.into(), source })
}
