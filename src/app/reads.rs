//! What the edge may see of the store.

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
use crate::decode::Decoder;
use crate::event::{Decoded, Id, Stage, Table};
use crate::files;
use crate::http::shapes::{DeadReason, Replay};
use crate::http::{BackupFailed, BackupMade, BackupTimes, Cause, CheckState, ReadFailed, Reads, StoreChecked, Stored};
use crate::pipeline::meta::{Meta, TableTold};
use crate::pipeline::seen::Seen;
use crate::pipeline::{audit, dead, sent};
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::status::Status as WarehouseStatus;

use super::compare::compare;
use super::setup::Setup;
use super::{AppError, Opened, StoreCheck, backups, rows, store_path};

/// How long a backup waits for a check of the store's pages.
const CHECK_WAIT: Duration = Duration::from_secs(10);
/// Letters whose reasons are counted for one answer.
const REASONS_MAX_LETTERS: usize = 10_000;
/// The ending of the copy's name while the copy is made. By this ending a start finds and removes what a killed process left.
const HANDED_OVER: &str = "handed-over.copying";

/// What an admin sees of the store.
pub(super) struct StoreReads {
    store: Arc<Store>,
    decoder: Mutex<Decoder>,
    clickhouse: Option<ClickHouseSettings>,
    data_dir: PathBuf,
    on_disk: bool,
    clock: Clock,
    check: Arc<StoreCheck>,
    /// Set when rows go to ClickHouse.
    warehouse: Option<Arc<WarehouseStatus>>,
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

    /// Copies the last commit into a new file, and does with it what is to be done before another one may be made.
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

    fn tried(&self, letters: &[u64]) -> Result<Vec<Replay>, ReadFailed> {
        let (read, mut tried) = (self.read()?, Vec::with_capacity(letters.len()));
        for id in letters {
            let letter = dead::get(&read, *id).map_err(cause)?;
            let (outcome, detail) = match letter {
                None => ("kept", "there is no such letter: it was replayed or discarded".to_owned()),
                Some(letter) if letter.stage == Stage::Warehouse.name() => {
                    ("sent", "its rows are sent to ClickHouse again".to_owned())
                }
                Some(letter) => told(&self.decoder.lock().decode(&dead::record(&letter))),
            };
            tried.push(Replay { id: *id, outcome, detail });
        }
        Ok(tried)
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
        let dir = self.data_dir.join(backups::BACKUPS_DIR);
        files::private_dir(&dir).map_err(cause)?;
        let file = dir.canonicalize().map_err(cause)?.join(name);
        let copied = self.copied(&file, |copied, now_ms| {
            backups::made(&self.data_dir, copied, now_ms);
            Ok(())
        })?;
        let (entries, sha256) = (copied.entries, hex(&copied.seal.sha256));
        Ok(BackupMade { file: file.display().to_string(), entries, sha256 })
    }

    fn hand_over(&self, out: &mut dyn Write) -> Result<(), ReadFailed> {
        let dir = self.data_dir.join(backups::BACKUPS_DIR);
        files::private_dir(&dir).map_err(cause)?;
        let path = dir.join(HANDED_OVER);
        let handed = self.copied(&path, |copied, now_ms| {
            let mut file = std::fs::File::open(&path).map_err(cause)?;
            // The open file has the bytes; nothing is left however this ends.
            std::fs::remove_file(&path).map_err(cause)?;
            std::io::copy(&mut file, out).and_then(|_| out.flush()).map_err(cause)?;
            backups::made(&self.data_dir, copied, now_ms);
            Ok(())
        });
        Ok(handed.map(drop).map_err(cause)?)
    }

    fn rows(&self, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), ReadFailed> {
        Ok(rows::write(self.read()?, table, limit, out).map_err(cause)?)
    }

    fn compare(&self, out: &mut dyn Write) -> Result<(), ReadFailed> {
        let (Some(settings), Some(status)) = (&self.clickhouse, &self.warehouse) else {
            return Err(ReadFailed(cause("clickhouse.url is not set on this node: there is nothing to compare with")));
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cause)?;
        let clickhouse = ClickHouse::new(settings).map_err(cause)?;
        let compared = runtime.block_on(compare(&self.store, status, &clickhouse, true)).map_err(cause)?;
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
        let disk = rustix::fs::statvfs(&self.data_dir).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn row(&self, table: Table, key: Id) -> Result<Stored, ReadFailed> {
        Ok(stored_row(self.read()?, table, key).map_err(cause)?)
    }

    fn dead_reasons(&self) -> Result<Vec<DeadReason>, ReadFailed> {
        let (mut counts, mut after, mut left) = (BTreeMap::new(), None, REASONS_MAX_LETTERS);
        while left > 0 {
            let before = left;
            // A transaction for each page: a long one would pin the file's pages.
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

/// What the store has of a key, as of the commit that `read` sees.
pub fn stored_row(read: ReadTxn, table: Table, key: Id) -> Result<Stored, ReadError> {
    Ok(match Seen::load(read)?.get(table, key)? {
        None => Stored::Nothing,
        Some(None) => Stored::Deleted,
        Some(Some(row)) => Stored::Row(Box::new(row)),
    })
}

/// What a replay would do with a record that says this.
fn told(decoded: &Decoded) -> (&'static str, String) {
    match decoded {
        Decoded::Change(change) => (
            "decoded",
            format!("a change of {} {}; its version decides whether it is applied", change.table, change.key),
        ),
        Decoded::Event(event) => {
            ("decoded", format!("an event of user {}; it counts unless it is known or too old", event.user_id))
        }
        Decoded::Ignore(_) | Decoded::Snapshot(_) => ("ignored", "it means nothing to nova, and would go".to_owned()),
        Decoded::Dead(dead) => ("kept", format!("{}: {}", dead.reason, dead.detail)),
        Decoded::Wait(_) => ("kept", "its schema cannot be had now".to_owned()),
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
