//! What every request passes before the handlers, and the reads of the store that handlers need.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use tokio::sync::watch;

use crate::event::{Id, Row, Table};
use crate::pipeline::audit::Listed;
use crate::pipeline::dead::{Summary, Whole};
use crate::pipeline::meta::TableTold;

use super::limit::Limiter;
use super::limit::health::Health;
use super::settings::EdgeSettings;
use super::shapes::{CheckState, DeadReason, StoreChecked};

/// A backup that was made.
pub struct BackupMade {
    /// The path of the backup on the node's machine.
    pub file: String,
    pub entries: u64,
    /// The SHA-256 in the backup's manifest, in hexadecimal digits.
    pub sha256: String,
}

/// The times of the latest backup, epoch milliseconds.
pub struct BackupTimes {
    pub made_at_ms: i64,
    /// When the backup's bytes were last compared with its manifest.
    pub verified_at_ms: i64,
    /// Whether a later verification found that a backup had changed.
    pub verify_failed: bool,
}

/// An error from outside the edge: from the store, the disk or ClickHouse.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the store, or its rows in ClickHouse, could not be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadFailed(#[from] pub Cause);

/// The stored row of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// There was never a record with this key.
    Nothing,
    /// The row was deleted.
    Deleted,
    Row(Box<Row>),
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailed {
    #[error("another backup is being made")]
    Busy,
    #[error("the store's pages are being checked; ask again in about {left_s} s")]
    Checking { left_s: u64 },
    #[error(transparent)]
    Copy(#[from] Cause),
}

/// The reads of the store that an admin may do. The composition root implements them.
pub trait Reads: Send + Sync {
    /// Dead letters with ids above `after`, oldest first, without their bytes.
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<Summary>, ReadFailed>;
    /// One dead letter with its bytes.
    fn dead_letter(&self, id: u64) -> Result<Option<Whole>, ReadFailed>;
    /// The dead letters among these whose event is in ClickHouse. The set is empty without ClickHouse. The call waits
    /// for the answer of ClickHouse.
    fn sent(&self, letters: &[u64]) -> Result<BTreeSet<u64>, ReadFailed>;
    /// Entries of the audit with ids above `after`, oldest first.
    fn audit(&self, after: Option<u64>, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// The newest entries of the audit, oldest first.
    fn newest_audit(&self, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// Whether the store is a file. The store of a server for tests is in memory.
    fn on_disk(&self) -> bool;
    /// Copies the last commit into a new file with this plain name, beside the store.
    fn backup(&self, name: &str) -> Result<BackupMade, BackupFailed>;
    /// The times of the latest backup, or `None` before the first.
    fn backup_times(&self) -> Option<BackupTimes>;
    /// The progress of the check of the store's pages.
    fn store_check(&self) -> CheckState;
    /// Receives each change of the check's progress.
    fn store_checks(&self) -> watch::Receiver<CheckState>;
    /// The progress of the check with figures.
    fn store_checked(&self) -> StoreChecked;
    /// Starts a check of every page beside the writer, unless a check is running or has found damage.
    fn check_store(&self) -> Result<(), ReadFailed>;
    /// The free bytes on the store's disk for this process. `None` if the disk cannot be asked.
    fn disk_free_bytes(&self) -> Option<u64>;
    /// Writes the live rows of a table as JSON lines in the order of their ids, at most `limit` rows.
    fn rows(&self, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes the bytes of a backup of the last commit. No copy stays on the node.
    fn hand_over(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes one JSON object with the differences between the stored rows and ClickHouse's. Waits for deliveries.
    fn compare(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// The stored row of a key.
    fn row(&self, table: Table, key: Id) -> Result<Stored, ReadFailed>;
    /// The number of dead letters with each reason, among the oldest ten thousand.
    fn dead_reasons(&self) -> Result<Vec<DeadReason>, ReadFailed>;
    /// The format of the store's file.
    fn store_format(&self) -> u8;
    /// The state of each source table.
    fn tables(&self) -> Result<Vec<TableTold>, ReadFailed>;
}

/// The checks that every request passes.
pub struct Gate {
    pub settings: EdgeSettings,
    pub limiter: Limiter,
}

impl Gate {
    pub fn new(settings: EdgeSettings) -> Gate {
        let limiter = Limiter::new(settings.limits.clone(), Arc::<Health>::default());
        Gate { settings, limiter }
    }
}
