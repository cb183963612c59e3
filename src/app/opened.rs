//! A recovered store that no thread uses yet, and the start of the threads that use the store.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use nova_storage::{CheckLimits, Options, Store};
use parking_lot::RwLock;

use crate::data_dir::backups::BACKUPS_DIR;
use crate::data_dir::{self, store_path};
use crate::http::auth::KEY_FILE;
use crate::pipeline::QUEUE_MAX_MESSAGES;
use crate::pipeline::ingest::Ingest;
use crate::pipeline::meta::Meta;
use crate::pipeline::progress::Shared;
use crate::pipeline::writer::{Message, Parts, Recovery, RecoveryReport, Writer};
use crate::source::Source;
use crate::state::State;
use crate::warehouse::sender::{Sender as Delivery, SenderParts};
use crate::warehouse::status::Status as WarehouseStatus;

use super::error::AppError;
use super::running::Running;
use super::setup::Setup;
use super::small_pages::SmallPages;
use super::store_check::StoreCheck;
use super::thread::spawn;

/// A recovered store that no thread uses yet.
pub struct Opened {
    pub store: Arc<Store>,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub writer: Writer,
    pub recovery: RecoveryReport,
    pub check: Arc<StoreCheck>,
    /// The status of the delivery, if rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
}

/// The size in bytes of the largest store whose pages a node checks before its first read. The time of that check is
/// enough for only a part of a larger store, so a node with a larger store checks all pages while it serves.
const CHECKED_FIRST_MAX_BYTES: u64 = 128 << 20;

/// Opens the store of a data directory for a node, and brings the state in memory to the last commit. The node checks
/// the pages that `open` did not check after [`Opened::start`].
pub fn open(setup: &Setup) -> Result<Opened, AppError> {
    let limits = CheckLimits { file_bytes: CHECKED_FIRST_MAX_BYTES, ..CheckLimits::default() };
    open_with(setup, &Options { check: Some(limits), ..Options::default() })
}

/// Opens the store of a stopped node as [`open`] does, but for a command, which checks no page after the first check.
pub fn open_stopped(setup: &Setup) -> Result<Opened, AppError> {
    open_with(setup, &Options::default())
}

fn open_with(setup: &Setup, options: &Options) -> Result<Opened, AppError> {
    let _small = SmallPages::begin();
    make_data_dir(&setup.data_dir)?;
    let told = |fraction: f64| tracing::info!(percent = (fraction * 100.0) as u32, "repairing the store after a crash");
    let path = store_path(&setup.data_dir);
    let store = Store::open(&path, options, told)?;
    for left in nova_storage::remove_leftovers(&path, &setup.data_dir.join(BACKUPS_DIR)) {
        tracing::warn!("{} was left by a command that was killed: removed", left.display());
    }
    data_dir::close_files(&setup.data_dir, KEY_FILE);
    open_store(setup, store)
}

/// Makes the data directory, which only its owner may read.
pub fn make_data_dir(path: &Path) -> Result<(), AppError> {
    data_dir::make(path).map_err(|source| AppError::DataDir { path: path.to_owned(), source })
}

/// Recovers the state from a store that is already open, without a known state.
pub fn open_store(setup: &Setup, store: Store) -> Result<Opened, AppError> {
    open_store_at(setup, store, None)
}

/// Recovers the state from a store that is already open. `known` is the state of the store's checkpoint, if the caller
/// has this state already.
pub fn open_store_at(setup: &Setup, store: Store, known: Option<State>) -> Result<Opened, AppError> {
    let store = Arc::new(store);
    let check = Arc::new(StoreCheck::new(&store));
    let state = Arc::new(RwLock::new(State::new(setup.state.clone())));
    let shared = Arc::new(Shared::default());
    let warehouse = setup.delivers().then(Arc::<WarehouseStatus>::default);
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

/// Returns the id of the store in a data directory. Returns `None` if the directory has no store, or if the store
/// cannot be read now.
pub fn store_id(data_dir: &Path) -> Option<u64> {
    let path = store_path(data_dir);
    let store = path.exists().then(|| Store::open(&path, &Options::default(), |_| {}).ok()).flatten()?;
    Some(Meta::load(&store.read().ok()?).ok()??.store_id)
}

impl Opened {
    /// Starts the two threads of the batch loop over a source. The delivery to ClickHouse also starts, if it is
    /// configured.
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
        let (Some(clickhouse), Some(status)) = (setup.delivers_to()?, &self.warehouse) else { return Ok(None) };
        let inbox = inbox.clone();
        let parts = SenderParts {
            store: Arc::clone(&self.store),
            clickhouse,
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
