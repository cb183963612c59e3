//! What the edge may see of the store.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nova_storage::seal::hex;
use nova_storage::{CopyError, OpenError, ReadTxn, Store};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::decode::Decoder;
use crate::event::Table;
use crate::files;
use crate::http::{BackupFailed, BackupMade, BackupTimes, Cause, CheckState, ReadFailed, Reads, StoreChecked};
use crate::pipeline::meta::{Meta, TableTold};
use crate::pipeline::{audit, dead, sent};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};

use super::setup::Setup;
use super::{AppError, Opened, StoreCheck, backups, store_path};

/// How long a backup waits for a check of the store's pages.
const CHECK_WAIT: Duration = Duration::from_secs(10);

/// What an admin sees of the store.
pub(super) struct StoreReads {
    store: Arc<Store>,
    decoder: Mutex<Decoder>,
    clickhouse: Option<ClickHouseSettings>,
    data_dir: PathBuf,
    clock: Clock,
    check: Arc<StoreCheck>,
    /// Held by the backup that is being made: a second one of its name would take its file away.
    copying: Mutex<()>,
}

/// What went wrong, for the edge.
fn cause(error: impl Into<Cause>) -> Cause {
    error.into()
}

impl StoreReads {
    pub fn new(setup: &Setup, opened: &Opened) -> StoreReads {
        StoreReads {
            store: Arc::clone(&opened.store),
            decoder: Mutex::new(setup.decoder()),
            clickhouse: setup.clickhouse.clone(),
            data_dir: setup.data_dir.clone(),
            clock: setup.clock.clone(),
            check: Arc::clone(&opened.check),
            copying: Mutex::default(),
        }
    }

    fn read(&self) -> Result<ReadTxn, Cause> {
        self.store.read().map_err(cause)
    }
}

impl Reads for StoreReads {
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<dead::Summary>, ReadFailed> {
        let page = dead::page(&self.read()?, after, limit).map_err(cause)?;
        Ok(page.iter().map(|(id, letter)| dead::summary(*id, letter)).collect())
    }

    fn dead_letter(&self, id: u64) -> Result<Option<dead::Whole>, ReadFailed> {
        let letter = dead::get(&self.read()?, id).map_err(cause)?;
        Ok(letter.map(|letter| dead::whole(id, &letter)))
    }

    fn sent(&self, letters: &[u64]) -> Result<BTreeSet<u64>, ReadFailed> {
        let found = sent(&self.store, &mut self.decoder.lock(), self.clickhouse.as_ref(), letters);
        Ok(found.map_err(cause)?)
    }

    fn audit(&self, after: Option<u64>, limit: usize) -> Result<Vec<audit::Listed>, ReadFailed> {
        let page = audit::page(&self.read()?, after, limit).map_err(cause)?;
        Ok(page.iter().map(|(id, entry)| entry.listed(*id)).collect())
    }

    fn backup(&self, name: &str) -> Result<BackupMade, BackupFailed> {
        let Some(_one) = self.copying.try_lock() else { return Err(BackupFailed::Busy) };
        let dir = self.data_dir.join(backups::BACKUPS_DIR);
        files::private_dir(&dir).map_err(cause)?;
        let dir = dir.canonicalize().map_err(cause)?;
        let file = dir.join(name);
        let Some(_alone) = self.check.alone(CHECK_WAIT) else {
            return Err(BackupFailed::Checking { left_s: self.check.left_s() });
        };
        let copied = backups::make(&self.store, &self.data_dir, &file, self.clock.now_ms()).map_err(|error| {
            let text = error.to_string();
            if let CopyError::Open(error @ OpenError::Damaged { .. }) = error {
                self.check.damaged(error);
            }
            cause(text)
        })?;
        let (entries, sha256) = (copied.entries, hex(&copied.seal.sha256));
        Ok(BackupMade { file: file.display().to_string(), entries, sha256 })
    }

    fn backup_times(&self) -> Option<BackupTimes> {
        let backups::Latest { made_at_ms, verified_at_ms, verify_failed, .. } = backups::latest(&self.data_dir)?;
        Some(BackupTimes { made_at_ms, verified_at_ms, verify_failed })
    }

    fn store_check(&self) -> CheckState {
        self.check.state()
    }

    fn store_checks(&self) -> watch::Receiver<CheckState> {
        self.check.states()
    }

    fn store_checked(&self) -> StoreChecked {
        let (check, bytes) = (self.check.state(), self.store.bytes());
        StoreChecked {
            store: store_path(&self.data_dir).display().to_string(),
            check,
            bytes,
            checked_bytes: match check {
                CheckState::Ok => bytes,
                _ => self.check.read_bytes().min(bytes),
            },
            detail: self.check.damage(),
        }
    }

    fn check_store(&self) -> Result<(), ReadFailed> {
        Ok(self.check.again().map_err(cause)?)
    }

    fn disk_free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.data_dir).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn tables(&self) -> Result<Vec<TableTold>, ReadFailed> {
        let meta = Meta::load(&self.read()?).map_err(cause)?.unwrap_or_default();
        let tables = Table::ALL.iter().zip(&meta.tables);
        Ok(tables.map(|(table, meta)| meta.told(*table)).collect())
    }
}

/// Those of these dead letters whose event ClickHouse has, where there is one. Waits for its answer.
pub fn sent(
    store: &Store,
    decoder: &mut Decoder,
    clickhouse: Option<&ClickHouseSettings>,
    letters: &[u64],
) -> Result<BTreeSet<u64>, AppError> {
    let Some(settings) = clickhouse else { return Ok(BTreeSet::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Runtime)?;
    let clickhouse = ClickHouse::new(settings)?;
    Ok(runtime.block_on(sent::sent(store, decoder, &clickhouse, letters))?)
}
