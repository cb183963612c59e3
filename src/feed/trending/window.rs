//! The windows of time for which there are trending lists.

use crate::state::MINUTE_MS;
use crate::state::ranking::Ranking;

/// A window, and the bucket to which it is exact: the window consists of the bucket of `now` and of the buckets before.
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

    /// The minutes of the window, and the minutes of a bucket.
    pub(super) const fn minutes(self) -> (i64, i64) {
        match self {
            Window::Hour => (60, 1),
            Window::SixHours => (6 * 60, 5),
            Window::Day => (24 * 60, 5),
            Window::Week => (7 * 24 * 60, 60),
        }
    }

    /// The range of epoch minutes that count at `now_ms`.
    pub fn range(self, now_ms: i64) -> std::ops::Range<i64> {
        let (window, bucket) = self.minutes();
        let end = (now_ms.div_euclid(MINUTE_MS).div_euclid(bucket) + 1) * bucket;
        end - window..end
    }
}

/// The windows of which lists are kept.
pub fn kept(ranking: &Ranking) -> impl Iterator<Item = Window> + use<> {
    Window::ALL.into_iter().zip(ranking.trending.windows).filter_map(|(window, kept)| kept.then_some(window))
}

/// The names of the windows that a caller may request.
pub fn one_of(kept: &[Window]) -> String {
    let names: Vec<_> = kept.iter().map(|window| window.name()).collect();
    match names.split_last() {
        Some((last, [])) => format!("expected {last}: trending.windows keeps no other"),
        Some((last, others)) if kept.len() == Window::ALL.len() => format!("expected {} or {last}", others.join(", ")),
        Some((last, others)) => format!("expected {} or {last}: trending.windows keeps no other", others.join(", ")),
        None => "expected none: trending.windows keeps none".to_owned(),
    }
}
