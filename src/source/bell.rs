//! A bell with which a source wakes the thread that polls the source.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::monotonic_now;

/// Each source rings the bell when it has records, so that one thread can wait for two sources.
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

    /// Waits until somebody has rung the bell since the last call of `wait`, or for at most the time `most`.
    pub fn wait(&self, most: Duration) {
        let deadline = monotonic_now() + most;
        let mut rung = self.rung.lock();
        while !*rung && !self.changed.wait_until(&mut rung, deadline).timed_out() {}
        *rung = false;
    }
}
