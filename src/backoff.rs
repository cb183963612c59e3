//! How long nova waits before it repeats an attempt that failed. The waits double from the first wait to the last wait.

use std::time::Duration;

/// The lengths of waits, which double until they reach the last length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    /// No wait is longer than `last`.
    pub last: Duration,
}

impl Backoff {
    /// Returns waits that all have the same length.
    pub const fn always(wait: Duration) -> Backoff {
        Backoff { first: wait, last: wait }
    }

    /// Returns the length of the wait that follows `before` earlier waits. 0 gives the first wait.
    pub fn wait(self, before: u32) -> Duration {
        let doublings = before.min(u32::BITS - 1);
        self.first.saturating_mul(1 << doublings).min(self.last)
    }

    /// Returns the same length as [`Backoff::wait`], in milliseconds.
    pub fn wait_ms(self, before: u32) -> i64 {
        i64::try_from(self.wait(before).as_millis()).unwrap_or(i64::MAX)
    }

    /// Returns a random part of the wait, at least 1 ms (full jitter; M. Brooker, "Exponential Backoff and Jitter").
    /// The argument `draw` is a random number.
    pub fn full_jitter(self, before: u32, draw: u64) -> Duration {
        let most_ms = self.wait_ms(before).unsigned_abs().max(1);
        Duration::from_millis(draw % most_ms + 1)
    }

    /// Returns half of the wait and a random part of the other half of the wait. The argument `part` is a random number
    /// from 0 to 1.
    pub fn half_jitter(self, before: u32, part: f64) -> Duration {
        self.wait(before).mul_f64(0.5 + 0.5 * part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_the_first_to_the_last() {
        let backoff = Backoff { first: Duration::from_millis(200), last: Duration::from_secs(5) };
        let waits_ms: Vec<_> = (0..7).map(|before| backoff.wait_ms(before)).collect();
        assert_eq!(waits_ms, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.wait(u32::MAX), backoff.last);
        let always = Backoff::always(Duration::from_secs(1));
        assert!((0..40).all(|before| always.wait(before) == Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn a_random_wait_keeps_its_bounds(first_ms in 0..1_000u64, more_ms in 0..100_000u64, before: u32, draw: u64) {
            let (first, last) = (Duration::from_millis(first_ms), Duration::from_millis(first_ms + more_ms));
            let backoff = Backoff { first, last };
            let wait = backoff.wait(before);
            prop_assert!(wait >= first && wait <= last && backoff.wait(before.saturating_add(1)) >= wait);
            let full = backoff.full_jitter(before, draw);
            prop_assert!(full >= Duration::from_millis(1) && full <= wait.max(Duration::from_millis(1)));
            let half = backoff.half_jitter(before, (draw >> 11) as f64 / (1u64 << 53) as f64);
            prop_assert!(half >= wait.mul_f64(0.499) && half <= wait, "{half:?} of {wait:?}");
        }
    }
}
