//! The state that requests share with the task that keeps the keys up to date: the reads of the key source, and the
//! requests that wait for a read.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::breaker::{Breaker, BreakerSettings, BreakerState};

/// The most requests that may wait for a read of the keys at the same time. nova refuses a request that would exceed
/// this number.
const WAITERS_MAX: usize = 256;
/// The settings of the circuit breaker for the address of the keys. The first failed read opens the breaker, and the
/// pauses between failed reads grow.
const BREAKER: BreakerSettings = BreakerSettings {
    failures_to_open: 1,
    failures_to_pause: 1,
    pauses: Backoff { first: Duration::from_secs(1), last: Duration::from_secs(60) },
};

/// The numbers of begun and finished reads of the key source.
#[derive(Clone, Copy, Default)]
pub(super) struct Looks {
    pub begun: u64,
    pub done: u64,
    /// Whether the last read of the key source failed.
    pub failed: bool,
}

/// The state that requests share with the task that keeps the keys up to date.
pub(super) struct Keeper {
    pub looks: watch::Sender<Looks>,
    pub wanted: Notify,
    pub places: Semaphore,
    breaker: Mutex<Breaker>,
    /// The origin of the breaker's clock, which is monotonic, because wall time could stand still or be set back.
    born: Instant,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper {
            looks: watch::Sender::default(),
            wanted: Notify::new(),
            places: Semaphore::new(WAITERS_MAX),
            breaker: Mutex::new(Breaker::new(BREAKER)),
            born: Instant::now(),
        }
    }
}

impl Keeper {
    fn age_ms(&self) -> i64 {
        self.born.elapsed().as_millis() as i64
    }

    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.lock().state(self.age_ms())
    }

    /// Notes that a read of the address gave keys.
    pub fn answered(&self) {
        self.breaker.lock().answered();
    }

    /// Notes that a read of the address gave no keys.
    pub fn failed(&self) {
        self.breaker.lock().failed(self.age_ms());
    }

    /// Waits as long as the breaker allows no read of the address.
    pub async fn rest(&self) {
        loop {
            let wait_ms = self.breaker.lock().admit(self.age_ms());
            if wait_ms == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
        }
    }
}
