//! The shared state of requests and of the task that keeps the keys fresh: the reads of the source, and the requests
//! that wait for one.

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::breaker::BreakerState;

/// The most requests that may wait for a read at once. Further requests are refused.
const WAITERS_MAX: usize = 256;

/// The reads of the source so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Looks {
    pub begun: u64,
    pub done: u64,
    /// Whether the last read gave no keys.
    pub failed: bool,
}

/// The shared state of requests and of the task that keeps the keys fresh.
pub(super) struct Keeper {
    pub looks: watch::Sender<Looks>,
    pub wanted: Notify,
    pub places: Semaphore,
    pub breaker: Mutex<BreakerState>,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper {
            looks: watch::Sender::default(),
            wanted: Notify::new(),
            places: Semaphore::new(WAITERS_MAX),
            breaker: Mutex::new(BreakerState::Closed),
        }
    }
}
