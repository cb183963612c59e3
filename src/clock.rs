//! The only reader of wall time in nova. All code except this module takes `now` as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns a moment of the monotonic clock, to measure how long something takes or may take. Code that depends on a
/// moment gets the moment as an argument.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn monotonic_now() -> Instant {
    Instant::now()
}

/// A source of wall time in epoch milliseconds. The source is the system's clock, the system's clock plus a constant,
/// or a clock that a test sets. The demo adds a constant, so that the demo's clock begins at the end of the demo's
/// data.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Shifted { by_ms: i64 },
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(now_ms: i64) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(now_ms)))
    }

    /// Returns the system's clock, moved so that it shows `now_ms` at this moment.
    pub fn shifted_to(now_ms: i64) -> Clock {
        Clock::Shifted { by_ms: now_ms - Clock::System.now_ms() }
    }

    /// Sets a manual clock. `set` does not change a clock that is not manual.
    pub fn set(&self, now_ms: i64) {
        if let Clock::Manual(cell) = self {
            cell.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Returns the time in epoch milliseconds. If the system's clock shows a time before 1970, the result is 0.
    pub fn now_ms(&self) -> i64 {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
            Clock::System => {
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
            }
            Clock::Shifted { by_ms } => Clock::System.now_ms() + by_ms,
            Clock::Manual(cell) => cell.load(Ordering::Relaxed),
        }
    }

    /// Returns the time by which tokens are valid or expired. The result is the system's time even if nova's clock is
    /// shifted, and the test's time if a test sets the clock.
    pub fn day_ms(&self) -> i64 {
        match self {
            Clock::Manual(_) => self.now_ms(),
            Clock::System | Clock::Shifted { .. } => Clock::System.now_ms(),
        }
    }
}

/// Writes a time in epoch microseconds as every answer has it. Times of the years 0000 to 9999 are RFC 3339 in UTC with
/// six decimals. All other years have the expanded form of ISO 8601: a sign and at least four digits. PostgreSQL's
/// infinities are written by their names. `decode::time` can read every text that `rfc3339` writes.
pub fn rfc3339(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let year = match year {
        0..=9_999 => format!("{year:04}"),
        10_000.. => format!("+{year}"),
        _ => format!("-{:04}", -year),
    };
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Converts a number of days since 1970-01-01 to year, month and day of the proleptic Gregorian calendar. `civil` is
/// the inverse of the count in `decode::time`, for any year.
fn civil(days: i64) -> (i64, i64, i64) {
    // The calculation uses eras of 400 years that begin on the first of March of year 0, so that the leap day is the
    // last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::time::parse_micros;
    use proptest::prelude::*;

    #[test]
    fn times_have_six_digits_and_infinities_names() {
        assert_eq!(rfc3339(1_795_476_488_850_000), "2026-11-23T23:28:08.850000Z");
        assert_eq!(rfc3339(-1_000), "1969-12-31T23:59:59.999000Z");
        assert_eq!((rfc3339(i64::MAX).as_str(), rfc3339(i64::MIN).as_str()), ("infinity", "-infinity"));
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
    }
    #[test]
    fn the_ends_of_postgresqls_range_are_times() {
        let cases = [
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("+10000-01-01T00:00:00.000000Z", 253_402_300_800_000_000),
            ("0000-01-01T00:00:00.000000Z", -62_167_219_200_000_000),
            ("-0001-12-31T23:59:59.999999Z", -62_167_219_200_000_001),
            ("-0043-03-15T12:00:00.000000Z", -63_517_780_800_000_000),
            ("+294246-12-31T23:59:59.999999Z", 9_223_371_244_799_999_999),
            ("-4713-11-24T00:00:00.000000Z", -210_866_803_200_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!((rfc3339(micros).as_str(), parse_micros(text)), (text, Some(micros)));
        }
    }

    proptest! {
        /// Every number of microseconds has its own text that reads back to the number, even beyond the range of any
        /// calendar library.
        #[test]
        fn every_time_reads_back(micros: i64, shift in 0u32..64) {
            let micros = micros >> shift;
            prop_assert_eq!(parse_micros(&rfc3339(micros)), Some(micros));
            // The library `jiff` writes years before 0 with a different number of digits.
            let other = jiff::Timestamp::from_microsecond(micros).map(|time| format!("{time:.6}"));
            if let Some(text) = other.ok().filter(|text| !text.starts_with('-')) {
                prop_assert_eq!(rfc3339(micros), text);
            }
        }
    }
}
