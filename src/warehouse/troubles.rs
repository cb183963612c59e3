//! The batches of one table whose last attempt failed. While a failed batch is tried again, nova begins no further
//! batch, so a server with problems does not get more requests than before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::status::Status;
use super::target::Target;

pub(super) struct Troubles {
    status: Arc<Status>,
    target: Target,
    /// The reason why a batch stalls, if the failure needs a person. The map has at most as many batches as are sent at
    /// once.
    batches: RefCell<BTreeMap<u64, Option<Arc<str>>>>,
}

impl Troubles {
    pub fn new(status: Arc<Status>, target: Target) -> Troubles {
        Troubles { status, target, batches: RefCell::default() }
    }

    pub fn none(&self) -> bool {
        self.batches.borrow().is_empty()
    }

    /// Notes that an attempt on the batch failed.
    pub fn begin(&self, batch: u64) {
        self.batches.borrow_mut().entry(batch).or_default();
    }

    /// Notes that the batch stalls until a person removes the reason.
    pub fn stall(&self, batch: u64, reason: String) {
        self.batches.borrow_mut().insert(batch, Some(reason.into()));
        self.publish();
    }

    /// Notes that the server took rows of the batch.
    pub fn end(&self, batch: u64) {
        self.batches.borrow_mut().remove(&batch);
        self.publish();
    }

    /// Reports the reason of the first batch that stalls.
    fn publish(&self) {
        let reason = self.batches.borrow().values().flatten().next().cloned();
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
        assert!(told().is_none() && troubles.none());
    }
}
