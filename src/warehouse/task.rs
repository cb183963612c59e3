//! The delivery of one table's sealed batches.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nova_storage::codec::OutboxBatch;
use xxhash_rust::xxh3::xxh3_128;

use crate::event::Id;

use super::bisect::{Isolated, isolate};
use super::lint;
use super::outbox::{self, AHEAD_MAX_BATCHES, DeadRow, OPEN_MAX, Settled};
use super::sender::Shared;
use super::verdict::{Failure, Verdict, row_hint, verdict};
use super::{Target, rows};

/// Attempts with an unknown error code before its rows are looked at.
const UNKNOWN_MAX_ATTEMPTS: u32 = 5;

/// The delivery of one table.
pub(super) struct Task {
    shared: Rc<Shared>,
    target: Target,
    /// Batches that the writer was told of and has not taken out yet.
    reported: BTreeSet<u64>,
    /// The batches that an earlier process may have sent: what it did with them is not known.
    inherited: Option<BTreeSet<u64>>,
}

/// An earlier process was at most so far into what is sealed now: those ahead, the one on its way, and as many as were
/// open before it and sealed after it.
const INHERITED_MAX: usize = AHEAD_MAX_BATCHES + 1 + OPEN_MAX;

/// Why a batch is left for now.
enum Left {
    /// The writer is gone, or the store cannot be read: the process ends.
    Ended,
}

impl Task {
    pub fn new(shared: Rc<Shared>, target: Target) -> Task {
        Task { shared, target, reported: BTreeSet::new(), inherited: None }
    }

    /// Runs until the writer is gone or the store cannot be read.
    pub async fn run(mut self) {
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
        if self.inherited.is_none() {
            let inherited = outbox::sealed(&read, self.target, INHERITED_MAX)?;
            self.inherited = Some(inherited.into_iter().map(|(batch, _)| batch).collect());
        }
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
        let inherited = self.inherited.as_ref().is_some_and(|inherited| inherited.contains(&piece.batch));
        // Since when it may be stored without our knowing.
        let mut doubt_ms = inherited.then_some(piece.sealed_at_ms);
        loop {
            self.wait_for_leave().await;
            if doubt_ms.is_some_and(|since_ms| self.forgotten(since_ms)) {
                match self.present(piece).await {
                    Ok(Present::All) => return Ok(None),
                    Ok(Present::None) => doubt_ms = None,
                    Ok(Present::Some(rest)) => return Box::pin(self.store(&Piece { rows: rest, ..*piece })).await,
                    Err(failure) => {
                        self.failed(&failure, piece.batch, attempt).await;
                        attempt += 1;
                        continue;
                    }
                }
            }
            let (started, now_ms) = (Instant::now(), self.shared.now_ms());
            let id = format!("nova-{:016x}-{}-{}-{attempt}-{now_ms}", parts.store_id, self.target, piece.batch);
            let result = parts.clickhouse.insert(self.target, piece.rows.clone(), &token, &id).await;
            parts.status.asked(started.elapsed(), result.is_err());
            let Err(failure) = result else {
                parts.status.answered();
                self.stall(None);
                return Ok(None);
            };
            // Also a refusal can come after the rows: a proxy's, a view's, one of a replica that lost its Keeper.
            if !matches!(failure, Failure::Unreachable(_)) {
                doubt_ms.get_or_insert(now_ms);
            }
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
                _ => self.failed(&failure, piece.batch, attempt).await,
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
                self.shared.lint_tables().await;
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
                self.stall(Some(finding.to_string()));
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

    /// Whether the server may have forgotten the tokens of that time. Rows of the source converge without.
    fn forgotten(&self, since_ms: i64) -> bool {
        self.target == Target::Events && self.shared.now_ms() - since_ms > self.shared.parts.pace.safe_horizon_ms
    }

    /// Which of the rows are in the table, after whatever still runs on the batch was ended.
    async fn present(&self, piece: &Piece) -> Result<Present, Failure> {
        let parts = &self.shared.parts;
        let (store, batch) = (parts.store_id, piece.batch);
        parts.clickhouse.end_inserts(&format!("nova-{store:016x}-{}-{batch}-", self.target)).await?;
        parts.clickhouse.catch_up(self.target).await?;
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
        parts.status.uncertain_batches.fetch_add(1, Ordering::Relaxed);
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
