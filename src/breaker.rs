//! The circuit breaker for every remote server (M. Nygard, "Release It!"). A circuit breaker is closed, open after
//! several failures in a row, or half-open for one trial. Nothing is lost while a breaker is open, because the work
//! waits, or a different part of nova does the work.

use crate::backoff::Backoff;

/// If a trial has had no result for this long, nova considers the result to be lost, and the next trial may begin. No
/// request takes as long as the limit of a trial.
const TRIAL_MAX_MS: i64 = 120_000;

/// The state of a breaker, as the metric `circuit_breaker_state` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// nova asks the server.
    Closed = 0,
    /// The server has failed, and one trial is due or running.
    HalfOpen = 1,
    /// The server has failed, and nova does not ask it for a while.
    Open = 2,
}

/// The settings that say when a breaker opens and how long it stays open.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSettings {
    /// The breaker opens when this many attempts in a row have failed.
    pub failures_to_open: u32,
    /// When this many attempts in a row have failed, a pause follows each failure. A breaker may pause before it opens.
    /// A breaker that pauses before it opens is not reported as open after a single failure, but nova does not ask the
    /// server for a while after each failure.
    pub failures_to_pause: u32,
    /// How long nova does not ask the server after a failure. The first pause follows the failure with the number
    /// `failures_to_pause`.
    pub pauses: Backoff,
}

/// A circuit breaker. A method gets the time as an argument, in milliseconds of any clock.
///
/// After each pause one trial at a time may ask the server. If the server answers the trial, the breaker closes. If the
/// trial fails, the next pause begins. If the clock is set back to a time before the last failure, the pause ends. A
/// wrong clock never keeps the breaker from a trial for longer than one pause.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// The number of failures in a row.
    failures: u32,
    /// Whether a trial is running.
    trial: bool,
    /// The time at which the running trial began, or the time of the last failure if no trial is running.
    since_ms: i64,
}

impl Breaker {
    pub const fn new(settings: BreakerSettings) -> Breaker {
        Breaker { settings, failures: 0, trial: false, since_ms: 0 }
    }

    /// Returns how many milliseconds an attempt must wait. 0 allows the attempt. The allowed attempt may be the trial,
    /// so the caller must report its result.
    pub fn admit(&mut self, now_ms: i64) -> i64 {
        if !self.pauses() {
            return 0;
        }
        if self.trial && (0..TRIAL_MAX_MS).contains(&self.gone_ms(now_ms)) {
            // The result of the trial may come at any time, so the caller should ask again soon.
            return (self.pause_ms() / 10).max(1);
        }
        let left_ms = self.pause_left_ms(now_ms);
        if left_ms == 0 {
            (self.trial, self.since_ms) = (true, now_ms);
        }
        left_ms
    }

    /// Returns how many milliseconds the present pause still lasts, or 0 if there is no pause.
    pub fn pause_left_ms(&self, now_ms: i64) -> i64 {
        let (pause_ms, gone_ms) = (self.pause_ms(), self.gone_ms(now_ms));
        match self.pauses() && !self.trial && (0..pause_ms).contains(&gone_ms) {
            true => pause_ms - gone_ms,
            false => 0,
        }
    }

    /// Notes that the server answered, whatever the answer is.
    pub fn answered(&mut self) {
        *self = Breaker::new(self.settings);
    }

    /// Notes a failure of the server. Returns true if the failure opened the breaker.
    pub fn failed(&mut self, now_ms: i64) -> bool {
        let was_open = self.is_open();
        self.failures = self.failures.saturating_add(1);
        (self.trial, self.since_ms) = (false, now_ms);
        self.is_open() && !was_open
    }

    /// Whether the server counts as out of reach. A half-open breaker also counts as open.
    pub fn is_open(&self) -> bool {
        self.failures >= self.settings.failures_to_open
    }

    pub fn state(&self, now_ms: i64) -> BreakerState {
        match self.is_open() {
            false => BreakerState::Closed,
            true if self.pause_left_ms(now_ms) > 0 => BreakerState::Open,
            true => BreakerState::HalfOpen,
        }
    }

    fn pauses(&self) -> bool {
        self.failures >= self.settings.failures_to_pause
    }

    fn pause_ms(&self) -> i64 {
        self.settings.pauses.wait_ms(self.failures.saturating_sub(self.settings.failures_to_pause))
    }

    /// Returns the time that has passed since `since_ms`. The time since `since_ms` is negative if the clock was set
    /// back.
    fn gone_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.since_ms)
    }
}

#[cfg(test)]
mod tests;
