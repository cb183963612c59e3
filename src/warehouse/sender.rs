//! Delivers sealed batches: one task a table, in the order of their numbers, the same bytes under the same token until
//! the table has them. What became of a batch is reported to the writer, who takes it out of the outbox in a commit; a
//! crash between the two sends it again, and ClickHouse drops it by its token.

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
use super::lint::{self, Finding, Stops};
use super::migrate::{MigrateError, migrate};
use super::outbox::Report;
use super::status::Status;
use super::task::Task;
use super::verdict::Failure;

const LINT_EVERY: Duration = Duration::from_secs(3_600);
const VIEWS_EVERY: Duration = Duration::from_secs(30);

/// An insert whose end is not known, of a batch older than this, is looked for before it is sent again: the server may
/// have forgotten its token.
pub const SAFE_HORIZON_MS: i64 = 30 * 60_000;

/// A proxy between nova and ClickHouse holds an insert back for no longer. Before rows go out in other pieces than they
/// did, every attempt without an answer is older: what lands later has another token than the pieces, and would be there
/// twice if the table took it.
pub const HELD_MAX_MS: u64 = 15 * 60_000;

/// How fast the sender tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Full jitter between zero and a bound that doubles from the first to the last.
    pub backoff_first_ms: u64,
    pub backoff_last_ms: u64,
    /// Between attempts on a table that stalls.
    pub stall_ms: u64,
    /// See [`SAFE_HORIZON_MS`].
    pub safe_horizon_ms: i64,
    /// See [`HELD_MAX_MS`].
    pub held_max_ms: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            backoff_first_ms: 200,
            backoff_last_ms: 30_000,
            stall_ms: 5_000,
            safe_horizon_ms: SAFE_HORIZON_MS,
            held_max_ms: HELD_MAX_MS,
        }
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
    /// Tells the writer; false when it is gone.
    pub report: Box<dyn Fn(Report) -> bool + Send>,
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
}

/// The delivery itself, within a [`tokio::task::LocalSet`], until it is told to stop.
pub async fn deliver(parts: SenderParts, mut stopped: watch::Receiver<bool>) {
    let shared = Rc::new(Shared { parts, prepared: OnceCell::new() });
    for target in Target::ALL {
        tokio::task::spawn_local(Task::new(Rc::clone(&shared), target).run());
    }
    let looking = Rc::clone(&shared);
    tokio::task::spawn_local(async move {
        // Also with nothing to deliver: what is wrong is told at the start.
        shared.prepare().await;
        loop {
            tokio::time::sleep(LINT_EVERY).await;
            let _ = shared.lint().await;
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
                if let MigrateError::Failed { failure: failure @ Failure::Unreachable(_), .. } = &error {
                    self.parts.status.failed(failure);
                }
                self.back_off(0, attempt).await;
                attempt += 1;
            }
            self.parts.status.set_unprepared(None);
            self.parts.status.answered();
            // No row goes out before the look; a server that went away meanwhile has said nothing of its tables.
            while matches!(self.lint().await, Err(Failure::Unreachable(_) | Failure::Broken(_) | Failure::TimedOut)) {
                self.back_off(1, attempt).await;
                attempt += 1;
            }
        };
        self.prepared.get_or_init(prepare).await;
    }

    /// Looks at everything: at the start and every hour.
    async fn lint(&self) -> Result<(), Failure> {
        // Before the look: what is acknowledged meanwhile is not asked for.
        let (store_id, marks) = (self.parts.store_id, self.parts.status.marks());
        self.found(async |clickhouse| {
            let mut findings = lint::lint(clickhouse).await?;
            if findings.iter().all(|finding| finding.code != lint::TABLE_MISSING) {
                findings.extend(lint::missing_batches(clickhouse, store_id, &marks).await?);
            }
            Ok(findings)
        })
        .await
    }

    /// Looks at the tables only, every few seconds while one of them stalls.
    pub async fn lint_tables(&self) {
        let lasting = self.parts.status.findings().into_iter().filter(|finding| finding.stops == Stops::Nothing);
        let look = async |clickhouse: &_| Ok(lint::lint(clickhouse).await?.into_iter().chain(lasting).collect());
        let _ = self.found(look).await;
    }

    /// Tells what a look found, or why there was none: then the last one holds.
    async fn found(&self, look: impl AsyncFnOnce(&ClickHouse) -> Result<Vec<Finding>, Failure>) -> Result<(), Failure> {
        let findings = look(&self.parts.clickhouse).await.inspect_err(|failure| {
            tracing::warn!("ClickHouse could not be looked at: {failure}");
        })?;
        if findings != self.parts.status.findings() {
            findings.iter().for_each(|finding| tracing::warn!(code = finding.code, "ClickHouse: {finding}"));
        }
        self.parts.status.set_findings(findings);
        Ok(())
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
        let findings = self.parts.status.findings();
        findings.into_iter().find(|finding| finding.stops.stops(target)).map(|finding| finding.to_string())
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
