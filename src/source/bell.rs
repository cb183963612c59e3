//! How sources wake the thread that polls them.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Rung by sources that have something, so that one thread can wait for both.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until somebody has rung since the last call, or this long.
    pub fn wait(&self, most: Duration) {
        let deadline = Instant::now() + most;
        let mut rung = self.rung.lock();
        while !*rung && !self.changed.wait_until(&mut rung, deadline).timed_out() {}
        *rung = false;
    }
}
