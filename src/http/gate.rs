//! What stands before the handlers, and what they need of the store without opening it.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::admin::Refusals;
use super::idempotency::Answers;
use super::limit::Limiter;
use super::limit::health::Health;
use super::settings::EdgeSettings;

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
}

/// What an admin may see of the store; whoever composes the node reads it.
pub trait Reads: Send + Sync {
    /// Dead letters with ids above `after`, oldest first, without their bytes.
    fn dead_letters(&self, after: Option<u64>, limit: usize) -> Result<Vec<Value>, String>;
    /// One of them with its bytes.
    fn dead_letter(&self, id: u64) -> Result<Option<Value>, String>;
    /// Those of these dead letters whose event ClickHouse has; none where there is no ClickHouse. Waits for its answer.
    fn sent(&self, letters: &[u64]) -> Result<BTreeSet<u64>, String>;
    /// Who did what, entries with ids above `after`, oldest first.
    fn audit(&self, after: Option<u64>, limit: usize) -> Result<Vec<Value>, String>;
    /// Copies the last commit into a new file of this plain name, beside the store.
    fn backup(&self, name: &str) -> Result<BackupMade, String>;
    /// `None` before the first backup.
    fn backup_times(&self) -> Option<BackupTimes>;
    /// How far the check of the store's pages is: `ok`, `running`, `unfinished` or `damaged`.
    fn store_check(&self) -> &'static str;
    /// Room on the store's disk for this process; `None` where it cannot be told.
    fn disk_free_bytes(&self) -> Option<u64>;
    /// Each source table: `table`, `epoch`, and `halted` with the reason or null.
    fn tables(&self) -> Result<Vec<Value>, String>;
}

/// See the module.
pub struct Gate {
    pub settings: EdgeSettings,
    pub limiter: Limiter,
    pub answers: Answers,
    pub reads: Box<dyn Reads>,
    /// Held by a change of the revocations from its reading to its commit: none forgets another.
    pub changes: Arc<tokio::sync::Mutex<()>>,
    /// Admin requests that were refused lately.
    pub(super) refusals: Mutex<Refusals>,
}

impl Gate {
    pub fn new(settings: EdgeSettings, reads: Box<dyn Reads>) -> Gate {
        let limiter = Limiter::new(settings.limits.clone(), Arc::<Health>::default());
        Gate {
            settings,
            limiter,
            answers: Answers::default(),
            reads,
            changes: Arc::default(),
            refusals: Mutex::default(),
        }
    }
}
