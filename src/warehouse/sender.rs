//! Delivers sealed batches: one task a table, in the order of their numbers, the same bytes under the same token until
//! the table has them. What became of a batch is reported to the writer, who takes it out of the outbox in a commit; a
//! crash between the two sends it again, and ClickHouse drops it by its token.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nova_storage::Store;
use nova_storage::codec::OutboxBatch;
use tokio::sync::{OnceCell, watch};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::clock::Clock;
use crate::event::Id;

use super::bisect::{Isolated, isolate};
use super::clickhouse::ClickHouse;
use super::lint::{self, Finding};
use super::migrate::{MigrateError, migrate};
use super::outbox::{self, AHEAD_MAX_BATCHES, DeadRow, Settled};
use super::status::Status;
use super::verdict::{Failure, Verdict, row_hint, verdict};
use super::{Target, rows};

/// Attempts with an unknown error code before its rows are looked at.
const UNKNOWN_MAX_ATTEMPTS: u32 = 5;
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
        let thread = thread.spawn(move || tokio::task::LocalSet::new().block_on(&runtime, run(parts, stopped)))?;
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
struct Shared {
    parts: SenderParts,
    prepared: OnceCell<()>,
    findings: RefCell<Vec<Finding>>,
}

async fn run(parts: SenderParts, mut stopped: watch::Receiver<bool>) {
    let shared = Rc::new(Shared { parts, prepared: OnceCell::new(), findings: RefCell::default() });
    for target in Target::ALL {
        let task = Task { shared: Rc::clone(&shared), target, reported: BTreeSet::new() };
        tokio::task::spawn_local(task.run());
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
    async fn prepare(&self) {
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

    async fn lint(&self) {
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
    fn refusal(&self, target: Target) -> Option<String> {
        let findings = self.findings.borrow();
        let finding = findings.iter().find(|finding| finding.target.is_none_or(|of| of == target))?;
        Some(format!("{}; {}", finding.detail, finding.remedy))
    }

    fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    /// Full jitter (M. Brooker, "Exponential Backoff and Jitter").
    async fn back_off(&self, seed: u64, attempt: u32) {
        let Pace { backoff_first_ms, backoff_last_ms, .. } = self.parts.pace;
        let bound = backoff_first_ms.saturating_mul(1 << attempt.min(16)).min(backoff_last_ms).max(1);
        let mut draw = [0; 24];
        draw[..8].copy_from_slice(&self.parts.store_id.to_le_bytes());
        draw[8..16].copy_from_slice(&seed.to_le_bytes());
        draw[16..].copy_from_slice(&(self.now_ms() as u64).to_le_bytes());
        tokio::time::sleep(Duration::from_millis(xxh3_64(&draw) % bound + 1)).await;
    }
}

/// The delivery of one table.
struct Task {
    shared: Rc<Shared>,
    target: Target,
    /// Batches that the writer was told of and has not taken out yet.
    reported: BTreeSet<u64>,
}

/// Why a batch is left for now.
enum Left {
    /// The writer is gone, or the store cannot be read: the process ends.
    Ended,
}

impl Task {
    async fn run(mut self) {
        let mut commits = self.shared.parts.status.commits();
        loop {
            // Seen before the look, so that a commit after it wakes us.
            commits.mark_unchanged();
            match self.next() {
                Ok(Some((batch, sealed))) => {
                    self.shared.prepare().await;
                    let Ok(settled) = self.deliver(batch, &sealed).await else { return };
                    if !(self.shared.parts.report)(settled) {
                        return;
                    }
                    self.reported.insert(batch);
                }
                Ok(None) => {
                    if commits.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.stall(Some(format!("the outbox cannot be read: {error}")));
                    return;
                }
            }
        }
    }

    /// The first batch that was not reported, while no more than [`AHEAD_MAX_BATCHES`] are.
    fn next(&mut self) -> Result<Option<(u64, OutboxBatch)>, outbox::OutboxError> {
        let read = self.shared.parts.store.read()?;
        let found = outbox::sealed(&read, self.target, AHEAD_MAX_BATCHES + 1)?;
        self.reported.retain(|batch| found.iter().any(|(known, _)| known == batch));
        if self.reported.len() >= AHEAD_MAX_BATCHES {
            return Ok(None);
        }
        Ok(found.into_iter().find(|(batch, _)| !self.reported.contains(batch)))
    }

    async fn deliver(&self, batch: u64, sealed: &OutboxBatch) -> Result<Settled, Left> {
        let read = self.shared.parts.store.read().map_err(|_| Left::Ended)?;
        let body = outbox::body(&read, self.target, batch).map_err(|_| Left::Ended)?;
        drop(read);
        if xxh3_128(&body) != sealed.hash {
            self.stall(Some(format!("the bytes of batch {batch} are damaged; restore a backup")));
            return std::future::pending().await;
        }
        let whole = Piece { batch, rows: body.clone(), sealed_at_ms: sealed.sealed_at_ms };
        let refused = match self.store(&whole).await? {
            None => {
                let dead = Vec::new();
                return Ok(Settled { target: self.target, batch, dead });
            }
            Some(words) => words,
        };
        let dead = self.find_dead(&whole, refused).await?;
        Ok(Settled { target: self.target, batch, dead })
    }

    /// The rows of a refused batch that are at fault; the others are stored when this returns.
    async fn find_dead(&self, whole: &Piece, refused: String) -> Result<Vec<DeadRow>, Left> {
        let Ok(ranges) = rows::split(self.target, &whole.rows) else {
            self.stall(Some(format!("batch {} holds what are no rows; restore a backup", whole.batch)));
            return std::future::pending().await;
        };
        let mut hint = row_hint(&refused);
        loop {
            let isolated = isolate(ranges.len(), hint, async |numbers: &[usize]| {
                let mut bytes = Vec::new();
                numbers.iter().for_each(|row| bytes.extend_from_slice(&whole.rows[ranges[*row].clone()]));
                self.store(&Piece { rows: bytes.into(), ..*whole }).await
            });
            match isolated.await? {
                Isolated::Dead(dead) => {
                    let dead = dead.into_iter().map(|(row, detail)| {
                        let row = whole.rows.slice(ranges[row].clone());
                        tracing::warn!(table = self.target.name(), id = %rows::id(&row), "ClickHouse refuses a row: {detail}");
                        DeadRow { row, detail }
                    });
                    return Ok(dead.collect());
                }
                Isolated::Hopeless(words) => {
                    self.stall(Some(format!("it refuses every row: {words}")));
                    hint = None;
                    self.rest().await;
                }
            }
        }
    }

    /// Sends a piece until it is stored (`None`) or refused for its content (the server's words).
    async fn store(&self, piece: &Piece) -> Result<Option<String>, Left> {
        let parts = &self.shared.parts;
        let token =
            format!("nova:{:016x}:{}:{}:{:032x}", parts.store_id, self.target, piece.batch, xxh3_128(&piece.rows));
        let (mut attempt, mut unknown) = (0u32, 0u32);
        // What an earlier process did with an old batch is not known.
        let mut doubt = self.old(piece);
        loop {
            self.wait_for_leave().await;
            if doubt && self.old(piece) {
                match self.present(piece).await {
                    Ok(Present::All) => return Ok(None),
                    Ok(Present::None) => doubt = false,
                    Ok(Present::Some(rest)) => return Box::pin(self.store(&Piece { rows: rest, ..*piece })).await,
                    Err(failure) => {
                        self.failed(&failure, piece.batch, attempt).await;
                        attempt += 1;
                        continue;
                    }
                }
            }
            let id = format!(
                "nova-{:016x}-{}-{}-{attempt}-{}",
                parts.store_id,
                self.target,
                piece.batch,
                parts.clock.now_ms()
            );
            let started = Instant::now();
            let result = parts.clickhouse.insert(self.target, piece.rows.clone(), &token, &id).await;
            parts.status.asked(started.elapsed(), result.is_err());
            let Err(failure) = result else {
                parts.status.answered();
                self.stall(None);
                return Ok(None);
            };
            unknown += u32::from(verdict(&failure) == Verdict::Unknown);
            match verdict(&failure) {
                Verdict::Suspect => {
                    if let Some(words) = self.suspect(&failure).await {
                        return Ok(Some(words));
                    }
                }
                Verdict::Unknown if unknown >= UNKNOWN_MAX_ATTEMPTS => {
                    if let Some(words) = self.suspect(&failure).await {
                        return Ok(Some(words));
                    }
                }
                known => {
                    doubt |= known == Verdict::Ambiguous;
                    self.failed(&failure, piece.batch, attempt).await;
                }
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Waits as long as the table is refused by the lint or the breaker is open.
    async fn wait_for_leave(&self) {
        loop {
            if let Some(reason) = self.shared.refusal(self.target) {
                self.stall(Some(reason));
                self.rest().await;
                self.shared.lint().await;
                continue;
            }
            let wait_ms = self.shared.parts.status.admit();
            if wait_ms == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
        }
    }

    /// A refusal that rows may be the reason of: its words, unless the table itself is at fault.
    async fn suspect(&self, failure: &Failure) -> Option<String> {
        let parts = &self.shared.parts;
        parts.status.answered();
        match lint::schema_of(&parts.clickhouse, self.target).await {
            Ok(None) => Some(failure.to_string()),
            Ok(Some(finding)) => {
                self.stall(Some(format!("{}; {}", finding.detail, finding.remedy)));
                self.rest().await;
                None
            }
            Err(failure) => {
                self.failed(&failure, 0, 0).await;
                None
            }
        }
    }

    /// Waits as the failure asks for.
    async fn failed(&self, failure: &Failure, seed: u64, attempt: u32) {
        let parts = &self.shared.parts;
        tracing::debug!(table = self.target.name(), attempt, "ClickHouse: {failure}");
        match verdict(failure) {
            Verdict::Stall => {
                parts.status.answered();
                self.stall(Some(failure.to_string()));
                self.rest().await;
            }
            Verdict::Overload => {
                parts.status.answered();
                self.shared.back_off(seed, attempt.saturating_add(3)).await;
            }
            Verdict::Retry | Verdict::Ambiguous | Verdict::Suspect | Verdict::Unknown => {
                parts.status.failed();
                self.shared.back_off(seed, attempt).await;
            }
        }
    }

    /// Whether the server may have forgotten the tokens of the piece's time.
    fn old(&self, piece: &Piece) -> bool {
        self.target == Target::Events
            && self.shared.now_ms() - piece.sealed_at_ms > self.shared.parts.pace.safe_horizon_ms
    }

    /// Which of the rows are in the table, after whatever still runs on the batch was ended.
    async fn present(&self, piece: &Piece) -> Result<Present, Failure> {
        let parts = &self.shared.parts;
        let (store, batch) = (parts.store_id, piece.batch);
        let kill = format!("KILL QUERY WHERE startsWith(query_id, 'nova-{store:016x}-{}-{batch}-') SYNC", self.target);
        if let Err(failure @ (Failure::Unreachable(_) | Failure::Broken(_) | Failure::TimedOut)) =
            parts.clickhouse.run(&kill).await
        {
            return Err(failure);
        }
        let sql = format!(
            "SELECT DISTINCT toString(event_id) FROM {} WHERE _nova_store = {store} AND _nova_batch = {batch}",
            self.target
        );
        let found = parts.clickhouse.rows(&sql).await?;
        let found: BTreeSet<Id> = found.iter().filter_map(|row| Id::parse(row.first()?.as_bytes()).ok()).collect();
        let ranges = rows::split(self.target, &piece.rows).unwrap_or_default();
        let mut rest = Vec::new();
        for range in &ranges {
            let row = &piece.rows[range.clone()];
            if !found.contains(&rows::id(row)) {
                rest.extend_from_slice(row);
            }
        }
        if found.is_empty() || rest.len() == piece.rows.len() {
            return Ok(Present::None);
        }
        tracing::warn!(
            table = self.target.name(),
            batch,
            "found rows of an old batch whose insert was never confirmed"
        );
        parts.status.uncertain_batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(if rest.is_empty() { Present::All } else { Present::Some(rest.into()) })
    }

    fn stall(&self, reason: Option<String>) {
        self.shared.parts.status.stall(self.target, reason.map(Into::into));
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(self.shared.parts.pace.stall_ms)).await;
    }
}

/// Rows of one batch that are sent together.
struct Piece {
    batch: u64,
    rows: Bytes,
    sealed_at_ms: i64,
}

enum Present {
    None,
    All,
    /// These rows are missing.
    Some(Bytes),
}
