//! Lets sources wake the thread that polls them.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::monotonic_now;

/// Sources ring it when they have something, so that one thread can wait for both.
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

    /// Waits until somebody has rung since the last call, or for this long.
    pub fn wait(&self, most: Duration) {
        let deadline = monotonic_now() + most;
        let mut rung = self.rung.lock();
        while !*rung && !self.changed.wait_until(&mut rung, deadline).timed_out() {}
        *rung = false;
    }
}
