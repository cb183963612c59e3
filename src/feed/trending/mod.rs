//! The trending posts of a window, computed from each post's counts of actions per minute.
//!
//! [`rank`] counts all posts for any `now`. The command line and the tests call [`rank`]. `tally` keeps the scores
//! between ticks, `publish` makes the lists that HTTP serves, and `overrides` has the operators' decisions about posts.
//! `rank`, `tally` and `publish` give the same list; only the first lists of a new store may be `warmed`.

mod list;
pub mod overrides;
pub mod publish;
mod tally;
pub mod warmed;
mod window;

use crate::state::State;

use self::list::{generated_at_ms, list_max};
use self::overrides::Overrides;

pub use self::list::{Entry, TRENDING_MAX, Trending};
pub use self::window::{Window, kept, one_of};

/// Ranks the visible posts with a positive score, and applies the operators' overrides to the list.
pub fn rank(state: &State, window: Window, now_ms: i64, overrides: &Overrides) -> Trending {
    let range = window.range(now_ms);
    let mut entries = Vec::new();
    for number in state.post_ids.numbers() {
        entries.extend(Entry::of(state, number, &range).filter(|entry| entry.score > 0));
    }
    let total = entries.len();
    entries.sort_unstable_by_key(Entry::order);
    entries.truncate(list_max(state) + overrides.len());
    let mut list = Trending { window, generated_at_ms: generated_at_ms(now_ms), total, entries, warmed: false };
    overrides.apply(state, &range, &mut list);
    list
}

#[cfg(test)]
mod tests {
    use super::publish::Published;
    use super::*;
    use crate::event::{Action, Effect, Facts, Id};
    use crate::state::{MINUTE_MS, StateSettings};
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
        /// The property compares each window with a plain count of all events, for any `now`.
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
                // Each event is by a different user, so each event counts.
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
