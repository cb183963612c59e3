//! Sends the sealed batches of one table.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use nova_storage::codec::OutboxBatch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::delivery::{Delivery, Left};
use super::outbox::{self, AHEAD_MAX_BATCHES, OPEN_MAX, OutboxError, Report, Settled};
use super::shared::Shared;
use super::target::Target;
use super::troubles::Troubles;

/// The maximum number of batches of one table that are sent at once. While ClickHouse stores one batch, nova sends the
/// next one.
pub const SENDING_MAX: usize = 2;
/// The maximum number of sealed batches that an earlier process can have sent: the batches that were reported or were
/// being sent, which earlier versions of nova counted apart, and the open batches. An open batch counts, because it may
/// have a lower number than a sent batch and be sealed later.
const INHERITED_MAX: usize = AHEAD_MAX_BATCHES + SENDING_MAX + OPEN_MAX;

/// The delivery of one table's batches.
pub(super) struct Task {
    shared: Rc<Shared>,
    target: Target,
    /// The batches that the task has reported to the writer and that the writer has not removed yet.
    reported: BTreeSet<u64>,
    /// The batches that are being sent; `deliveries` has a delivery for each of them.
    sending: BTreeSet<u64>,
    deliveries: JoinSet<Result<Settled, Left>>,
    troubles: Rc<Troubles>,
    /// The batches that an earlier process may have sent, as a whole or in pieces.
    inherited: BTreeSet<u64>,
    began: Instant,
}

impl Task {
    pub fn new(shared: Rc<Shared>, target: Target) -> Task {
        let (reported, sending, inherited) = Default::default();
        let troubles = Rc::new(Troubles::new(Arc::clone(&shared.parts.status), target));
        let (deliveries, began) = (JoinSet::new(), Instant::now());
        Task { shared, target, reported, sending, deliveries, troubles, inherited, began }
    }

    /// Runs within a [`tokio::task::LocalSet`] until the writer has ended or the store cannot be read.
    pub async fn run(mut self) {
        let status = Arc::clone(&self.shared.parts.status);
        let found = self.shared.parts.store.read().map_err(OutboxError::from);
        match found.and_then(|read| outbox::sealed(&read, self.target, INHERITED_MAX)) {
            Ok(found) => self.inherited = found.into_iter().map(|(batch, _)| batch).collect(),
            Err(error) => return self.unreadable(&error),
        }
        loop {
            // The waits are enabled before the check, so that a commit or an end of problems after the check wakes the
            // task.
            let mut commit = std::pin::pin!(status.next_commit());
            commit.as_mut().enable();
            let troubles = Rc::clone(&self.troubles);
            let mut problem_ends = std::pin::pin!(troubles.next_end());
            problem_ends.as_mut().enable();
            match self.next() {
                Ok(Some((batch, sealed))) => {
                    self.shared.prepare().await;
                    self.send(batch, sealed);
                }
                Ok(None) => tokio::select! {
                    biased;
                    Some(ended) = self.deliveries.join_next() => {
                        if !self.report(ended) {
                            return;
                        }
                    }
                    () = commit => {}
                    () = problem_ends => {}
                },
                Err(error) => return self.unreadable(&error),
            }
        }
    }

    fn unreadable(&self, error: &OutboxError) {
        let reason = format!("the outbox cannot be read: {error}");
        self.shared.parts.status.stall(self.target, Some(reason.into()));
    }

    /// Returns the first batch that is neither reported nor sent, if one more batch may be sent now.
    fn next(&mut self) -> Result<Option<(u64, OutboxBatch)>, OutboxError> {
        let read = self.shared.parts.store.read()?;
        let mut failed = None;
        self.reported.retain(|batch| {
            outbox::is_sealed(&read, self.target, *batch).unwrap_or_else(|error| {
                failed = Some(error);
                true
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let most = if self.troubles.none() { SENDING_MAX } else { 1 };
        if self.sending.len() >= most || self.reported.len() + self.sending.len() >= AHEAD_MAX_BATCHES {
            return Ok(None);
        }
        // Fewer than `AHEAD_MAX_BATCHES` batches are reported or sent, so one of the first `AHEAD_MAX_BATCHES` is new.
        let found = outbox::sealed(&read, self.target, AHEAD_MAX_BATCHES)?;
        Ok(found.into_iter().find(|(batch, _)| !self.reported.contains(batch) && !self.sending.contains(batch)))
    }

    fn send(&mut self, batch: u64, sealed: OutboxBatch) {
        let inherited = self.target == Target::Events && self.inherited.contains(&batch);
        let inherited = inherited.then_some(self.began);
        let (shared, troubles) = (Rc::clone(&self.shared), Rc::clone(&self.troubles));
        let silent = Cell::new(inherited);
        let delivery = Delivery { shared, target: self.target, batch, inherited, silent, troubles };
        self.deliveries.spawn_local(delivery.run(sealed));
        self.sending.insert(batch);
    }

    /// Reports the outcome of a delivery to the writer. Returns false if the delivery of the table ends.
    fn report(&mut self, ended: Result<Result<Settled, Left>, JoinError>) -> bool {
        let settled = match ended {
            Ok(Ok(settled)) => settled,
            Ok(Err(Left::Ended)) => return false,
            Ok(Err(Left::Unreadable(error))) => {
                self.unreadable(&error);
                return false;
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return false,
        };
        let batch = settled.batch;
        self.sending.remove(&batch);
        self.reported.insert(batch);
        (self.shared.parts.report)(Report::Settled(settled))
    }
}
