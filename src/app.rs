//! The composition root: opens, recovers, wires, spawns, drains in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nova_storage::schema::EDGE;
use nova_storage::{OpenError, Options, ReadError, Store};
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::config::Config;
use crate::decode::{
    Decoder, FileSchemas, HttpSchemas, NoSchemas, RegistryError, RegistrySettings, Schemas, SchemasError, Topics,
};
use crate::discover::dismissals::{self, Dismissals};
use crate::event::Table;
use crate::event::TopicPartition;
use crate::feed::snapshot::Snapshots;
use crate::http::{Auth, Edge, KeyError, Log, Observed};
use crate::pipeline::ingest::{Ingest, IngestError};
use crate::pipeline::progress::{PartitionStatus, Shared};
use crate::pipeline::writer::{Message, Parts, Recovery, RecoveryError, RecoveryReport, Writer, WriterError};
use crate::pipeline::{QUEUE_MAX_MESSAGES, Settings};
use crate::source::kafka::{KafkaSettings, KafkaSource, KafkaStatus, Producer};
use crate::source::local::{LOCAL_PARTITION, LocalSource};
use crate::source::{Progress as _, Source, SourceError};
use crate::state::{State, StateSettings};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::sender::{Pace, Sender as Delivery, SenderParts};
use crate::warehouse::status::Status as WarehouseStatus;

/// Name of the store within the data directory.
pub const STORE_FILE: &str = "nova.redb";

/// Why nova cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot make the data directory {path}: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read {path}: {source}")]
    SchemasFile { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Schemas { path: PathBuf, source: SchemasError },
    #[error("the thread {0} ended unexpectedly; this is a defect of nova, nothing that was committed is lost")]
    Panicked(&'static str),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Registry(#[from] RegistryError),
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("cannot start the thread {name}: {source}")]
    Spawn { name: &'static str, source: std::io::Error },
}

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
    /// Where records come from; `None` is the local log.
    pub kafka: Option<KafkaSettings>,
    /// Where rows go; `None` turns analytics off.
    pub clickhouse: Option<ClickHouseSettings>,
    pub pace: Pace,
    pub drain: Drain,
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
            kafka: None,
            clickhouse: None,
            pace: Pace::default(),
            drain,
        }
    }

    /// As a configuration says.
    pub fn configured(config: &Config, schemas: Arc<dyn Schemas>) -> Setup {
        let (prefix, events) = (config.topic_prefix.clone(), config.events_topic.clone());
        let mut setup = Setup::new(&config.data_dir, Topics { prefix, events, last_part: false }, schemas);
        setup.settings.truncate = config.truncate;
        setup.settings.dedup_horizon_ms = i64::from(config.dedup_horizon_hours) * 3_600_000;
        setup.settings.outbox_max_bytes = u64::from(config.clickhouse_outbox_max_mib) << 20;
        setup.placeholder.clone_from(&config.placeholder);
        setup.clickhouse = clickhouse(config);
        setup
    }

    /// What `nova serve` runs: besides, Kafka where brokers are configured.
    pub fn serving(config: &Config) -> Result<Setup, AppError> {
        let mut setup = Setup::configured(config, registry(config)?);
        setup.settings.breaker_dead_in_a_row = Some(BREAKER_DEAD_IN_A_ROW);
        setup.kafka = kafka(config);
        setup.drain = Drain { idle: Duration::from_secs(2), most: Duration::from_secs(5) };
        Ok(setup)
    }

    pub fn decoder(&self) -> Decoder {
        let decoder = Decoder::new(self.topics.clone(), Arc::clone(&self.schemas));
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
    Some(ClickHouseSettings {
        url: config.clickhouse_url.clone()?,
        database: config.clickhouse_database.clone(),
        user: config.clickhouse_user.clone(),
        password: config.clickhouse_password.clone(),
        timeout: CLICKHOUSE_TIMEOUT,
    })
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
        security: security.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect(),
    })
}

/// The Schema Registry as configured.
pub fn registry(config: &Config) -> Result<Arc<dyn Schemas>, AppError> {
    let Some(url) = config.registry_url.clone() else { return Ok(Arc::new(NoSchemas)) };
    let password = config.registry_password.clone().unwrap_or_default();
    let basic_auth = config.registry_user.clone().map(|user| (user, password));
    let settings = RegistrySettings { url, basic_auth, timeout: REGISTRY_TIMEOUT };
    Ok(Arc::new(HttpSchemas::start(settings, || Clock::System.now_ms())?))
}

/// The topics of the source tables.
pub fn table_topics(topics: &Topics) -> Vec<String> {
    Table::ALL.iter().map(|table| format!("{}.{table}", topics.prefix)).collect()
}

/// A recovered store with nothing running yet.
pub struct Opened {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub recovery: RecoveryReport,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
}

/// The schemas of a file that stands beside a capture.
pub fn file_schemas(path: &Path) -> Result<FileSchemas, AppError> {
    let text = std::fs::read_to_string(path).map_err(|source| AppError::SchemasFile { path: path.into(), source })?;
    FileSchemas::parse(&text).map_err(|source| AppError::Schemas { path: path.into(), source })
}

/// Opens the store of a data directory and brings memory to its last commit.
pub fn open(setup: &Setup) -> Result<Opened, AppError> {
    std::fs::create_dir_all(&setup.data_dir)
        .map_err(|source| AppError::DataDir { path: setup.data_dir.clone(), source })?;
    let told = |fraction: f64| tracing::info!(percent = (fraction * 100.0) as u32, "repairing the store after a crash");
    let store = Store::open(&store_path(&setup.data_dir), &Options::default(), told)?;
    open_store(setup, store)
}

/// The same over a store that is open already.
pub fn open_store(setup: &Setup, store: Store) -> Result<Opened, AppError> {
    let store = Arc::new(store);
    let state = Arc::new(RwLock::new(State::new(setup.state.clone())));
    let shared = Arc::new(Shared::default());
    let warehouse = setup.clickhouse.as_ref().map(|_| Arc::<WarehouseStatus>::default());
    let parts = Parts {
        store: Arc::clone(&store),
        state: Arc::clone(&state),
        shared: Arc::clone(&shared),
        settings: setup.settings.clone(),
        clock: setup.clock.clone(),
        decoder: setup.decoder(),
        on_commit: None,
        local: None,
        warehouse: warehouse.clone(),
    };
    let told = |step: &str| tracing::debug!("recovery: {step}");
    let Recovery { writer, report } = Recovery::open(parts, setup.state.clone(), told)?;
    tracing::info!(
        journal_batches = report.journal_batches,
        dedup_keys = report.dedup_keys,
        checkpoint_bytes = report.checkpoint_bytes,
        "recovered"
    );
    Ok(Opened { store, state, shared, writer, recovery: report, warehouse })
}

pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE_FILE)
}

/// The two threads of the batch loop, running.
pub struct Running {
    pub shared: Arc<Shared>,
    pub state: Arc<RwLock<State>>,
    pub store: Arc<Store>,
    pub inbox: Sender<Message>,
    writer: JoinHandle<Result<(), WriterError>>,
    ingest: JoinHandle<Result<(), IngestError>>,
    /// Closed when ingest has ended.
    ended: Receiver<()>,
    delivery: Option<Delivery>,
    drain: Drain,
}

impl Opened {
    /// Starts both threads over a source, and the delivery to ClickHouse where there is one.
    pub fn start(self, source: Box<dyn Source>, setup: &Setup) -> Result<Running, AppError> {
        let (inbox, messages) = bounded(QUEUE_MAX_MESSAGES);
        let ingest = Ingest::new(source, setup.decoder(), Arc::clone(&self.shared), inbox.clone());
        let delivery = self.delivery(setup, &inbox)?;
        let writer = self.writer;
        let writer = spawn("writer", move || writer.run(&messages))?;
        let (alive, ended) = bounded::<()>(0);
        let ingest = spawn("ingest", move || {
            let _alive = alive;
            ingest.run()
        })?;
        let (shared, state, store, drain) = (self.shared, self.state, self.store, setup.drain);
        Ok(Running { shared, state, store, inbox, writer, ingest, ended, delivery, drain })
    }

    fn delivery(&self, setup: &Setup, inbox: &Sender<Message>) -> Result<Option<Delivery>, AppError> {
        let (Some(settings), Some(status)) = (&setup.clickhouse, &self.warehouse) else { return Ok(None) };
        let inbox = inbox.clone();
        let parts = SenderParts {
            store: Arc::clone(&self.store),
            clickhouse: ClickHouse::new(settings),
            status: Arc::clone(status),
            clock: setup.clock.clone(),
            pace: setup.pace,
            store_id: self.writer.store_id(),
            report: Box::new(move |settled| inbox.send(Message::Delivered(settled)).is_ok()),
        };
        let started = Delivery::start(parts);
        Ok(Some(started.map_err(|source| AppError::Spawn { name: "warehouse", source })?))
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, AppError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map_err(|source| AppError::Spawn { name, source })
}

impl Running {
    /// Whether both threads run.
    pub fn alive(&self) -> bool {
        let delivers = self.delivery.as_ref().is_none_or(Delivery::alive);
        !self.writer.is_finished() && !self.ingest.is_finished() && delivers
    }

    /// Waits for the source's end, telling `tick` the positions now and then, and for both threads.
    pub fn finish(self, mut tick: impl FnMut(&[PartitionStatus])) -> Result<Vec<PartitionStatus>, AppError> {
        const TICK: Duration = Duration::from_millis(100);
        while self.ended.recv_timeout(TICK) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tick(&self.shared.partitions());
            if self.writer.is_finished() {
                self.shared.stop();
            }
        }
        let ingested = self.ingest.join().map_err(|_| AppError::Panicked("ingest"))?;
        if let Some(delivery) = self.delivery {
            let _ = self.inbox.send(Message::Seal);
            let (told, sealed) = bounded(1);
            let _ = self.inbox.send(Message::Barrier(told));
            let _ = sealed.recv();
            if !self.writer.is_finished() && !delivery.finish(self.drain.idle, self.drain.most) {
                tracing::warn!("rows are left in the outbox; they go to ClickHouse after the next start");
            }
        }
        // A writer that has ended tells why when it is joined.
        let _ = self.inbox.send(Message::Stop);
        self.writer.join().map_err(|_| AppError::Panicked("writer"))??;
        ingested?;
        let partitions = self.shared.partitions();
        tick(&partitions);
        Ok(partitions)
    }
}

/// The dismissals of a store.
pub fn load_dismissals(store: &Store) -> Result<Dismissals, ReadError> {
    let mut names = Vec::new();
    store.read()?.scan(EDGE, (dismissals::KIND, &[][..]).., |(kind, name), _| {
        names.push(name.to_vec());
        kind == dismissals::KIND
    })?;
    Ok(Dismissals::load(names.iter().map(Vec::as_slice)))
}

/// A node that serves: the batch loop over the local log, and what the edge needs.
pub struct Node {
    pub running: Running,
    pub edge: Arc<Edge>,
}

/// Starts the batch loop over Kafka, or over the local log of client events.
pub fn start_node(setup: &Setup, mut opened: Opened, recovery: Duration) -> Result<Node, AppError> {
    let auth = Auth::open(&setup.data_dir)?;
    let observed = Arc::new(Observed::default());
    observed.recovery_micros.store(recovery.as_micros() as u64, Ordering::Relaxed);
    let told = Arc::clone(&observed);
    opened.writer.set_on_commit(Box::new(move |facts| {
        told.commits.fetch_add(1, Ordering::Relaxed);
        told.commit_micros.fetch_add((facts.commit_ms * 1e3) as u64, Ordering::Relaxed);
        told.dead_letters.store(facts.dead_letters, Ordering::Relaxed);
    }));
    let Feed { source, log, kafka } = source(setup, &mut opened)?;
    if setup.clickhouse.is_none() {
        tracing::info!("clickhouse.url is not set: rows are not sent anywhere");
    }
    let dismissals = load_dismissals(&opened.store)?;
    let (state, shared, warehouse) = (Arc::clone(&opened.state), Arc::clone(&opened.shared), opened.warehouse.clone());
    let running = opened.start(source, setup)?;
    let (clock, feeds, cursor_key) = (setup.clock.clone(), Snapshots::default(), auth.secret("cursor"));
    let writer = running.inbox.clone();
    let edge =
        Edge { clock, state, shared, log, auth, observed, feeds, cursor_key, dismissals, writer, warehouse, kafka };
    Ok(Node { running, edge: Arc::new(edge) })
}

/// Where records come from, and where the edge puts client events.
struct Feed {
    source: Box<dyn Source>,
    log: Log,
    kafka: Option<Arc<KafkaStatus>>,
}

fn source(setup: &Setup, opened: &mut Opened) -> Result<Feed, AppError> {
    let events = setup.topics.events.as_str();
    let Some(settings) = &setup.kafka else {
        let next = opened.shared.next_offset(&TopicPartition::new(events, LOCAL_PARTITION)).unwrap_or(0);
        let (source, log, acks) = LocalSource::new(events, next);
        opened.writer.set_local(acks);
        return Ok(Feed { source: Box::new(source), log: Log::Local(log), kafka: None });
    };
    let mut settings = settings.clone();
    // A copy of the store elsewhere has the same name, and the group lets only one of them in.
    settings.instance_id.get_or_insert_with(|| format!("nova-{:016x}", opened.writer.store_id()));
    let status = Arc::<KafkaStatus>::default();
    let mut topics = table_topics(&setup.topics);
    topics.push(events.to_owned());
    let source = KafkaSource::new(&settings, &topics, Arc::clone(&opened.shared) as _, Arc::clone(&status))?;
    let log = Log::Kafka(Producer::new(&settings, events)?);
    Ok(Feed { source: Box::new(source), log, kafka: Some(status) })
}
