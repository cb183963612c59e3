//! The batches of one table that have problems: their last attempt failed, or they stall. Only the first of them is
//! tried again, and no further batch begins, so a server with problems does not get more requests than one for each
//! table.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::status::Status;
use super::target::Target;

/// After the end of a table's problems, this many batches are sent alone, because the problem may have been that the
/// server cannot take two batches at once.
const ALONE_BATCHES: u32 = 32;

#[derive(Default)]
struct Trouble {
    /// The reason why the batch stalls, if the failure needs a person.
    reason: Option<Arc<str>>,
    /// Whether the batch can never be sent, because the store has damaged bytes.
    damaged: bool,
}

pub(super) struct Troubles {
    status: Arc<Status>,
    target: Target,
    /// The batches with problems, at most as many as are sent at once.
    batches: RefCell<BTreeMap<u64, Trouble>>,
    /// How many of the next batches are sent alone.
    alone: Cell<u32>,
    /// The number of attempts of all batches, which ClickHouse may have counted in its window of tokens.
    attempts: Cell<u64>,
    ended: Notify,
}

impl Troubles {
    pub fn new(status: Arc<Status>, target: Target) -> Troubles {
        let (batches, alone, attempts, ended) = Default::default();
        Troubles { status, target, batches, alone, attempts, ended }
    }

    /// Whether two batches may be sent at once.
    pub fn none(&self) -> bool {
        self.alone.get() == 0 && self.batches.borrow().is_empty()
    }

    /// Counts an attempt, and returns the number of attempts before it.
    pub fn attempt(&self) -> u64 {
        self.attempts.replace(self.attempts.get() + 1)
    }

    /// Returns the number of attempts so far.
    pub fn attempts(&self) -> u64 {
        self.attempts.get()
    }

    /// Notes that an attempt on the batch failed.
    pub fn begin(&self, batch: u64) {
        self.alone.set(ALONE_BATCHES);
        self.batches.borrow_mut().entry(batch).or_default();
    }

    /// Notes that the batch stalls until a person removes the reason.
    pub fn stall(&self, batch: u64, reason: String) {
        self.begin(batch);
        self.batches.borrow_mut().entry(batch).or_default().reason = Some(reason.into());
        self.publish();
    }

    /// Notes that the batch can never be sent. The batches after it do not wait for it.
    pub fn damaged(&self, batch: u64, reason: String) {
        self.stall(batch, reason);
        self.batches.borrow_mut().entry(batch).or_default().damaged = true;
        self.ended.notify_waiters();
    }

    /// Notes that the batch has no problem, because the server took rows of it or the batch is delivered.
    pub fn end(&self, batch: u64) {
        if self.batches.borrow_mut().remove(&batch).is_some() {
            self.publish();
            self.ended.notify_waiters();
        }
    }

    /// Notes that a batch is delivered.
    pub fn delivered(&self, batch: u64) {
        self.end(batch);
        self.alone.set(self.alone.get().saturating_sub(1));
    }

    /// Returns a future that ends when problems end after it is enabled.
    pub fn next_end(&self) -> Notified<'_> {
        self.ended.notified()
    }

    /// Waits while the batch has problems and an earlier batch has problems too.
    pub async fn turn(&self, batch: u64) {
        loop {
            let mut end = std::pin::pin!(self.next_end());
            end.as_mut().enable();
            if self.is_first(batch) {
                return;
            }
            end.await;
        }
    }

    /// Whether the batch has no problem, or is the first batch with problems that can be sent.
    pub fn is_first(&self, batch: u64) -> bool {
        let batches = self.batches.borrow();
        let mut possible = batches.iter().filter(|(_, trouble)| !trouble.damaged);
        !batches.contains_key(&batch) || possible.next().is_none_or(|(first, _)| *first >= batch)
    }

    /// Reports the reason of the first batch that stalls.
    fn publish(&self) {
        let reason = self.batches.borrow().values().find_map(|trouble| trouble.reason.clone());
        self.status.stall(self.target, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_batch_stays_while_others_succeed() {
        let status = Arc::new(Status::default());
        let troubles = Troubles::new(Arc::clone(&status), Target::Events);
        let told = || status.targets()[Target::Events.index()].stalled.clone();
        troubles.stall(3, "quota".to_owned());
        troubles.begin(4);
        troubles.end(4);
        assert_eq!(told().as_deref(), Some("quota"));
        troubles.stall(2, "no table".to_owned());
        assert_eq!(told().as_deref(), Some("no table"));
        troubles.end(2);
        assert_eq!(told().as_deref(), Some("quota"));
        troubles.end(3);
        assert!(told().is_none());
    }

    #[test]
    fn after_problems_some_batches_are_sent_alone_and_only_the_first_with_problems_is_tried() {
        let troubles = Troubles::new(Arc::default(), Target::Events);
        assert!(troubles.none());
        troubles.begin(7);
        troubles.begin(5);
        assert!(troubles.is_first(5) && !troubles.is_first(7) && troubles.is_first(9));
        troubles.damaged(5, "damaged".to_owned());
        assert!(troubles.is_first(7), "a batch that can never be sent holds up no other");
        troubles.damaged(7, "damaged".to_owned());
        troubles.end(5);
        troubles.end(7);
        for batch in 8..8 + u64::from(ALONE_BATCHES) {
            assert!(!troubles.none());
            troubles.delivered(batch);
        }
        assert!(troubles.none());
    }
}
