//! What a node is made from, and how a configuration says it.

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

/// What a node is made from.
pub struct Setup {
    pub data_dir: PathBuf,
    pub clock: Clock,
    pub settings: Settings,
    pub state: StateSettings,
    pub topics: Topics,
    pub schemas: Arc<dyn Schemas>,
    /// The connector's placeholder for unchanged values, where it is not Debezium's own.
    pub placeholder: Option<String>,
    /// Which columns are kept that nova does not know.
    pub keep_unknown: KeepUnknown,
    /// Where records come from; `None` is the local log.
    pub kafka: Option<KafkaSettings>,
    /// Who writes the topics of the tables, where Connect can be asked about it.
    pub connect: Option<ConnectorSettings>,
    /// Where changes come from, where they come from PostgreSQL itself; then Kafka has only client events.
    pub postgres: Option<PostgresSettings>,
    /// Reads what another node reads, and leaves to that one what is done once.
    pub replica: bool,
    /// Where rows go; `None` turns analytics off.
    pub clickhouse: Option<ClickHouseSettings>,
    pub pace: Pace,
    pub drain: Drain,
    pub feed: FeedSettings,
    /// The collector of OpenTelemetry that gets the traces.
    pub otlp: Option<OtlpSettings>,
    /// Where feeds, suggestions and trending are copied for other readers.
    pub redis_url: Option<String>,
    /// Where Redis clients are served, if they are.
    pub port: Option<PortSetup>,
    pub edge: EdgeSettings,
    /// What is in force by section and key, without secrets, for people to look at.
    pub shown: serde_json::Value,
    /// Set in a server for tests.
    pub testing: Option<TestSetup>,
}

/// What is different in a server for tests.
#[derive(Clone)]
pub struct TestSetup {
    /// Does what its control routes ask for.
    pub control: Arc<dyn Testing>,
    /// The development key, PEM: it lives as long as the process.
    pub key: Arc<[u8]>,
    /// No token is needed.
    pub anyone: bool,
    /// Jobs run when the clock is moved, and not by their rhythm.
    pub by_hand: bool,
    /// What stands for ClickHouse. It has no views, so no job asks it.
    pub clickhouse: Option<ClickHouse>,
}

/// The Redis port.
#[derive(Clone, Copy, Debug)]
pub struct PortSetup {
    pub listen: SocketAddr,
    /// What the cache behind it may take.
    pub cache_bytes: usize,
}

/// How long the end waits for ClickHouse.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Without a single row acknowledged.
    pub idle: Duration,
    pub most: Duration,
}

impl Setup {
    pub fn new(data_dir: impl Into<PathBuf>, topics: Topics, schemas: Arc<dyn Schemas>) -> Setup {
        let (settings, state) = (Settings::default(), StateSettings::default());
        // Longer than a replay waits is for a person to decide; what is left goes out after the next start.
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

    /// As a configuration says.
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
        // Rows and shared lists are the primary's to write.
        if !setup.replica {
            setup.redis_url.clone_from(&config.redis_url);
            setup.clickhouse = clickhouse(config);
        }
        setup
    }

    /// What `nova serve` runs: besides, Kafka where brokers are configured.
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

    /// Whether rows are delivered.
    pub(super) fn delivers(&self) -> bool {
        self.clickhouse.is_some() || self.stand_in().is_some()
    }

    /// The ClickHouse that gets the rows; `None` where none are delivered.
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

/// Undecodable records in a row after which a topic is held.
const BREAKER_DEAD_IN_A_ROW: u32 = 100;
const CLICKHOUSE_TIMEOUT: Duration = Duration::from_secs(30);
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(5);

/// ClickHouse as configured.
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

/// Where ClickHouse's tables live, as configured.
pub fn layout(config: &Config) -> Layout {
    Layout { replicated: config.clickhouse_replicated, cluster: config.clickhouse_cluster.clone() }
}

/// Kafka as configured.
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

/// The connector as configured, where its topics are read.
fn connect(config: &Config) -> Option<ConnectorSettings> {
    let reads = config.kafka_brokers.is_some() && config.postgres_url.is_none();
    let url = config.connect_url.as_ref().filter(|_| reads)?;
    Some(ConnectorSettings::new(url, &config.connector))
}

/// PostgreSQL as configured.
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

/// The Schema Registry as configured.
pub fn registry(config: &Config) -> Result<Arc<dyn Schemas>, AppError> {
    let Some(url) = config.registry_url.clone() else { return Ok(Arc::new(NoSchemas)) };
    let password = config.registry_password.clone().unwrap_or_default();
    let basic_auth = config.registry_user.clone().map(|user| (user, password));
    let ca_file = config.registry_ca_file.as_ref().map(PathBuf::from);
    let settings = RegistrySettings { url, ca_file, basic_auth, timeout: REGISTRY_TIMEOUT };
    Ok(Arc::new(HttpSchemas::start(settings, || Clock::System.now_ms())?))
}

/// The topics of the source tables.
pub fn table_topics(topics: &Topics) -> Vec<String> {
    Table::ALL.iter().map(|table| format!("{}.{table}", topics.prefix)).collect()
}

/// The schemas of a file that stands beside a capture.
pub fn file_schemas(path: &Path) -> Result<FileSchemas, AppError> {
    let text = std::fs::read_to_string(path).map_err(|source| AppError::SchemasFile { path: path.into(), source })?;
    FileSchemas::parse(&text).map_err(|source| AppError::Schemas { path: path.into(), source })
}
