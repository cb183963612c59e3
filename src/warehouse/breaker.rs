//! A circuit breaker (M. Nygard, "Release It!"): closed, open after failures in a row, half-open for one trial. An open
//! breaker loses nothing, because the work waits.

use crate::breaker::BreakerState;

/// The breaker opens after this many failures in a row.
pub const FAILURES_MAX: u32 = 5;
/// How long the breaker stays open before one trial.
pub const OPEN_MS: i64 = 1_000;

/// A circuit breaker. Time is an argument, in milliseconds of a clock that is never set back.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    opened_ms: i64,
    trial: bool,
}

impl Breaker {
    /// How long to wait before an attempt, in milliseconds. 0 allows the attempt.
    pub fn admit(&mut self, now_ms: i64) -> i64 {
        if self.failures < FAILURES_MAX {
            return 0;
        }
        let left = self.opened_ms + OPEN_MS - now_ms;
        if left > 0 {
            return left.min(OPEN_MS);
        }
        if self.trial {
            return OPEN_MS / 10;
        }
        self.trial = true;
        0
    }

    /// Notes that the server answered, whatever the answer is.
    pub fn answered(&mut self) {
        *self = Breaker::default();
    }

    pub fn failed(&mut self, now_ms: i64) {
        self.failures = self.failures.saturating_add(1);
        (self.trial, self.opened_ms) = (false, now_ms);
    }

    pub fn state(&self, now_ms: i64) -> BreakerState {
        match self.failures < FAILURES_MAX {
            true => BreakerState::Closed,
            false if self.trial || now_ms - self.opened_ms >= OPEN_MS => BreakerState::HalfOpen,
            false => BreakerState::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_tries_once_and_closes_on_an_answer() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            breaker.failed(0);
        }
        assert_eq!((breaker.admit(0), breaker.state(0)), (0, BreakerState::Closed));
        breaker.failed(10);
        assert_eq!((breaker.admit(10), breaker.state(10)), (OPEN_MS, BreakerState::Open));
        let later = 10 + OPEN_MS;
        assert_eq!(breaker.admit(later), 0);
        assert!(breaker.admit(later) > 0, "one trial at a time");
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        breaker.failed(later);
        assert!(breaker.admit(later + 1) > 0);
        assert_eq!(breaker.admit(later + OPEN_MS), 0);
        breaker.answered();
        assert_eq!((breaker.admit(later), breaker.state(later)), (0, BreakerState::Closed));
    }
}
