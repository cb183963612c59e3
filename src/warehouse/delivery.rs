//! Delivers one sealed batch of a table.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nova_storage::codec::OutboxBatch;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use crate::mutant::{self, Mutant};

use super::bisect::{Isolated, isolate};
use super::columns::Columns;
use super::outbox::{self, Body, DeadRow, OutboxError, Report, Settled};
use super::present::{Piece, Present, end_attempts, present};
use super::shared::Shared;
use super::target::Target;
use super::troubles::Troubles;
use super::verdict::{Failure, Verdict, may_be_stored, row_hint, verdict};
use super::{lint, rows};

/// After this many attempts with an unknown error code, nova suspects the rows.
const UNKNOWN_MAX_ATTEMPTS: u32 = 5;

/// The reason why a delivery ends without an outcome.
pub(super) enum Left {
    /// The writer has ended, so the process ends.
    Ended,
    /// The batch cannot be read from the store.
    Unreadable(OutboxError),
}

impl<E: Into<OutboxError>> From<E> for Left {
    fn from(error: E) -> Left {
        Left::Unreadable(error.into())
    }
}

/// An attempt of which it is unknown whether ClickHouse has its rows.
struct Doubt {
    since: Instant,
    /// The number of attempts on batches of the table before this attempt.
    attempts_before: u64,
}

/// The delivery of one batch.
pub(super) struct Delivery {
    pub shared: Rc<Shared>,
    pub target: Target,
    pub batch: u64,
    /// The time at which this process started, if an earlier process may have sent the batch, as a whole or in pieces.
    pub inherited: Option<Instant>,
    /// The time of the last attempt that got no answer. The rows of an attempt without an answer may still arrive.
    pub silent: Cell<Option<Instant>>,
    pub troubles: Rc<Troubles>,
}

impl Delivery {
    /// Returns when the table has all good rows of the batch.
    pub async fn run(self, sealed: OutboxBatch) -> Result<Settled, Left> {
        let dead = self.deliver(&sealed).await?;
        self.troubles.delivered(self.batch);
        Ok(Settled { target: self.target, batch: self.batch, dead })
    }

    /// Delivers the batch, and returns the rows that the table refuses.
    async fn deliver(&self, sealed: &OutboxBatch) -> Result<Vec<DeadRow>, Left> {
        let batch = self.batch;
        let read = self.shared.parts.store.read()?;
        let Body { columns, rows: body } = outbox::body(&read, self.target, batch)?;
        let in_pieces = self.target == Target::Events && self.in_pieces()?;
        drop(read);
        if xxh3_128(&body) != sealed.hash {
            self.troubles.damaged(batch, format!("the bytes of batch {batch} are damaged; restore a backup"));
            return std::future::pending().await;
        }
        let (mut whole, mut taken) = (Piece { batch, columns, rows: body }, false);
        if in_pieces {
            self.outlast().await;
        }
        if self.inherited.is_some() && !mutant::is(Mutant::SkipLook) {
            match self.look(&whole).await {
                Present::None => {}
                Present::Some(rest) => {
                    self.uncertain();
                    (whole.rows, taken) = (rest, true);
                }
                Present::All => {
                    self.uncertain();
                    return Ok(Vec::new());
                }
            }
        }
        match self.store(&whole).await? {
            None => Ok(Vec::new()),
            Some(words) => self.find_dead(whole, taken, words).await,
        }
    }

    /// Finds the bad rows of a refused batch. When `find_dead` returns, the table has all good rows of the batch.
    /// `taken` says that the table already had some rows of the batch.
    async fn find_dead(&self, mut whole: Piece, mut taken: bool, refused: String) -> Result<Vec<DeadRow>, Left> {
        let mut hint = row_hint(&refused);
        // Rows that were sent under an earlier token have arrived by now, or will never arrive.
        if self.silent.get().is_some() {
            match self.look(&whole).await {
                Present::None => {}
                Present::Some(rest) => (whole.rows, taken, hint) = (rest, true, None),
                Present::All => return Ok(Vec::new()),
            }
        }
        if self.target == Target::Events {
            self.mark_pieces().await?;
        }
        loop {
            let Ok(ranges) = rows::split(&whole.columns, &whole.rows) else {
                self.troubles
                    .damaged(self.batch, format!("batch {} holds what are no rows; restore a backup", self.batch));
                return std::future::pending().await;
            };
            let isolated = isolate(ranges.len(), hint, taken, async |numbers: &[usize]| {
                let mut bytes = Vec::new();
                numbers.iter().for_each(|row| bytes.extend_from_slice(&whole.rows[ranges[*row].clone()]));
                let columns = whole.columns.clone();
                self.store(&Piece { rows: bytes.into(), columns, batch: whole.batch }).await
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
                    self.stall(format!("it refuses every row: {words}"));
                    hint = None;
                    self.rest().await;
                    // The rows that a search stored have the tokens of that search's pieces, and the next search may
                    // cut the batch into different pieces.
                    if self.target == Target::Events {
                        match self.look(&whole).await {
                            Present::All => return Ok(Vec::new()),
                            Present::Some(rest) => (whole.rows, taken) = (rest, true),
                            Present::None => {}
                        }
                    }
                }
            }
        }
    }

    fn in_pieces(&self) -> Result<bool, Left> {
        Ok(outbox::pieces(&self.shared.parts.store.read()?)?.contains(&self.batch))
    }

    /// Returns when a commit contains the note that the batch is sent in pieces.
    async fn mark_pieces(&self) -> Result<(), Left> {
        let parts = &self.shared.parts;
        if self.in_pieces()? {
            return Ok(());
        }
        if !(parts.report)(Report::InPieces { batch: self.batch }) {
            return Err(Left::Ended);
        }
        loop {
            let mut commit = std::pin::pin!(parts.status.next_commit());
            commit.as_mut().enable();
            if self.in_pieces()? {
                return Ok(());
            }
            commit.await;
        }
    }

    /// Sends a piece until the table has stored it or has refused it because of its rows. Returns `None` if the piece
    /// is stored, or the text of the error.
    async fn store(&self, piece: &Piece) -> Result<Option<String>, Left> {
        let parts = &self.shared.parts;
        let token =
            format!("nova:{:016x}:{}:{}:{:032x}", parts.store_id, self.target, piece.batch, xxh3_128(&piece.rows));
        let (mut attempt, mut unknown) = (0u32, 0u32);
        // `doubt` is the first attempt of which it is unknown how it ended; `running` says whether an attempt may still
        // run.
        let (mut doubt, mut running) = (None::<Doubt>, false);
        loop {
            self.troubles.turn(self.batch).await;
            if doubt.as_ref().is_some_and(|doubt| self.may_be_forgotten(doubt)) {
                match self.settle(piece).await {
                    Some(settled) => return settled,
                    None => (doubt, running) = (None, false),
                }
            }
            self.wait_for_leave().await;
            if running {
                if let Err(failure) = end_attempts(parts, self.target, self.batch).await {
                    self.failed(&failure, attempt).await;
                    attempt = attempt.saturating_add(1);
                    continue;
                }
                running = false;
            }
            let (started, now_ms) = (Instant::now(), self.shared.now_ms());
            let attempts_before = self.troubles.attempt();
            let id = format!("nova-{:016x}-{}-{}-{attempt}-{now_ms}", parts.store_id, self.target, piece.batch);
            let token = if mutant::is(Mutant::SkipToken) { &id } else { &token };
            let result = parts.clickhouse.insert(self.target, &piece.columns, piece.rows.clone(), token, &id).await;
            parts.status.asked(started.elapsed(), result.is_err());
            let Err(failure) = result else {
                parts.status.answered();
                self.troubles.end(self.batch);
                return Ok(None);
            };
            let judged = verdict(&failure);
            if mutant::is(Mutant::BelieveSilence) && judged == Verdict::Ambiguous {
                return Ok(None);
            }
            unknown += u32::from(judged == Verdict::Unknown);
            let unknown_still = judged == Verdict::Unknown && unknown >= UNKNOWN_MAX_ATTEMPTS;
            if judged == Verdict::Suspect || unknown_still {
                if let Some(words) = self.suspect(&piece.columns, &failure).await {
                    self.outlast().await;
                    // The table may have stored the rows before it began to refuse them.
                    let settled = if doubt.is_some() { self.settle(piece).await } else { None };
                    return settled.unwrap_or(Ok(Some(words)));
                }
            } else {
                if self.target == Target::Events && may_be_stored(&failure) {
                    doubt = doubt.or(Some(Doubt { since: started, attempts_before }));
                    if judged == Verdict::Ambiguous {
                        running = true;
                        self.silent.set(Some(Instant::now()));
                    }
                }
                self.failed(&failure, attempt).await;
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Whether ClickHouse may have forgotten the token of an attempt, because the attempt is too old, or because too many
    /// inserts into the table began after it.
    fn may_be_forgotten(&self, doubt: &Doubt) -> bool {
        let pace = &self.shared.parts.pace;
        let overtaken = self.troubles.attempts() - doubt.attempts_before;
        doubt.since.elapsed().as_millis() as i64 > pace.safe_horizon_ms || overtaken > pace.overtaken_max
    }

    /// Waits until every attempt without an answer is too old to arrive.
    async fn outlast(&self) {
        if let Some(last) = self.silent.get() {
            tokio::time::sleep_until(last + Duration::from_millis(self.shared.parts.pace.held_max_ms)).await;
        }
    }

    /// Asks which rows of a piece are stored, and stores the missing rows if only some are stored. Returns `None` if no
    /// row of the piece is stored.
    async fn settle(&self, piece: &Piece) -> Option<Result<Option<String>, Left>> {
        let present = self.look(piece).await;
        if !matches!(present, Present::None) {
            self.uncertain();
        }
        match present {
            Present::None => None,
            Present::All => Some(Ok(None)),
            Present::Some(rest) => {
                let rest = Piece { rows: rest, columns: piece.columns.clone(), batch: piece.batch };
                Some(Box::pin(self.store(&rest)).await)
            }
        }
    }

    /// Waits while a finding stops the table or the breaker is open. The caller must ask the server next, because the
    /// caller's request is the only trial of a half-open breaker.
    async fn wait_for_leave(&self) {
        loop {
            if let Some(reason) = self.shared.refusal(self.target) {
                self.stall(reason);
                if self.troubles.is_first(self.batch) {
                    self.rest().await;
                    self.shared.lint_tables().await;
                }
                self.troubles.turn(self.batch).await;
                continue;
            }
            let wait_ms = self.shared.parts.status.admit();
            if wait_ms == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
        }
    }

    /// Returns the text of a refusal that rows may have caused. Returns `None` if the table, and not a row, is the
    /// cause of the refusal.
    async fn suspect(&self, columns: &Columns, failure: &Failure) -> Option<String> {
        let parts = &self.shared.parts;
        parts.status.answered();
        match lint::schema_of(&parts.clickhouse, self.target, columns).await {
            Ok(None) => Some(failure.to_string()),
            Ok(Some(finding)) => {
                self.stall(finding.to_string());
                self.rest().await;
                None
            }
            Err(failure) => {
                self.failed(&failure, 0).await;
                None
            }
        }
    }

    /// Waits as long as the failure requires.
    async fn failed(&self, failure: &Failure, attempt: u32) {
        let parts = &self.shared.parts;
        self.troubles.begin(self.batch);
        tracing::debug!(table = self.target.name(), attempt, "ClickHouse: {failure}");
        let judged = verdict(failure);
        match judged {
            Verdict::Stall => {
                parts.status.answered();
                self.stall(failure.to_string());
            }
            Verdict::Overload => parts.status.answered(),
            Verdict::Retry | Verdict::Ambiguous | Verdict::Suspect | Verdict::Unknown => parts.status.failed(failure),
        }
        // Before its next attempt, a batch that is not the first with problems waits for its turn and not for a time.
        if !self.troubles.is_first(self.batch) {
            return;
        }
        match judged {
            Verdict::Stall => self.rest().await,
            Verdict::Overload => self.shared.back_off(self.batch, attempt.saturating_add(3)).await,
            Verdict::Retry | Verdict::Ambiguous | Verdict::Suspect | Verdict::Unknown => {
                self.shared.back_off(self.batch, attempt).await;
            }
        }
    }

    /// Kills the batch's inserts that are still running, and then returns which rows of the piece are in the table.
    /// `look` repeats the question until the server answers. Even if the table has all rows, a repeated insert of these
    /// rows may still be running. If an insert was killed when the table already had the rows but the views did not,
    /// the batch counts as uncertain.
    async fn look(&self, piece: &Piece) -> Present {
        let mut attempt = 0u32;
        loop {
            self.troubles.turn(self.batch).await;
            self.wait_for_leave().await;
            match present(&self.shared.parts, self.target, piece).await {
                Ok(present) => return present,
                Err(failure) => self.failed(&failure, attempt).await,
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Notes that the table has rows whose insert was never acknowledged, so it is unknown whether the views have them.
    fn uncertain(&self) {
        tracing::warn!(
            table = self.target.name(),
            batch = self.batch,
            "found rows of a batch whose insert was never confirmed"
        );
        self.shared.parts.status.uncertain_batches.fetch_add(1, Ordering::Relaxed);
    }

    fn stall(&self, reason: String) {
        self.troubles.stall(self.batch, reason);
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(self.shared.parts.pace.stall_ms)).await;
    }
}
