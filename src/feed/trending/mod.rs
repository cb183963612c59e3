//! Trending posts of a window, from the minutes in which posts counted actions.
//!
//! [`rank`] counts everything for any `now`: the command line and the tests. `tally` keeps the scores between ticks,
//! `publish` makes the lists that HTTP serves, `overrides` is what operators say about posts. All give the same list;
//! only the first lists of a new store may be `warmed`.

pub mod overrides;
pub mod publish;
mod tally;
pub mod warmed;

use std::cmp::Reverse;

use crate::event::Id;
use crate::state::ranking::Ranking;
use crate::state::{MINUTE_MS, State};

use self::overrides::Overrides;

/// Posts of one answer, and the last place at which a post may be pinned.
pub const TRENDING_MAX: usize = 200;

/// A window and the bucket to which it is exact: the window is the bucket of `now` and those before it.
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

    /// (minutes of the window, minutes of a bucket).
    const fn minutes(self) -> (i64, i64) {
        match self {
            Window::Hour => (60, 1),
            Window::SixHours => (6 * 60, 5),
            Window::Day => (24 * 60, 5),
            Window::Week => (7 * 24 * 60, 60),
        }
    }

    /// The epoch minutes that count at `now_ms`.
    pub fn range(self, now_ms: i64) -> std::ops::Range<i64> {
        let (window, bucket) = self.minutes();
        let end = (now_ms.div_euclid(MINUTE_MS).div_euclid(bucket) + 1) * bucket;
        end - window..end
    }
}

/// One post of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub post: Id,
    pub author: Id,
    pub created_at_us: i64,
    /// Weighed actions of the window, times ten.
    pub score: i64,
    /// By [`crate::event::Action`].
    pub counts: [i64; 5],
    /// An operator put it at its place.
    pub pinned: bool,
}

impl Entry {
    /// What a post counted in minutes of the range; `None` while it may not be shown.
    fn of(state: &State, number: u32, range: &std::ops::Range<i64>) -> Option<Entry> {
        let row = state.posts.row(number).filter(|_| state.visible(number))?;
        let counts = state.posts.counted(number, range.clone());
        let (post, author) = (state.post_ids.id(number), state.users.id(row.author));
        let (created_at_us, score) = (row.created_at_us, state.weighed(&counts));
        Some(Entry { post, author, created_at_us, score, counts, pinned: false })
    }

    /// The order of lists: score, then newest, then smallest id.
    fn order(&self) -> impl Ord + use<> {
        (Reverse(self.score), Reverse(self.created_at_us), self.post)
    }
}

/// A list as it is published: the best first, and how many posts scored at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trending {
    pub window: Window,
    /// Begin of the minute for which the list holds, epoch milliseconds.
    pub generated_at_ms: i64,
    pub total: usize,
    pub entries: Vec<Entry>,
    /// With counts that are not the state's; see `warmed`.
    pub warmed: bool,
}

/// Ranks the visible posts with a positive score, and then does what the operators say.
pub fn rank(state: &State, window: Window, now_ms: i64, overrides: &Overrides) -> Trending {
    let range = window.range(now_ms);
    let mut entries = Vec::new();
    for number in 0..state.posts.len() as u32 {
        entries.extend(Entry::of(state, number, &range).filter(|entry| entry.score > 0));
    }
    let total = entries.len();
    entries.sort_unstable_by_key(Entry::order);
    entries.truncate(list_max(state) + overrides.len());
    let mut list = Trending { window, generated_at_ms: generated_at_ms(now_ms), total, entries, warmed: false };
    overrides.apply(state, &range, &mut list);
    list
}

/// Posts of a list.
fn list_max(state: &State) -> usize {
    state.ranking().trending.list_max as usize
}

/// The windows of which lists are kept.
pub fn kept(ranking: &Ranking) -> impl Iterator<Item = Window> + use<> {
    Window::ALL.into_iter().zip(ranking.trending.windows).filter_map(|(window, kept)| kept.then_some(window))
}

/// Which windows may be asked for.
pub fn one_of(kept: &[Window]) -> String {
    let names: Vec<_> = kept.iter().map(|window| window.name()).collect();
    match names.split_last() {
        Some((last, [])) => format!("expected {last}: trending.windows keeps no other"),
        Some((last, others)) if kept.len() == Window::ALL.len() => format!("expected {} or {last}", others.join(", ")),
        Some((last, others)) => format!("expected {} or {last}: trending.windows keeps no other", others.join(", ")),
        None => "expected none: trending.windows keeps none".to_owned(),
    }
}

/// The begin of the minute: within it equal counts give equal bytes.
fn generated_at_ms(now_ms: i64) -> i64 {
    now_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}

#[cfg(test)]
mod tests {
    use super::publish::Published;
    use super::*;
    use crate::event::{Action, Effect, Facts};
    use crate::state::StateSettings;
    use proptest::prelude::*;

    const T0_MS: i64 = 1_795_000_000_000;

    #[test]
    fn a_window_is_the_bucket_of_now_and_those_before_it() {
        let now_ms = (7 * 60 + 3) * MINUTE_MS + 59_999;
        assert_eq!(Window::Hour.range(now_ms), 364..424);
        assert_eq!(Window::SixHours.range(now_ms), 65..425);
        assert_eq!(Window::Week.range(now_ms), 480 - 10_080..480);
    }

    proptest! {
        /// Against a plain count over all events, for any `now`.
        #[test]
        fn every_window_equals_a_count_over_all_events(
            events in proptest::collection::vec((0u8..4, 0i64..12_000, 0usize..2), 1..80),
            now in 0i64..13_000,
        ) {
            let mut state = State::new(StateSettings::default());
            let id = |kind: u128, n: u8| Id::from_u128(kind << 64 | u128::from(n));
            for n in 0..4 {
                let row = Facts::Post { author: id(1, 0), created_at_us: i64::from(n % 2), published: n != 3 };
                state.apply(&Effect::Row { key: id(2, n), old: None, new: Some(row) });
            }
            let mut oracle = Vec::new();
            for ((post, minute, kind), user) in events.iter().zip(0u8..) {
                let at_ms = T0_MS + minute * MINUTE_MS + 17;
                // Each by another user, so that each counts.
                let action = [Action::View, Action::Share][*kind];
                state.apply(&Effect::Event { user: id(3, user), post: id(2, *post), action, at_ms, dwell_ms: 0 });
                oracle.push((*post, at_ms, [1i64, 50][*kind]));
            }
            let now_ms = T0_MS + now * MINUTE_MS;
            for window in Window::ALL {
                let (length, bucket) = window.minutes();
                let (length, bucket) = (length * MINUTE_MS, bucket * MINUTE_MS);
                let end = now_ms - now_ms % bucket + bucket;
                let mut expected: Vec<(i64, i64, Id)> = (0..3u8).map(|n| {
                    let hits = oracle.iter().filter(|(post, at, _)| *post == n && *at < end && *at >= end - length);
                    (-hits.map(|hit| hit.2).sum::<i64>(), -i64::from(n % 2), id(2, n))
                }).filter(|row| row.0 < 0).collect();
                expected.sort_unstable();
                let ranked = rank(&state, window, now_ms, &Overrides::default());
                let found: Vec<_> = ranked.entries.iter().map(|e| (-e.score, -e.created_at_us, e.post)).collect();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(ranked.total, expected.len());
                let parsed: serde_json::Value = serde_json::from_str(&Published::new(&state, ranked).page(0, 200, |_| true).body).unwrap();
                prop_assert_eq!(parsed["posts"].as_array().unwrap().len(), expected.len());
            }
        }
    }
}
