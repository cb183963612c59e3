//! The checks that every request passes before its handler, and the reads of the store that handlers need.

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

/// A finished backup of the store.
pub struct BackupMade {
    /// The path of the backup on the node's machine.
    pub file: String,
    pub entries: u64,
    /// The SHA-256 in the backup's manifest, in hexadecimal digits.
    pub sha256: String,
}

/// The times of the latest backup of the store, in epoch milliseconds.
pub struct BackupTimes {
    pub made_at_ms: i64,
    /// When nova last compared the backup's bytes with the backup's manifest.
    pub verified_at_ms: i64,
    /// Whether a later verification found that a backup had changed.
    pub verify_failed: bool,
}

/// An error from outside the edge: from the store, the disk or ClickHouse.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The reason why nova could not read the store or ClickHouse.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadFailed(#[from] pub Cause);

/// What the store has under the primary key of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// nova never had a record with this key.
    Nothing,
    /// The row with this key was deleted.
    Deleted,
    Row(Box<Row>),
}

/// The reason why nova could not make a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFailed {
    #[error("another backup is being made")]
    Busy,
    #[error("the store's pages are being checked; ask again in about {left_s} s")]
    Checking { left_s: u64 },
    #[error(transparent)]
    Copy(#[from] Cause),
}

/// The reads of the store that an admin may do. The composition root implements `Reads`.
pub trait Reads: Send + Sync {
    /// Dead letters with ids above `after`, oldest first, without their bytes.
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<Summary>, ReadFailed>;
    /// One dead letter with its bytes.
    fn dead_letter(&self, id: u64) -> Result<Option<Whole>, ReadFailed>;
    /// Returns those of the given dead letters whose event is in ClickHouse. The result is empty if ClickHouse is not
    /// configured. The call waits for the answer of ClickHouse.
    fn sent(&self, letters: &[u64]) -> Result<BTreeSet<u64>, ReadFailed>;
    /// Entries of the audit with ids above `after`, oldest first.
    fn audit(&self, after: Option<u64>, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// The newest entries of the audit, oldest first.
    fn newest_audit(&self, limit: usize) -> Result<Vec<Listed>, ReadFailed>;
    /// Whether the store is a file. The store of a server for tests is in memory.
    fn on_disk(&self) -> bool;
    /// Copies the store, as of its last commit, into a new file with this plain name beside the store.
    fn backup(&self, name: &str) -> Result<BackupMade, BackupFailed>;
    /// The times of the latest backup, or `None` before the first backup.
    fn backup_times(&self) -> Option<BackupTimes>;
    /// The progress of the check of the store's pages.
    fn store_check(&self) -> CheckState;
    /// A receiver of each change in the progress of the store's check.
    fn store_checks(&self) -> watch::Receiver<CheckState>;
    /// The progress of the check of the store's pages, with figures.
    fn store_checked(&self) -> StoreChecked;
    /// Starts a check of every page of the store, while the writer continues. The call does nothing if a check is
    /// running or has found damage.
    fn check_store(&self) -> Result<(), ReadFailed>;
    /// The free bytes on the store's disk for this process, or `None` if the system does not say.
    fn disk_free_bytes(&self) -> Option<u64>;
    /// Writes the live rows of a table as JSON lines in the order of their ids, at most `limit` rows.
    fn rows(&self, table: Table, limit: u64, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes the bytes of a backup of the last commit, and leaves no copy of the backup on the node.
    fn hand_over(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Writes one JSON object with the differences between the rows in the store and in ClickHouse. The call waits
    /// until deliveries to ClickHouse are done.
    fn compare(&self, out: &mut dyn Write) -> Result<(), ReadFailed>;
    /// Returns what the store has under the primary key of a row of the table.
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
