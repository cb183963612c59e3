//! The reads of the store that the edge may request.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nova_storage::seal::hex;
use nova_storage::store::FORMAT;
use nova_storage::{Copied, CopyError, OpenError, ReadError, ReadTxn, Store};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::data_dir::{backups, store_path};
use crate::decode::Decoder;
use crate::event::{Id, Table};
use crate::files;
use crate::http::shapes::DeadReason;
use crate::http::{BackupFailed, BackupMade, BackupTimes, Cause, CheckState, ReadFailed, Reads, StoreChecked, Stored};
use crate::pipeline::meta::{Meta, TableTold};
use crate::pipeline::seen::Seen;
use crate::pipeline::{audit, dead, row_json, sent};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::status::Status as WarehouseStatus;
use crate::warehouse::waited::waited;

use super::compare::compare;
use super::error::AppError;
use super::opened::Opened;
use super::setup::Setup;
use super::store_check::StoreCheck;

/// How long a backup waits for a check of the store's pages.
const CHECK_WAIT: Duration = Duration::from_secs(10);
/// The maximum number of dead letters whose reasons one answer counts.
const REASONS_MAX_LETTERS: usize = 10_000;
/// A copy's file name has this ending until the copy is complete. The start of nova removes every file with this
/// ending, because a killed process has left the file.
const HANDED_OVER: &str = "handed-over.copying";

/// The store, with the reads that an admin may request.
pub(super) struct StoreReads {
    store: Arc<Store>,
    decoder: Mutex<Decoder>,
    clickhouse: Option<ClickHouseSettings>,
    data_dir: PathBuf,
    on_disk: bool,
    clock: Clock,
    check: Arc<StoreCheck>,
    /// The status of the delivery, if rows go to ClickHouse.
    warehouse: Option<Arc<WarehouseStatus>>,
    /// A thread that makes a backup holds the lock `copying`, because a second backup with the same name would replace
    /// the first backup's file.
    copying: Mutex<()>,
}

/// Converts an error into a cause for the edge.
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
            on_disk: setup.testing.is_none(),
            clock: setup.clock.clone(),
            check: Arc::clone(&opened.check),
            warehouse: opened.warehouse.clone(),
            copying: Mutex::default(),
        }
    }

    fn read(&self) -> Result<ReadTxn, Cause> {
        self.store.read().map_err(cause)
    }

    /// Copies the last commit into a new file. Calls `then` on the copy, and lets no further copy begin during the
    /// call.
    fn copied(
        &self,
        file: &Path,
        then: impl FnOnce(&Copied, i64) -> Result<(), Cause>,
    ) -> Result<Copied, BackupFailed> {
        let Some(_one) = self.copying.try_lock() else { return Err(BackupFailed::Busy) };
        let Some(alone) = self.check.alone(CHECK_WAIT) else {
            return Err(BackupFailed::Checking { left_s: self.check.left_s() });
        };
        let now_ms = self.clock.now_ms();
        let copied = backups::copy(&self.store, file, now_ms).map_err(|error| {
            let text = error.to_string();
            if let CopyError::Open(error @ OpenError::Damaged { .. }) = error {
                self.check.damaged(error);
            }
            cause(text)
        })?;
        drop(alone);
        then(&copied, now_ms)?;
        Ok(copied)
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

    fn newest_audit(&self, limit: usize) -> Result<Vec<audit::Listed>, ReadFailed> {
        let page = audit::newest(&self.read()?, limit).map_err(cause)?;
        Ok(page.iter().map(|(id, entry)| entry.listed(*id)).collect())
    }

    fn on_disk(&self) -> bool {
        self.on_disk
    }

    fn backup(&self, name: &str) -> Result<BackupMade, BackupFailed> {
        let dir = backups::made_dir(&self.data_dir).map_err(cause)?;
        let file = dir.canonicalize().map_err(cause)?.join(name);
        let copied = self.copied(&file, |copied, now_ms| {
            backups::made(&self.data_dir, copied, now_ms);
            Ok(())
        })?;
        let (entries, sha256) = (copied.entries, hex(&copied.seal.sha256));
        Ok(BackupMade { file: file.display().to_string(), entries, sha256 })
    }

    fn hand_over(&self, out: &mut dyn Write) -> Result<(), ReadFailed> {
        let path = backups::made_dir(&self.data_dir).map_err(cause)?.join(HANDED_OVER);
        let handed = self.copied(&path, |copied, now_ms| {
            backups::hand_over(&path, out).map_err(cause)?;
            backups::made(&self.data_dir, copied, now_ms);
            Ok(())
        });
        Ok(handed.map(drop).map_err(cause)?)
    }

    fn rows(&self, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), ReadFailed> {
        Ok(row_json::write(self.read()?, table, limit, out).map_err(cause)?)
    }

    fn compare(&self, out: &mut dyn Write) -> Result<(), ReadFailed> {
        let (Some(settings), Some(status)) = (&self.clickhouse, &self.warehouse) else {
            return Err(ReadFailed(cause("clickhouse.url is not set on this node: there is nothing to compare with")));
        };
        let clickhouse = ClickHouse::new(settings).map_err(cause)?;
        let compared = waited(compare(&self.store, status, &clickhouse, true)).map_err(cause)?.map_err(cause)?;
        Ok(writeln!(out, "{}", serde_json::json!(compared)).map_err(cause)?)
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
        files::disk_free_bytes(&self.data_dir)
    }

    fn row(&self, table: Table, key: Id) -> Result<Stored, ReadFailed> {
        Ok(stored_row(self.read()?, table, key).map_err(cause)?)
    }

    fn dead_reasons(&self) -> Result<Vec<DeadReason>, ReadFailed> {
        let (mut counts, mut after, mut left) = (BTreeMap::new(), None, REASONS_MAX_LETTERS);
        while left > 0 {
            let before = left;
            // Each page of dead letters has its own transaction, because a long transaction would keep redb from
            // reusing the file's pages.
            dead::each(&self.read()?, after, left, |id, letter| {
                *counts.entry((letter.topic, letter.stage, letter.reason)).or_default() += 1;
                after = Some(id);
                left -= 1;
            })
            .map_err(cause)?;
            if left == before {
                break;
            }
        }
        let told = counts.into_iter();
        Ok(told.map(|((topic, stage, reason), letters)| DeadReason { topic, stage, reason, letters }).collect())
    }

    fn store_format(&self) -> u8 {
        FORMAT
    }

    fn tables(&self) -> Result<Vec<TableTold>, ReadFailed> {
        let meta = Meta::load(&self.read()?).map_err(cause)?.unwrap_or_default();
        let tables = Table::ALL.iter().zip(&meta.tables);
        Ok(tables.map(|(table, meta)| meta.told(*table)).collect())
    }
}

/// Returns the stored row of a key as of the commit that `read` sees.
pub fn stored_row(read: ReadTxn, table: Table, key: Id) -> Result<Stored, ReadError> {
    Ok(match Seen::load(read)?.get(table, key)? {
        None => Stored::Nothing,
        Some(None) => Stored::Deleted,
        Some(Some(row)) => Stored::Row(Box::new(row)),
    })
}

/// Returns those dead letters of `letters` whose event is in ClickHouse. Returns an empty set if no ClickHouse is
/// configured. `sent` blocks until ClickHouse answers.
pub fn sent(
    store: &Store,
    decoder: &mut Decoder,
    clickhouse: Option<&ClickHouseSettings>,
    letters: &[u64],
) -> Result<BTreeSet<u64>, AppError> {
    let Some(settings) = clickhouse else { return Ok(BTreeSet::new()) };
    let clickhouse = ClickHouse::new(settings)?;
    Ok(waited(sent::sent(store, decoder, &clickhouse, letters)).map_err(AppError::Runtime)??)
}
