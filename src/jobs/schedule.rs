//! When a job runs. The module is pure and gets all times as arguments. Durations count from the runner's start.

use std::time::Duration;

use rustc_hash::FxHasher;
use std::hash::Hasher as _;

/// The shortest time between two refreshes, however often a job is woken.
const GAP_MIN: Duration = Duration::from_millis(50);
/// The backoff after the first failure. It doubles with each further failure.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A job is parked after this many failures in a row.
pub(super) const PARK_AFTER: u32 = 8;
/// The interval of attempts of a parked job.
pub(super) const PARKED: Duration = Duration::from_secs(600);

/// The result of a refresh, as far as the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Ok,
    Failed,
    /// A server that the job needs is out of reach. An outage never parks a job.
    Away,
}

/// The schedule of one job.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    seed: u64,
    runs: u64,
    failures: u32,
    ended: Option<Duration>,
    due: Duration,
}

impl Schedule {
    /// The first run is due at once.
    pub(super) fn new(interval: Duration, seed: u64) -> Schedule {
        Schedule { interval, seed, runs: 0, failures: 0, ended: None, due: Duration::ZERO }
    }

    /// When the next refresh begins without a request.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// When the next refresh may begin at a request.
    pub(super) fn earliest(&self) -> Duration {
        self.ended.map_or(Duration::ZERO, |ended| ended + GAP_MIN)
    }

    pub(super) fn parked(&self) -> bool {
        self.failures >= PARK_AFTER
    }

    /// Notes the end of a refresh.
    pub(super) fn ended(&mut self, at: Duration, run: Run) {
        self.runs += 1;
        self.ended = Some(at);
        self.failures = match run {
            Run::Ok => 0,
            Run::Failed => self.failures.saturating_add(1),
            Run::Away => (self.failures + 1).min(PARK_AFTER - 1),
        };
        let wait = match self.failures {
            0 => self.interval.mul_f64(0.9 + 0.2 * self.unit()),
            _ if self.parked() => PARKED,
            // Half of the backoff is fixed and half random, so that jobs that failed together do not come back
            // together.
            n => (BACKOFF_MIN * 2u32.pow(n - 1)).min(BACKOFF_MAX).mul_f64(0.5 + 0.5 * self.unit()),
        };
        self.due = at + wait.max(GAP_MIN);
    }

    /// A number from 0 to 1 that depends on the seed and the run.
    fn unit(&self) -> f64 {
        let mut hasher = FxHasher::default();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.runs);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_keep_their_bounds_whatever_happens(
            seed: u64,
            interval_ms in 100u64..100_000,
            runs in proptest::collection::vec((0usize..8, 0u64..5_000), 1..40),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut schedule = Schedule::new(interval, seed);
            let mut in_a_row = 0;
            for (run, took_ms) in runs {
                let at = schedule.due() + Duration::from_millis(took_ms);
                let run = [Run::Ok, Run::Away].get(run).copied().unwrap_or(Run::Failed);
                schedule.ended(at, run);
                in_a_row = match run {
                    Run::Ok => 0,
                    Run::Failed => in_a_row + 1,
                    Run::Away => (in_a_row + 1).min(PARK_AFTER - 1),
                };
                let wait = schedule.due() - at;
                let (min, max) = match in_a_row {
                    0 => (interval.mul_f64(0.89), interval.mul_f64(1.11)),
                    n if n < PARK_AFTER => (GAP_MIN, BACKOFF_MAX),
                    _ => (PARKED, PARKED),
                };
                prop_assert!(wait >= min && wait <= max, "{wait:?} after {in_a_row} failures");
                prop_assert_eq!(schedule.parked(), in_a_row >= PARK_AFTER);
                prop_assert!(schedule.earliest() <= schedule.due() && schedule.earliest() >= at);
            }
        }
    }
}
