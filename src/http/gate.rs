//! What stands before the handlers, and what they need of the store without opening it.

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
    /// Where it is, on the machine of the node.
    pub file: String,
    pub entries: u64,
    /// Of its manifest, in hexadecimal digits.
    pub sha256: String,
}

/// The latest backup, epoch milliseconds.
pub struct BackupTimes {
    pub made_at_ms: i64,
    /// When its bytes were last compared with its manifest.
    pub verified_at_ms: i64,
    /// A backup was verified since, and was not what was made.
    pub verify_failed: bool,
}

/// What went wrong where the edge does not look: in the store, on the disk, in ClickHouse.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the store, or what ClickHouse has of it, could not be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadFailed(#[from] pub Cause);

/// What the store has of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// No record of it ever came.
    Nothing,
    /// It was deleted.
    Deleted,
    Row(Box<Row>),
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailed {
    #[error("another backup is being made")]
    Busy,
    #[error("the store's pages are being checked; ask again in about {left_s} s")]
    Checking { left_s: u64 },
    #[error(transparent)]
    Copy(#[from] Cause),
}

/// What an admin may see of the store; whoever composes the node reads it.
pub trait Reads: Send + Sync {
    /// Dead letters with ids above `after`, oldest first, without their bytes.
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<Summary>, ReadFailed>;
    /// One of them with its bytes.
    fn dead_letter(&self, id: u64) -> Result<Option<Whole>, ReadFailed>;
    /// Those of these dead letters whose event ClickHouse has; none where there is no ClickHouse. Waits for its answer.
    fn sent(&self, letters: &[u64]) -> Result<BTreeSet<u64>, ReadFailed>;
    /// Who did what, entries with ids above `after`, oldest first.
    fn audit(&self, after: Option<u64>, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// The newest of these entries, oldest first.
    fn newest_audit(&self, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// Whether the store is a file; that of a server for tests is in memory.
    fn on_disk(&self) -> bool;
    /// Copies the last commit into a new file of this plain name, beside the store.
    fn backup(&self, name: &str) -> Result<BackupMade, BackupFailed>;
    /// `None` before the first backup.
    fn backup_times(&self) -> Option<BackupTimes>;
    /// How far the check of the store's pages is.
    fn store_check(&self) -> CheckState;
    /// Tells each change of that.
    fn store_checks(&self) -> watch::Receiver<CheckState>;
    /// The same with figures.
    fn store_checked(&self) -> StoreChecked;
    /// Begins a check of every page beside the writer, unless one is running or found damage.
    fn check_store(&self) -> Result<(), ReadFailed>;
    /// Room on the store's disk for this process; `None` where it cannot be told.
    fn disk_free_bytes(&self) -> Option<u64>;
    /// Writes the live rows of a table as JSON lines, in the order of their ids, at most so many.
    fn rows(&self, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes the bytes of a backup of the last commit; nothing of it stays here.
    fn hand_over(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes what differs between the stored rows and ClickHouse's, one JSON object. Waits for deliveries.
    fn compare(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// The stored row of a key.
    fn row(&self, table: Table, key: Id) -> Result<Stored, ReadFailed>;
    /// How many dead letters have which reason: of the oldest ten thousand.
    fn dead_reasons(&self) -> Result<Vec<DeadReason>, ReadFailed>;
    /// Of the store's file.
    fn store_format(&self) -> u8;
    /// Each source table.
    fn tables(&self) -> Result<Vec<TableTold>, ReadFailed>;
}

/// What every request passes.
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
