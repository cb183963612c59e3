//! The only reader of wall time. Everything else takes `now` as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall time in epoch milliseconds: the system's, the system's moved by a constant (the demo goes on where
/// its data ends), or one that a test sets.
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

    /// The system's clock, moved so that it is `now_ms` at this moment.
    pub fn shifted_to(now_ms: i64) -> Clock {
        Clock::Shifted { by_ms: now_ms - Clock::System.now_ms() }
    }

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn set(&self, now_ms: i64) {
        if let Clock::Manual(cell) = self {
            cell.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Epoch milliseconds; a system clock before 1970 reads as 0.
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

    /// The time that tokens and their issuers go by: of the day, also where nova's own clock is moved.
    pub fn day_ms(&self) -> i64 {
        match self {
            Clock::Manual(_) => self.now_ms(),
            Clock::System | Clock::Shifted { .. } => Clock::System.now_ms(),
        }
    }
}

/// RFC 3339 in UTC with microseconds; PostgreSQL's infinities by their names.
pub fn rfc3339(micros: i64) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        _ => match jiff::Timestamp::from_microsecond(micros) {
            Ok(time) => format!("{time:.6}"),
            // Beyond the year 9999: the number says at least which.
            Err(_) => micros.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_and_infinities_names() {
        assert_eq!(rfc3339(1_795_476_488_850_000), "2026-11-23T23:28:08.850000Z");
        assert_eq!(rfc3339(-1_000), "1969-12-31T23:59:59.999000Z");
        assert_eq!((rfc3339(i64::MAX).as_str(), rfc3339(i64::MIN).as_str()), ("infinity", "-infinity"));
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
    }
}
