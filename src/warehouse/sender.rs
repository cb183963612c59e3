//! Delivers sealed batches: one task a table, in the order of their numbers, the same bytes under the same token until
//! the table has them. What became of a batch is reported to the writer, who takes it out of the outbox in a commit; a
//! crash between the two sends it again, and ClickHouse drops it by its token.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nova_storage::Store;
use tokio::sync::{OnceCell, watch};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Clock;

use super::Target;
use super::clickhouse::ClickHouse;
use super::lint::{self, Finding};
use super::migrate::{MigrateError, migrate};
use super::outbox::Settled;
use super::status::Status;
use super::task::Task;
use super::verdict::Failure;

const LINT_EVERY: Duration = Duration::from_secs(3_600);
const VIEWS_EVERY: Duration = Duration::from_secs(30);

/// How fast the sender tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Full jitter between zero and a bound that doubles from the first to the last.
    pub backoff_first_ms: u64,
    pub backoff_last_ms: u64,
    /// Between attempts on a table that stalls.
    pub stall_ms: u64,
    /// An insert whose end is not known, of a batch older than this, is looked for before it is sent again: the server
    /// may have forgotten its token.
    pub safe_horizon_ms: i64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { backoff_first_ms: 200, backoff_last_ms: 30_000, stall_ms: 5_000, safe_horizon_ms: 30 * 60_000 }
    }
}

/// What the sender works with.
pub struct SenderParts {
    pub store: Arc<Store>,
    pub clickhouse: ClickHouse,
    pub status: Arc<Status>,
    pub clock: Clock,
    pub pace: Pace,
    /// Of the store: part of every token.
    pub store_id: u64,
    /// Hands a settled batch to the writer; false when it is gone.
    pub report: Box<dyn Fn(Settled) -> bool + Send>,
}

/// The running thread.
pub struct Sender {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    status: Arc<Status>,
}

impl Sender {
    pub fn start(parts: SenderParts) -> std::io::Result<Sender> {
        let (stop, stopped) = watch::channel(false);
        let status = Arc::clone(&parts.status);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("warehouse".to_owned());
        let thread = thread.spawn(move || tokio::task::LocalSet::new().block_on(&runtime, deliver(parts, stopped)))?;
        Ok(Sender { thread, stop, status })
    }

    /// Waits for the outbox to be empty, as long as rows are acknowledged within `idle` and for no longer than `most`,
    /// then ends; the writer must still run. False when rows are left: they are sent after the next start.
    pub fn finish(self, idle: Duration, most: Duration) -> bool {
        let empty = self.status.wait_empty(idle, most);
        let _ = self.stop.send(true);
        self.thread.join().is_ok() && empty
    }

    pub fn alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// What the tasks share.
pub(super) struct Shared {
    pub parts: SenderParts,
    prepared: OnceCell<()>,
    findings: RefCell<Vec<Finding>>,
}

/// The delivery itself, within a [`tokio::task::LocalSet`], until it is told to stop.
pub async fn deliver(parts: SenderParts, mut stopped: watch::Receiver<bool>) {
    let shared = Rc::new(Shared { parts, prepared: OnceCell::new(), findings: RefCell::default() });
    for target in Target::ALL {
        tokio::task::spawn_local(Task::new(Rc::clone(&shared), target).run());
    }
    let looking = Rc::clone(&shared);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(LINT_EVERY).await;
            shared.lint().await;
        }
    });
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(VIEWS_EVERY).await;
            looking.look_at_views().await;
        }
    });
    // Dropping the set ends the tasks: whatever was on its way is sent again by token.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl Shared {
    /// Migrates before the first batch, for as long as it takes.
    pub async fn prepare(&self) {
        let prepare = async || {
            let mut attempt = 0;
            while let Err(error) = migrate(&self.parts.clickhouse).await {
                self.parts.status.set_unprepared(Some(error.to_string().into()));
                if matches!(&error, MigrateError::Failed { failure: Failure::Unreachable(_), .. }) {
                    self.parts.status.failed();
                }
                self.back_off(0, attempt).await;
                attempt += 1;
            }
            self.parts.status.set_unprepared(None);
            self.parts.status.answered();
            self.lint().await;
        };
        self.prepared.get_or_init(prepare).await;
    }

    pub async fn lint(&self) {
        match lint::lint(&self.parts.clickhouse).await {
            Ok(findings) => {
                for Finding { code, detail, remedy, .. } in &findings {
                    tracing::warn!(code, "ClickHouse: {detail}; {remedy}");
                }
                *self.findings.borrow_mut() = findings;
            }
            Err(failure) => tracing::warn!("ClickHouse could not be looked at: {failure}"),
        }
    }

    /// How far the newest minute of the materialised views is behind that of their table.
    async fn look_at_views(&self) {
        const SQL: &str = "SELECT toUnixTimestamp(toStartOfMinute((SELECT max(event_time) FROM post_events \
            WHERE event_time > now() - INTERVAL 1 DAY))) - toUnixTimestamp((SELECT max(bucket) FROM post_metrics_1m \
            WHERE bucket > now() - INTERVAL 1 DAY))";
        let (status, started) = (&self.parts.status, Instant::now());
        if self.prepared.initialized()
            && let Ok(rows) = self.parts.clickhouse.rows(SQL).await
        {
            status.views_seconds.set(started.elapsed().as_secs_f64());
            let behind = rows.first().and_then(|row| row.first()?.parse::<f64>().ok());
            status.views_staleness.set(behind.unwrap_or(0.0).max(0.0));
        }
    }

    /// Why a table must not take rows, if it is so.
    pub fn refusal(&self, target: Target) -> Option<String> {
        let findings = self.findings.borrow();
        let finding = findings.iter().find(|finding| finding.target.is_none_or(|of| of == target))?;
        Some(format!("{}; {}", finding.detail, finding.remedy))
    }

    pub fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    /// Full jitter (M. Brooker, "Exponential Backoff and Jitter").
    pub async fn back_off(&self, seed: u64, attempt: u32) {
        let Pace { backoff_first_ms, backoff_last_ms, .. } = self.parts.pace;
        let bound = backoff_first_ms.saturating_mul(1 << attempt.min(16)).min(backoff_last_ms).max(1);
        let mut draw = [0; 24];
        draw[..8].copy_from_slice(&self.parts.store_id.to_le_bytes());
        draw[8..16].copy_from_slice(&seed.to_le_bytes());
        draw[16..].copy_from_slice(&(self.now_ms() as u64).to_le_bytes());
        tokio::time::sleep(Duration::from_millis(xxh3_64(&draw) % bound + 1)).await;
    }
}
