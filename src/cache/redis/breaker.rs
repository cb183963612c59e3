//! Decides when a server that does not answer is not asked for a while.

/// The breaker opens after this many failures in a row.
pub(super) const FAILURES_TO_OPEN: u32 = 3;
/// An open breaker lets one command try the server after this time.
pub(super) const REST_MS: i64 = 1_000;

/// The circuit breaker of a Redis server. While it is closed, everything goes to the server. While it is open, one
/// command each `REST_MS` goes to the server; if the server answers it, the breaker closes.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    resting_until_ms: Option<i64>,
}

impl Breaker {
    /// Whether a command may go to the server at `now_ms`. If the clock was set back, the pause ends, because it is
    /// never longer than `REST_MS`.
    pub(super) fn admits(&mut self, now_ms: i64) -> bool {
        match self.resting_until_ms {
            None => true,
            Some(until_ms) if (until_ms - REST_MS..until_ms).contains(&now_ms) => false,
            Some(_) => {
                self.resting_until_ms = Some(now_ms + REST_MS);
                true
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// Notes a failure. Returns true if this failure opened the breaker.
    pub(super) fn failed(&mut self, now_ms: i64) -> bool {
        let was_open = self.is_open();
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_TO_OPEN {
            self.resting_until_ms = Some(now_ms + REST_MS);
        }
        self.is_open() && !was_open
    }

    pub(super) fn is_open(&self) -> bool {
        self.resting_until_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_lets_one_command_try_each_rest() {
        let mut breaker = Breaker::default();
        assert!((1..FAILURES_TO_OPEN).all(|_| breaker.admits(0) && !breaker.failed(0)));
        assert!(breaker.failed(0) && breaker.is_open());
        assert!(!breaker.admits(REST_MS - 1));
        assert!(breaker.admits(REST_MS) && !breaker.admits(REST_MS), "one tries");
        assert!(!breaker.failed(REST_MS) && !breaker.admits(REST_MS + 1));
        assert!(breaker.admits(2 * REST_MS));
        assert!(breaker.admits(-REST_MS) && !breaker.admits(-REST_MS), "the clock was set back: one tries");
        breaker.succeeded();
        assert!(!breaker.is_open() && !breaker.failed(0), "failures count anew");
    }
}
