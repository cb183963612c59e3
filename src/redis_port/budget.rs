//! The memory that the large commands and answers of all connections may take together. The limit of connections also
//! limits the memory of small commands and answers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The maximum number of bytes that all connections take together.
const BUDGET_MAX_BYTES: usize = 128 << 20;
/// The budget does not count a connection's buffer up to this size.
pub(super) const SMALL_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Budget(AtomicUsize);

/// The part of the budget that one connection holds.
pub(super) struct Held<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Budget {
    pub fn none(&self) -> Held<'_> {
        Held { budget: self, bytes: 0 }
    }
}

impl Held<'_> {
    /// Holds `bytes` of the budget for the connection's buffers, if the budget allows this. Returns whether the
    /// connection now holds the bytes.
    #[must_use]
    pub fn hold(&mut self, bytes: usize) -> bool {
        let bytes = if bytes <= SMALL_BYTES { 0 } else { bytes };
        if bytes <= self.bytes {
            self.budget.0.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
            self.bytes = bytes;
            return true;
        }
        let more = bytes - self.bytes;
        let held = self.budget.0.fetch_add(more, Ordering::Relaxed);
        if held + more > BUDGET_MAX_BYTES {
            self.budget.0.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_hold_no_more_than_there_is_and_give_all_of_it_back() {
        let budget = Budget::default();
        let (mut one, mut other) = (budget.none(), budget.none());
        assert!(one.hold(SMALL_BYTES) && budget.0.load(Ordering::Relaxed) == 0);
        assert!(one.hold(BUDGET_MAX_BYTES - SMALL_BYTES) && !other.hold(SMALL_BYTES + 1) && other.hold(9));
        assert!(one.hold(SMALL_BYTES + 1) && other.hold(SMALL_BYTES + 1));
        assert_eq!(budget.0.load(Ordering::Relaxed), 2 * (SMALL_BYTES + 1));
        drop((one, other));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
