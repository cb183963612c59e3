//! The composition root: opens, recovers, wires, spawns, drains in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nova_storage::schema::EDGE;
use nova_storage::{OpenError, Options, ReadError, ReadTxn, Store};
use parking_lot::RwLock;
use serde_json::Value;

use crate::clock::Clock;
use crate::config::Config;
use crate::decode::{Decoder, FileSchemas, Schemas, SchemasError, Topics};
use crate::discover::dismissals::{self, Dismissals};
use crate::event::{Table, TopicPartition};
use crate::feed::snapshot::Snapshots;
use crate::http::auth::revocation;
use crate::http::{Auth, Edge, EdgeSettings, Gate, KeyError, Observed, Reads, idempotency};
use crate::pipeline::dead;
use crate::pipeline::ingest::{Ingest, IngestError};
use crate::pipeline::meta::Meta;
use crate::pipeline::progress::{PartitionStatus, Shared};
use crate::pipeline::writer::{Message, Parts, Recovery, RecoveryError, RecoveryReport, Writer, WriterError};
use crate::pipeline::{QUEUE_MAX_MESSAGES, Settings};
use crate::source::local::{LOCAL_PARTITION, LocalSource};
use crate::source::{Progress as _, Source, SourceError};
use crate::state::{State, StateSettings};

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
    pub edge: EdgeSettings,
}

impl Setup {
    pub fn new(data_dir: impl Into<PathBuf>, topics: Topics, schemas: Arc<dyn Schemas>) -> Setup {
        let (settings, state) = (Settings::default(), StateSettings::default());
        Setup {
            data_dir: data_dir.into(),
            clock: Clock::System,
            settings,
            state,
            topics,
            schemas,
            edge: EdgeSettings::default(),
        }
    }

    /// As a configuration says.
    pub fn configured(config: &Config, schemas: Arc<dyn Schemas>) -> Setup {
        let (prefix, events) = (config.topic_prefix.clone(), config.events_topic.clone());
        let mut setup = Setup::new(&config.data_dir, Topics { prefix, events, last_part: false }, schemas);
        setup.edge = config.edge.clone();
        setup.settings.truncate = config.truncate;
        setup.settings.dedup_horizon_ms = i64::from(config.dedup_horizon_hours) * 3_600_000;
        setup
    }

    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.topics.clone(), Arc::clone(&self.schemas))
    }
}

/// A recovered store with nothing running yet.
pub struct Opened {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub recovery: RecoveryReport,
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
    let parts = Parts {
        store: Arc::clone(&store),
        state: Arc::clone(&state),
        shared: Arc::clone(&shared),
        settings: setup.settings.clone(),
        clock: setup.clock.clone(),
        decoder: setup.decoder(),
        on_commit: None,
        local: None,
    };
    let told = |step: &str| tracing::debug!("recovery: {step}");
    let Recovery { writer, report } = Recovery::open(parts, setup.state.clone(), told)?;
    tracing::info!(
        journal_batches = report.journal_batches,
        dedup_keys = report.dedup_keys,
        checkpoint_bytes = report.checkpoint_bytes,
        "recovered"
    );
    Ok(Opened { store, state, shared, writer, recovery: report })
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
}

impl Opened {
    /// Starts both threads over a source.
    pub fn start(self, source: Box<dyn Source>, decoder: Decoder) -> Result<Running, AppError> {
        let (inbox, messages) = bounded(QUEUE_MAX_MESSAGES);
        let ingest = Ingest::new(source, decoder, Arc::clone(&self.shared), inbox.clone());
        let writer = self.writer;
        let writer = spawn("writer", move || writer.run(&messages))?;
        let (alive, ended) = bounded::<()>(0);
        let ingest = spawn("ingest", move || {
            let _alive = alive;
            ingest.run()
        })?;
        Ok(Running { shared: self.shared, state: self.state, store: self.store, inbox, writer, ingest, ended })
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
        !self.writer.is_finished() && !self.ingest.is_finished()
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
    let entries = edge_entries(store, dismissals::KIND)?;
    Ok(Dismissals::load(entries.iter().map(|(name, _)| name.as_slice())))
}

/// A name and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// What the edge's table has of one kind.
fn edge_entries(store: &Store, kind: &str) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    store.read()?.scan(EDGE, (kind, &[][..]).., |(found, name), value| {
        if found == kind {
            entries.push((name.to_vec(), value.to_vec()));
        }
        found == kind
    })?;
    Ok(entries)
}

/// What an admin sees of the store.
struct StoreReads(Arc<Store>);

impl StoreReads {
    fn read(&self) -> Result<ReadTxn, String> {
        self.0.read().map_err(|error| error.to_string())
    }
}

impl Reads for StoreReads {
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<Value>, String> {
        let page = dead::page(&self.read()?, after, limit).map_err(|error| error.to_string())?;
        Ok(page.iter().map(|(id, letter)| dead::summary(*id, letter)).collect())
    }

    fn dead_letter(&self, id: u64) -> Result<Option<Value>, String> {
        let letter = dead::get(&self.read()?, id).map_err(|error| error.to_string())?;
        Ok(letter.map(|letter| dead::whole(id, &letter)))
    }

    fn tables(&self) -> Result<Vec<Value>, String> {
        let meta = Meta::load(&self.read()?).map_err(|error| error.to_string())?.unwrap_or_default();
        let tables = Table::ALL.iter().zip(&meta.tables);
        Ok(tables.map(|(table, meta)| meta.json(*table)).collect())
    }
}

/// A node that serves: the batch loop over the local log, and what the edge needs.
pub struct Node {
    pub running: Running,
    pub edge: Arc<Edge>,
}

/// Starts the batch loop over the local log of client events.
pub fn start_node(setup: &Setup, mut opened: Opened, recovery: Duration) -> Result<Node, AppError> {
    let auth = Auth::configured(&setup.data_dir, &setup.edge.keys)?;
    auth.revocations.load(edge_entries(&opened.store, revocation::KIND)?.into_iter());
    let gate = Gate::new(setup.edge.clone(), Box::new(StoreReads(Arc::clone(&opened.store))));
    gate.answers.load(edge_entries(&opened.store, idempotency::KIND)?.into_iter());
    let health = Arc::clone(&gate.limiter.health);
    let observed = Arc::new(Observed::default());
    observed.recovery_micros.store(recovery.as_micros() as u64, Ordering::Relaxed);
    let told = Arc::clone(&observed);
    opened.writer.set_on_commit(Box::new(move |facts| {
        health.committed(facts.commit_ms);
        told.commits.fetch_add(1, Ordering::Relaxed);
        told.commit_micros.fetch_add((facts.commit_ms * 1e3) as u64, Ordering::Relaxed);
        told.dead_letters.store(facts.dead_letters, Ordering::Relaxed);
    }));
    let topic = setup.topics.events.as_str();
    let partition = TopicPartition::new(topic, LOCAL_PARTITION);
    let next = opened.shared.next_offset(&partition).unwrap_or(0);
    let (source, log, acks) = LocalSource::new(topic, next);
    opened.writer.set_local(acks);
    let dismissals = load_dismissals(&opened.store)?;
    let (state, shared) = (Arc::clone(&opened.state), Arc::clone(&opened.shared));
    let running = opened.start(Box::new(source), setup.decoder())?;
    let (clock, feeds, cursor_key) = (setup.clock.clone(), Snapshots::default(), auth.secret("cursor"));
    let writer = running.inbox.clone();
    let edge = Edge { clock, state, shared, log, auth, observed, feeds, cursor_key, dismissals, writer, gate };
    let edge = Arc::new(edge);
    Ok(Node { running, edge })
}
