//! Decides when a record arrived. The module `arrival` decides when records arrived for every source, from the time in
//! the log and from a clock that nobody outside can move (N14, `docs/cdc.md`, "Clocks").
//!
//! The time in a Kafka log is the producer's unless the topic says otherwise (KIP-32), and brokers before 4.0 accept
//! any time (KIP-937). A node believes the time in the log as long as this time is not ahead of the node's own clock. A
//! replay of a file cannot use the node's clock, because the file may be older than the node, or come from a node whose
//! clock is ahead. In a replay the times of the records serve as the clock.

use crate::event::{EVENT_MAX_AHEAD_MS, TIMESTAMP_MS_RANGE};

/// How far the clock of a producer, a broker or PostgreSQL may be ahead of the node's clock, or behind it.
pub const CLOCK_MAX_SKEW_MS: i64 = 3_600_000;
/// The maximum lag of the log's time behind the time of an event in the log. If the lag is larger, nova considers the
/// log's clock to be wrong.
pub const LOG_MAX_BEHIND_MS: i64 = 48 * 3_600_000;
/// A record of a file agrees with the file's clock if the time of the record differs from the clock by at most this.
const FILE_MAX_STEP_MS: i64 = 48 * 3_600_000;
/// The clock of a file follows a record at once if the record agrees with the clock. When the records that disagree
/// with the file's clock outnumber the agreeing records by this number, the clock moves to the next disagreeing record.
const FILE_STRANGERS_MAX: u32 = 32;

/// The time at which a record or an event arrived, in epoch milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(i64);

impl Arrival {
    pub fn ms(self) -> i64 {
        self.0
    }
}

/// The clock that nova believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimeOf {
    /// nova believes the node's own clock, because nova reads records as they come.
    #[default]
    Node,
    /// nova believes the times of the records, because nova reads a capture again.
    File,
}

/// Decides when records arrived. The records must come in the order of the log.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    of: TimeOf,
    /// The node's clock as of the last [`Timekeeper::tick`], or the clock of the file. The clock is `None` before the
    /// first tick or record.
    now_ms: Option<i64>,
    /// The number of a file's records that disagreed with the file's clock, minus the number of records that agreed.
    strangers: u32,
}

impl Timekeeper {
    pub fn new(of: TimeOf) -> Timekeeper {
        Timekeeper { of, now_ms: None, strangers: 0 }
    }

    /// Sets the clock to the time of the node's clock, which may have been set back.
    pub fn tick(&mut self, now_ms: i64) {
        if self.of == TimeOf::Node {
            self.now_ms = Some(now_ms);
        }
    }

    /// Returns the arrival of the next record, judged by its time in the log. Returns `None` if the log has no time
    /// that nova can believe: no time at all, a time before 1970, or a time that the clock has not reached.
    pub fn record(&mut self, log_ms: i64) -> Option<Arrival> {
        let believed = match self.of {
            TimeOf::Node => log_ms > 0 && log_ms <= self.bound(i64::MAX),
            TimeOf::File => log_ms > 0 && TIMESTAMP_MS_RANGE.contains(&log_ms),
        };
        if believed && self.of == TimeOf::File {
            self.follow(log_ms);
        }
        believed.then_some(Arrival(log_ms))
    }

    fn follow(&mut self, log_ms: i64) {
        match self.now_ms {
            Some(now_ms) if now_ms.abs_diff(log_ms) > FILE_MAX_STEP_MS as u64 => {
                self.strangers += 1;
                if self.strangers >= FILE_STRANGERS_MAX {
                    (self.now_ms, self.strangers) = (Some(log_ms), 0);
                }
            }
            _ => (self.now_ms, self.strangers) = (Some(log_ms), self.strangers.saturating_sub(1)),
        }
    }

    /// Returns the arrival of an event in a record. An event counts as arrived at its own time in two cases: the log
    /// has no time, or the log's time is days before the event's time although the event is not in the future. If the
    /// log's time is days before the event's time, the log's clock is wrong, because an event cannot be written before
    /// it happens.
    pub fn event(&self, record: Option<Arrival>, event_time_ms: i64) -> Arrival {
        let now_ms = self.now_ms.unwrap_or(event_time_ms);
        match record {
            Some(arrival)
                if event_time_ms.saturating_sub(arrival.0) <= LOG_MAX_BEHIND_MS
                    || event_time_ms > now_ms.saturating_add(EVENT_MAX_AHEAD_MS) =>
            {
                arrival
            }
            _ => Arrival(event_time_ms.min(now_ms)),
        }
    }

    /// Returns the time that counts for a row with the date `dated_ms`, if the date is later than the arrival of the
    /// row's record. If the record has no arrival, the date is compared with the clock. Returns `None` if the row's own
    /// date counts.
    pub fn ahead(&self, record: Option<Arrival>, dated_ms: i64) -> Option<Arrival> {
        let latest_ms = record.map(Arrival::ms).or(self.now_ms)?;
        (dated_ms > latest_ms.saturating_add(CLOCK_MAX_SKEW_MS)).then_some(Arrival(latest_ms))
    }

    /// Limits a stored time, which may come from a wrong clock, to the latest time that the clock can have shown.
    pub fn bound(&self, at_ms: i64) -> i64 {
        match (self.of, self.now_ms) {
            (TimeOf::Node, Some(now_ms)) => at_ms.min(now_ms.saturating_add(CLOCK_MAX_SKEW_MS)),
            _ => at_ms,
        }
    }

    /// Returns the latest time up to which nova may assume that it has read everything. If a producer's clock is behind
    /// the node's clock by no more than the allowed skew, the producer's clock is not behind this time.
    pub fn mark_max_ms(&self) -> i64 {
        match (self.of, self.now_ms) {
            (TimeOf::Node, Some(now_ms)) => now_ms.saturating_sub(CLOCK_MAX_SKEW_MS),
            _ => i64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NO_TIMESTAMP;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_795_000_000_000;
    const DAY_MS: i64 = 86_400_000;

    fn node() -> Timekeeper {
        let mut time = Timekeeper::new(TimeOf::Node);
        time.tick(NOW_MS);
        time
    }

    /// Returns the timekeeper of a file whose clock shows [`NOW_MS`].
    fn file() -> Timekeeper {
        let mut time = Timekeeper::new(TimeOf::File);
        (0..FILE_STRANGERS_MAX).for_each(|_| assert!(time.record(NOW_MS).is_some()));
        time
    }

    #[test]
    fn no_time_a_future_one_and_one_of_years_ago_leave_an_event_at_its_own_time() {
        let event_ms = NOW_MS - 3 * 3_600_000;
        for mut time in [node(), file()] {
            for log_ms in [NO_TIMESTAMP, 0, i64::MIN, i64::MAX, NOW_MS - 4_000 * DAY_MS] {
                let logged = time.record(log_ms);
                assert_eq!(time.event(logged, event_ms).ms(), event_ms, "{log_ms}");
            }
            let logged = time.record(NOW_MS - 1);
            assert_eq!(time.event(logged, event_ms).ms(), NOW_MS - 1);
            assert_eq!(time.event(logged, NOW_MS + 900 * DAY_MS).ms(), NOW_MS - 1, "the client is ahead");
            assert_eq!(time.event(None, NOW_MS + 900 * DAY_MS).ms(), NOW_MS - i64::from(time.of == TimeOf::File));
        }
    }

    #[test]
    fn a_row_dated_ahead_counts_at_its_arrival_and_without_one_at_the_clock() {
        let (time, arrival) = (node(), Some(Arrival(NOW_MS - DAY_MS)));
        assert_eq!(time.ahead(arrival, NOW_MS), arrival);
        assert_eq!(time.ahead(None, i64::MAX), Some(Arrival(NOW_MS)));
        assert_eq!(time.ahead(None, NOW_MS + CLOCK_MAX_SKEW_MS), None);
        assert_eq!(time.ahead(arrival, i64::MIN), None);
        assert_eq!(Timekeeper::new(TimeOf::File).ahead(None, i64::MAX), None);
    }

    #[test]
    fn a_files_clock_follows_a_gap_and_is_not_moved_by_a_few_strangers() {
        let mut time = file();
        for _ in 0..10 {
            for _ in 1..FILE_STRANGERS_MAX / 2 {
                time.record(NOW_MS + 400 * DAY_MS);
            }
            (0..FILE_STRANGERS_MAX).for_each(|_| assert!(time.record(NOW_MS).is_some()));
            assert_eq!(time.now_ms, Some(NOW_MS));
        }
        (0..FILE_STRANGERS_MAX).for_each(|_| assert!(time.record(NOW_MS + 3 * DAY_MS).is_some()));
        assert_eq!(time.now_ms, Some(NOW_MS + 3 * DAY_MS));
    }

    proptest! {
        /// N14: whatever times the log and the event have, nothing that a node reads arrives later than its clock plus
        /// the skew, and no mark is above its clock.
        #[test]
        fn n14_no_arrival_is_beyond_the_nodes_clock(log_ms: i64, event_ms: i64, dated_ms: i64, stored_ms: i64) {
            let mut time = node();
            let latest_ms = NOW_MS + CLOCK_MAX_SKEW_MS;
            let logged = time.record(log_ms);
            prop_assert!(logged.is_none_or(|arrival| arrival.ms() <= latest_ms));
            prop_assert!(time.event(logged, event_ms).ms() <= latest_ms);
            prop_assert!(time.ahead(logged, dated_ms).is_none_or(|arrival| arrival.ms() <= latest_ms));
            prop_assert!(time.bound(stored_ms) <= latest_ms && time.bound(stored_ms) <= stored_ms);
            prop_assert!(time.mark_max_ms() < NOW_MS);
        }

        /// If the log's clock is right, or wrong by less than the skew, nova takes the log's time unchanged.
        #[test]
        fn an_honest_arrival_is_what_the_log_says(
            ago_ms in -CLOCK_MAX_SKEW_MS..400 * DAY_MS, before_ms in -EVENT_MAX_AHEAD_MS..2 * DAY_MS,
        ) {
            let mut time = node();
            let log_ms = NOW_MS - ago_ms;
            let logged = time.record(log_ms);
            prop_assert_eq!(time.event(logged, log_ms - before_ms).ms(), log_ms);
        }
    }
}
