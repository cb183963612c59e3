//! The health of the node, as one factor between 0 and 1 by which nova multiplies every caller's rate.

use std::sync::atomic::{AtomicU64, Ordering};

/// The lowest value of the health factor.
pub const FACTOR_MIN: f64 = 0.1;
/// The highest healthy value of each signal.
const COMMIT_GOOD_MS: f64 = 100.0;
const DELAY_GOOD_MS: f64 = 50.0;
const LAG_GOOD_S: f64 = 60.0;
const QUEUE_GOOD: f64 = 0.75;
/// The weight of the newest value in a running mean. The last commit has this weight in the mean commit time. The last
/// measurement of the queue has this weight in the mean of the queue's measurements. Batches fill a queue for a moment,
/// which is normal. Only a queue that stays full is a sign of poor health.
const NEWEST_SHARE: f64 = 0.2;

/// The signals from which nova computes its health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signals {
    /// The running mean of the time of durable commits.
    pub commit_ms: f64,
    /// The running mean of the fraction (0 to 1) of the writer's queue that is in use.
    pub queue: f64,
    /// The delay with which the runtime wakes a timer, in milliseconds.
    pub delay_ms: f64,
    /// The age of the oldest record that nova has not read yet, in seconds.
    pub lag_s: f64,
}

/// The health factor: 1 while every signal is good, otherwise in inverse proportion to the worst signal. A full queue
/// halves the health factor.
pub fn factor(signals: &Signals) -> f64 {
    let over = |value: f64, good: f64| if value > good { good / value } else { 1.0 };
    let queue = ((signals.queue - QUEUE_GOOD) / (1.0 - QUEUE_GOOD)).clamp(0.0, 1.0);
    let all = [
        over(signals.commit_ms, COMMIT_GOOD_MS),
        over(signals.delay_ms, DELAY_GOOD_MS),
        over(signals.lag_s, LAG_GOOD_S),
        1.0 - queue / 2.0,
    ];
    all.into_iter().fold(1.0, f64::min).max(FACTOR_MIN)
}

/// The current signals of health, and the health factor computed from them.
#[derive(Debug)]
pub struct Health {
    commit_ms: AtomicU64,
    commits: AtomicU64,
    seen: AtomicU64,
    queue: AtomicU64,
    factor: AtomicU64,
}

impl Default for Health {
    fn default() -> Health {
        let zero = || AtomicU64::new(0);
        let factor = AtomicU64::new(1.0_f64.to_bits());
        Health { commit_ms: zero(), commits: zero(), seen: zero(), queue: zero(), factor }
    }
}

impl Health {
    /// Notes the time of a commit. Only the writer's thread calls this function.
    pub fn committed(&self, commit_ms: f64) {
        mix(&self.commit_ms, commit_ms);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Computes the health factor, about once a second, from the used part of the writer's queue, the delay of a timer
    /// and the lag of reading. A second without commits halves the mean of commit times, because the slow commits are
    /// over.
    pub fn tick(&self, queue: f64, delay_ms: f64, lag_s: f64) {
        let commits = self.commits.load(Ordering::Relaxed);
        if self.seen.swap(commits, Ordering::Relaxed) == commits {
            self.commit_ms.store((self.commit_ms() / 2.0).to_bits(), Ordering::Relaxed);
        }
        let queue = mix(&self.queue, queue);
        let factor = factor(&Signals { commit_ms: self.commit_ms(), queue, delay_ms, lag_s });
        if (factor < 1.0) != (self.factor() < 1.0) {
            tracing::warn!(factor, commit_ms = self.commit_ms(), queue, delay_ms, lag_s, "the health factor changed");
        }
        self.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    pub fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    pub fn commit_ms(&self) -> f64 {
        f64::from_bits(self.commit_ms.load(Ordering::Relaxed))
    }
}

/// Adds a value to a running mean of a health signal.
fn mix(mean: &AtomicU64, value: f64) -> f64 {
    let before = f64::from_bits(mean.load(Ordering::Relaxed));
    let after = before + (value - before) * NEWEST_SHARE;
    mean.store(after.to_bits(), Ordering::Relaxed);
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_factor_is_in_its_range_and_falls_with_every_signal(
            commit_ms in 0.0..1e6f64, queue in 0.0..1.0f64, delay_ms in 0.0..1e6f64, lag_s in 0.0..1e6f64,
            more in 1.0..10.0f64,
        ) {
            let signals = Signals { commit_ms, queue, delay_ms, lag_s };
            let now = factor(&signals);
            prop_assert!((FACTOR_MIN..=1.0).contains(&now));
            let worse = [
                Signals { commit_ms: commit_ms * more, ..signals },
                Signals { delay_ms: delay_ms * more, ..signals },
                Signals { lag_s: lag_s * more, ..signals },
                Signals { queue: (queue * more).min(1.0), ..signals },
            ];
            prop_assert!(worse.iter().all(|worse| factor(worse) <= now));
            if commit_ms <= COMMIT_GOOD_MS && queue <= QUEUE_GOOD && delay_ms <= DELAY_GOOD_MS && lag_s <= LAG_GOOD_S {
                prop_assert_eq!(now, 1.0);
            }
        }
    }

    #[test]
    fn slow_commits_lower_the_factor_and_their_end_restores_it() {
        let health = Health::default();
        (0..50).for_each(|_| health.committed(400.0));
        health.tick(0.0, 0.0, 0.0);
        assert!((health.factor() - 0.25).abs() < 0.01, "{}", health.factor());
        (0..4).for_each(|_| health.tick(0.0, 0.0, 0.0));
        assert_eq!(health.factor(), 1.0);
    }

    #[test]
    fn a_queue_lowers_the_factor_when_it_stays_full_and_not_for_a_moment() {
        let health = Health::default();
        for tick in 0..40 {
            health.tick(f64::from(tick % 2), 0.0, 0.0);
            assert_eq!(health.factor(), 1.0);
        }
        (0..40).for_each(|_| health.tick(1.0, 0.0, 0.0));
        assert!((health.factor() - 0.5).abs() < 0.01, "{}", health.factor());
    }
}
