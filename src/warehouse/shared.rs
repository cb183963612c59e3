//! What the delivery's tasks share: their inputs, the preparation of the server, the checks of its tables, and the wait
//! between two attempts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nova_storage::Store;
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::{Clock, monotonic_now};

use super::clickhouse::ClickHouse;
use super::finding::{Finding, Stops, TABLE_MISSING};
use super::lint;
use super::migrate::{MigrateError, migrate};
use super::outbox::Report;
use super::pace::Pace;
use super::status::Status;
use super::target::Target;
use super::verdict::Failure;

/// The inputs of the delivery.
pub struct SenderParts {
    pub store: Arc<Store>,
    pub clickhouse: ClickHouse,
    pub status: Arc<Status>,
    pub clock: Clock,
    pub pace: Pace,
    /// The id of the store, which every token contains.
    pub store_id: u64,
    /// Sends a report to the writer. Returns false if the writer has ended.
    pub report: Box<dyn Fn(Report) -> bool + Send>,
}

/// What the tasks of the delivery share.
pub(super) struct Shared {
    pub parts: SenderParts,
    prepared: OnceCell<()>,
}

impl Shared {
    pub fn new(parts: SenderParts) -> Shared {
        Shared { parts, prepared: OnceCell::new() }
    }

    /// Migrates the server before the first batch is sent, and repeats the migration until it succeeds.
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
            // No row is sent before the first check has an answer. A server that became unreachable during the check
            // has not answered about its tables, so the check is repeated.
            while matches!(self.lint().await, Err(Failure::Unreachable(_) | Failure::Broken(_) | Failure::TimedOut)) {
                self.back_off(1, attempt).await;
                attempt += 1;
            }
            self.parts.status.prepared.store(true, Ordering::Relaxed);
        };
        self.prepared.get_or_init(prepare).await;
    }

    /// Checks the tables and the marked batches, at the start and every hour.
    pub async fn lint(&self) -> Result<(), Failure> {
        // The marks are read before the check, so the check does not expect batches that are acknowledged while it
        // runs.
        let (store_id, marks) = (self.parts.store_id, self.parts.status.marks());
        self.found(async |clickhouse| {
            let mut findings = lint::lint(clickhouse).await?;
            if findings.iter().all(|finding| finding.code != TABLE_MISSING) {
                findings.extend(lint::missing_batches(clickhouse, store_id, &marks).await?);
            }
            Ok(findings)
        })
        .await
    }

    /// Checks only the tables, every few seconds while any table is stalled.
    pub async fn lint_tables(&self) {
        let look = async |clickhouse: &_| {
            let found = lint::lint(clickhouse).await?;
            // The findings of the hourly check stay. They are read after the question, because the hourly check may end
            // while the question waits for its answer.
            let lasting = self.parts.status.findings().into_iter().filter(|finding| finding.stops == Stops::Nothing);
            Ok(found.into_iter().chain(lasting).collect())
        };
        let _ = self.found(look).await;
    }

    /// Runs a check and reports its findings. If the check failed, the findings of the last check stay.
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

    /// Measures how far the newest minute of the materialised views is behind the newest minute of `post_events`.
    pub async fn look_at_views(&self) {
        const SQL: &str = "SELECT toUnixTimestamp(toStartOfMinute((SELECT max(event_time) FROM post_events \
            WHERE event_time > now() - INTERVAL 1 DAY))) - toUnixTimestamp((SELECT max(bucket) FROM post_metrics_1m \
            WHERE bucket > now() - INTERVAL 1 DAY))";
        let (status, started) = (&self.parts.status, monotonic_now());
        if self.prepared.initialized()
            && let Ok(rows) = self.parts.clickhouse.rows(SQL).await
        {
            status.views_seconds.set(started.elapsed().as_secs_f64());
            let behind = rows.first().and_then(|row| row.first()?.parse::<f64>().ok());
            status.views_staleness.set(behind.unwrap_or(0.0).max(0.0));
        }
    }

    /// Returns the reason why a table must not get rows, if there is a reason.
    pub fn refusal(&self, target: Target) -> Option<String> {
        let findings = self.parts.status.findings();
        findings.into_iter().find(|finding| finding.stops.stops(target)).map(|finding| finding.to_string())
    }

    pub fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    /// Waits between two attempts with full jitter (M. Brooker, "Exponential Backoff and Jitter").
    pub async fn back_off(&self, seed: u64, attempt: u32) {
        let mut draw = [0; 24];
        draw[..8].copy_from_slice(&self.parts.store_id.to_le_bytes());
        draw[8..16].copy_from_slice(&seed.to_le_bytes());
        draw[16..].copy_from_slice(&(self.now_ms() as u64).to_le_bytes());
        tokio::time::sleep(self.parts.pace.backoff.full_jitter(attempt, xxh3_64(&draw))).await;
    }
}
