//! The windows of time for which there are trending lists. [`super::ranking::Ranking`] says for which windows nova
//! keeps lists.

use super::times::MINUTE_MS;

/// A window of time, which consists of the bucket of `now` and of the buckets before that bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Hour,
    SixHours,
    Day,
    Week,
}

impl Window {
    pub const ALL: [Window; 4] = [Window::Hour, Window::SixHours, Window::Day, Window::Week];

    pub const fn name(self) -> &'static str {
        match self {
            Window::Hour => "1h",
            Window::SixHours => "6h",
            Window::Day => "24h",
            Window::Week => "7d",
        }
    }

    pub fn from_name(name: &str) -> Option<Window> {
        Window::ALL.into_iter().find(|window| window.name() == name)
    }

    /// Returns the length of the window and the length of a bucket, in minutes.
    pub const fn minutes(self) -> (i64, i64) {
        match self {
            Window::Hour => (60, 1),
            Window::SixHours => (6 * 60, 5),
            Window::Day => (24 * 60, 5),
            Window::Week => (7 * 24 * 60, 60),
        }
    }

    /// Returns the range of epoch minutes that count at `now_ms`.
    pub fn range(self, now_ms: i64) -> std::ops::Range<i64> {
        let (window, bucket) = self.minutes();
        let end = (now_ms.div_euclid(MINUTE_MS).div_euclid(bucket) + 1) * bucket;
        end - window..end
    }
}
