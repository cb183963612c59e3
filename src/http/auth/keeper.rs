//! What requests and the task that keeps the keys share: how often the source was looked at, and who waits for it.

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

use crate::breaker::BreakerState;

/// Requests that may wait for a look at once; those beyond are refused.
const WAITERS_MAX: usize = 256;

/// Looks at the source so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Looks {
    pub begun: u64,
    pub done: u64,
    /// Whether the last one could not tell the keys.
    pub failed: bool,
}

/// What requests and the task that keeps the keys share.
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
