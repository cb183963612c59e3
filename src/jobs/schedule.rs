//! Computes when a job runs. The module does no input or output, and gets all times as arguments. Durations in this
//! module count from the runner's start.

use std::time::Duration;

use rustc_hash::FxHasher;
use std::hash::Hasher as _;

use crate::backoff::Backoff;

/// The shortest time between two refreshes of a job, however often the job is woken.
const GAP_MIN: Duration = Duration::from_millis(50);
/// The pauses of a job after failures in a row.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), last: Duration::from_secs(60) };
/// The number of failures in a row after which a job is parked.
pub(super) const PARK_AFTER: u32 = 8;
/// The interval between the attempts of a parked job.
pub(super) const PARKED: Duration = Duration::from_secs(600);

/// The result of a refresh, as far as the time of the next refresh depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Ok,
    Failed,
    /// A server that the job needs is out of reach. An outage of a server never parks a job.
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
    /// Makes the schedule of a job. The first run of the job is due at once.
    pub(super) fn new(interval: Duration, seed: u64) -> Schedule {
        Schedule { interval, seed, runs: 0, failures: 0, ended: None, due: Duration::ZERO }
    }

    /// Returns the time at which the next refresh begins without a request.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Returns the earliest time at which the next refresh may begin on request.
    pub(super) fn earliest(&self) -> Duration {
        self.ended.map_or(Duration::ZERO, |ended| ended + GAP_MIN)
    }

    pub(super) fn parked(&self) -> bool {
        self.failures >= PARK_AFTER
    }

    /// Notes the end of a refresh and its result.
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
            // Half of the backoff is fixed and half is random, so that jobs that failed together are not retried
            // together.
            n => BACKOFF.half_jitter(n - 1, self.unit()),
        };
        self.due = at + wait.max(GAP_MIN);
    }

    /// Returns a number from 0 to 1 that depends on the seed and on the number of runs.
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
                    n if n < PARK_AFTER => (GAP_MIN, BACKOFF.last),
                    _ => (PARKED, PARKED),
                };
                prop_assert!(wait >= min && wait <= max, "{wait:?} after {in_a_row} failures");
                prop_assert_eq!(schedule.parked(), in_a_row >= PARK_AFTER);
                prop_assert!(schedule.earliest() <= schedule.due() && schedule.earliest() >= at);
            }
        }
    }
}
