//! The composition root: opens, recovers, wires, spawns, drains in order. `setup` is what a node is made from, `node`
//! what serves, `store_check` looks at a large store beside serving, `backups` makes and notes copies; here is what every
//! command shares.

pub mod backups;
pub mod compare;
mod jobs;
pub mod listening;
mod logs;
mod node;
pub mod preflight;
mod reads;
pub mod rows;
mod setup;
mod store_check;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nova_storage::{OpenError, Options, ReadError, Store};
use parking_lot::RwLock;

use crate::cache::CacheError;
use crate::decode::{RegistryError, SchemasError};
use crate::files;
use crate::http::{BindError, CheckState, KeyError};
use crate::pipeline::QUEUE_MAX_MESSAGES;
use crate::pipeline::ingest::{Ingest, IngestError};
use crate::pipeline::meta::Meta;
use crate::pipeline::progress::{PartitionStatus, Shared};
use crate::pipeline::sent::SentError;
use crate::pipeline::writer::{Command, Message, Parts, Recovery, RecoveryError, RecoveryReport, Writer, WriterError};
use crate::redis_port;
use crate::source::postgres::session::Session;
use crate::source::{Source, SourceError};
use crate::state::State;
use crate::tls::TlsError;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::sender::{Sender as Delivery, SenderParts};
use crate::warehouse::status::Status as WarehouseStatus;

pub use self::node::{Node, load_dismissals, load_overrides, start_node};
pub use self::reads::{sent, stored_row};
pub use self::setup::{
    Drain, PortSetup, Setup, TestSetup, clickhouse, file_schemas, kafka, layout, postgres, registry, table_topics,
};
pub use self::store_check::StoreCheck;

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
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error(transparent)]
    Port(#[from] redis_port::BindError),
    #[error("{0}")]
    Registry(#[from] RegistryError),
    #[error("clickhouse: {0}")]
    ClickHouse(#[from] TlsError),
    #[error("whether events were sent already cannot be asked, so none is replayed by force: {0}")]
    Sent(#[from] SentError),
    #[error("ClickHouse cannot be asked: {0}")]
    Asked(crate::warehouse::verdict::Failure),
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("cache.redis_url: {0}")]
    Cache(#[from] CacheError),
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("cannot start the thread {name}: {source}")]
    Spawn { name: &'static str, source: std::io::Error },
}

/// A recovered store with nothing running yet.
pub struct Opened {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub recovery: RecoveryReport,
    pub check: Arc<StoreCheck>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
}

/// Opens the store of a data directory and brings memory to its last commit.
pub fn open(setup: &Setup) -> Result<Opened, AppError> {
    make_data_dir(&setup.data_dir)?;
    let told = |fraction: f64| tracing::info!(percent = (fraction * 100.0) as u32, "repairing the store after a crash");
    let path = store_path(&setup.data_dir);
    let store = Store::open(&path, &Options::default(), told)?;
    for left in nova_storage::remove_leftovers(&path, &setup.data_dir.join(backups::BACKUPS_DIR)) {
        tracing::warn!("{} was left by a command that was killed: removed", left.display());
    }
    backups::close_files(&setup.data_dir);
    open_store(setup, store)
}

/// Makes the data directory, for its owner alone.
pub fn make_data_dir(data_dir: &Path) -> Result<(), AppError> {
    files::private_dir(data_dir).map_err(|source| AppError::DataDir { path: data_dir.to_owned(), source })
}

/// The same over a store that is open already.
pub fn open_store(setup: &Setup, store: Store) -> Result<Opened, AppError> {
    open_store_at(setup, store, None)
}

/// The same, where the state of the store's checkpoint is known.
pub fn open_store_at(setup: &Setup, store: Store, known: Option<State>) -> Result<Opened, AppError> {
    let store = Arc::new(store);
    let check = Arc::new(StoreCheck::new(&store));
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
    let Recovery { writer, report } = Recovery::open_at(parts, setup.state.clone(), known, told)?;
    tracing::debug!(
        journal_batches = report.journal_batches,
        dedup_keys = report.dedup_keys,
        checkpoint_bytes = report.checkpoint_bytes,
        "recovered"
    );
    Ok(Opened { store, state, shared, writer, recovery: report, check, warehouse })
}

pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE_FILE)
}

/// The id of the store in a data directory; `None` where there is none, or where it cannot be read now.
pub fn store_id(data_dir: &Path) -> Option<u64> {
    let path = store_path(data_dir);
    let store = path.exists().then(|| Store::open(&path, &Options::default(), |_| {}).ok()).flatten()?;
    Some(Meta::load(&store.read().ok()?).ok()??.store_id)
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
    check: Arc<StoreCheck>,
    drain: Drain,
    /// Told of the last commit before the end.
    session: Option<Session>,
}

impl Opened {
    /// Starts both threads over a source, and the delivery to ClickHouse where there is one.
    pub fn start(self, source: Box<dyn Source>, setup: &Setup) -> Result<Running, AppError> {
        let (inbox, messages) = bounded(QUEUE_MAX_MESSAGES);
        let ingest = Ingest::new(source, setup.decoder(), Arc::clone(&self.shared), inbox.clone());
        let delivery = self.delivery(setup, &inbox)?;
        self.check.start()?;
        let writer = self.writer;
        let writer = spawn("writer", move || writer.run(&messages))?;
        let (alive, ended) = bounded::<()>(0);
        let ingest = spawn("ingest", move || {
            let _alive = alive;
            ingest.run()
        })?;
        let (shared, state, store, check, drain) = (self.shared, self.state, self.store, self.check, setup.drain);
        let session = None;
        Ok(Running { shared, state, store, inbox, writer, ingest, ended, delivery, check, drain, session })
    }

    fn delivery(&self, setup: &Setup, inbox: &Sender<Message>) -> Result<Option<Delivery>, AppError> {
        let (Some(settings), Some(status)) = (&setup.clickhouse, &self.warehouse) else { return Ok(None) };
        let inbox = inbox.clone();
        let parts = SenderParts {
            store: Arc::clone(&self.store),
            clickhouse: ClickHouse::new(settings)?,
            status: Arc::clone(status),
            clock: setup.clock.clone(),
            pace: setup.pace,
            store_id: self.writer.store_id(),
            report: Box::new(move |report| inbox.send(Message::Delivered(report)).is_ok()),
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
    /// The session with PostgreSQL ends after the last commit, of which it tells the server.
    fn ends_with(&mut self, session: Option<Session>) {
        self.session = session;
    }

    /// Whether both threads run, and the store is as it was written.
    pub fn alive(&self) -> bool {
        let delivers = self.delivery.as_ref().is_none_or(Delivery::alive);
        let whole = self.check.state() != CheckState::Damaged;
        whole && !self.writer.is_finished() && !self.ingest.is_finished() && delivers
    }

    /// Waits for the source's end, telling `tick` the positions now and then, and for both threads.
    pub fn finish(self, mut tick: impl FnMut(&[PartitionStatus])) -> Result<Vec<PartitionStatus>, AppError> {
        const TICK: Duration = Duration::from_millis(100);
        while self.ended.recv_timeout(TICK) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            tick(&self.shared.partitions());
            if self.writer.is_finished() || self.check.state() == CheckState::Damaged {
                self.shared.stop();
            }
        }
        let ingested = self.ingest.join().map_err(|_| AppError::Panicked("ingest"))?;
        if ingested.is_ok() && !self.shared.stopping() {
            // The source was read to its end, as a capture is.
            let _ = self.inbox.send(Message::Command(Command::EndFirstSnapshot { reply: Box::new(|_| ()) }));
        }
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
        self.session.into_iter().for_each(Session::end);
        ingested?;
        self.check.end()?;
        let mut partitions = self.shared.partitions();
        // Nothing that could end such a wait comes after the source's end.
        for (name, reason) in self.shared.waits() {
            let waits = partitions.iter_mut().filter(|status| status.name == name);
            waits.filter(|status| status.hold.is_none()).for_each(|status| status.hold = Some(Arc::clone(&reason)));
        }
        tick(&partitions);
        Ok(partitions)
    }
}
