//! The only reader of wall time. Everything else takes `now` as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall time in epoch milliseconds: the system's, or one that a test or a replay sets.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(now_ms: i64) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(now_ms)))
    }

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Clock::Manual(cell) = self {
            cell.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Epoch milliseconds; a system clock before 1970 reads as 0.
    pub fn now_ms(&self) -> i64 {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
            Clock::System => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
            }
            Clock::Manual(cell) => cell.load(Ordering::Relaxed),
        }
    }
}
