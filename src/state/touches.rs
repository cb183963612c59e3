//! What a user did to a post, and when: whether an impression, a view or a share counts, and whether a post was seen.
//!
//! In shards by user: one map would stop every reader for 100 ms when it grows or is swept (`docs/performance.md`).

use rustc_hash::FxHashMap;

use crate::event::Action;

use super::{DAY_MS, late};

/// Only one of a user's impressions, views or shares of a post within this time counts, of each.
pub const REPEAT_MS: i64 = DAY_MS;
/// No event that is accepted is older than a day at its arrival, so no counted one older than this matters.
const KEPT_MS: i64 = 3 * DAY_MS;
pub(super) const SHARDS: usize = 512;
/// Entries of a shard from which on old ones are swept: a sweep each time their number has doubled.
const SWEEP_MIN_ENTRIES: usize = (1 << 16) / SHARDS;

/// One user and post. Times are epoch milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touch {
    /// The latest view, counted or not.
    pub(super) viewed_ms: Option<i64>,
    /// Counted impressions, views and shares, oldest first.
    pub(super) counted: Vec<(Action, i64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) map: FxHashMap<(u32, u32), Touch>,
    pub(super) sweep_at: usize,
}

#[derive(Clone, Debug)]
pub struct Touches {
    pub(super) shards: Vec<Shard>,
}

impl Default for Touches {
    fn default() -> Touches {
        Touches { shards: vec![Shard::default(); SHARDS] }
    }
}

impl Touches {
    /// Notes an impression, view or share; true if it counts: the user has no counted one of the post in the 24 hours up to it.
    pub(super) fn counts(&mut self, user: u32, post: u32, action: Action, at_ms: i64) -> bool {
        let shard = &mut self.shards[user as usize % SHARDS];
        let touch = shard.map.entry((user, post)).or_default();
        if action == Action::View {
            touch.viewed_ms = touch.viewed_ms.max(Some(at_ms));
        }
        let before =
            |(of, counted_ms): &(Action, i64)| *of == action && *counted_ms <= at_ms && at_ms - counted_ms < REPEAT_MS;
        if touch.counted.iter().any(before) {
            return false;
        }
        // By this user's time: whose partition lags may be days behind the latest.
        touch.counted.retain(|(_, counted_ms)| *counted_ms >= at_ms - KEPT_MS);
        let place = touch.counted.partition_point(|(_, counted_ms)| *counted_ms <= at_ms);
        touch.counted.insert(place, (action, at_ms));
        if shard.map.len() >= shard.sweep_at.max(SWEEP_MIN_ENTRIES) {
            shard.sweep();
        }
        true
    }

    /// When the user last viewed the post, epoch milliseconds.
    fn viewed_ms(&self, user: u32, post: u32) -> Option<i64> {
        self.shards[user as usize % SHARDS].map.get(&(user, post))?.viewed_ms
    }

    /// Whether the user viewed the post in the 24 hours up to `now_ms`, to the second.
    pub fn seen(&self, user: u32, post: u32, now_ms: i64) -> bool {
        self.seen_until_ms(user, post, now_ms).is_some()
    }

    /// If the post is seen at `now_ms`: the first moment at which it is not any more.
    pub fn seen_until_ms(&self, user: u32, post: u32, now_ms: i64) -> Option<i64> {
        let viewed_s = self.viewed_ms(user, post)?.div_euclid(1_000);
        let until_ms = (viewed_s + REPEAT_MS / 1_000) * 1_000;
        (now_ms < until_ms).then_some(until_ms)
    }

    pub fn mem_bytes(&self) -> usize {
        let shard =
            |shard: &Shard| shard.map.capacity() * (size_of::<((u32, u32), Touch)>() + 1) + shard.map.len() * 32;
        self.shards.iter().map(shard).sum()
    }
}

impl Shard {
    /// Forgets what is old by the times that the shard itself has; see [`super::late`].
    fn sweep(&mut self) {
        let last = |touch: &Touch| touch.viewed_ms.max(touch.counted.last().map(|(_, counted_ms)| *counted_ms));
        let mut times: Vec<i64> = self.map.values().filter_map(last).collect();
        let oldest_ms = late(&mut times).unwrap_or(i64::MIN).saturating_sub(KEPT_MS);
        self.map.retain(|_, touch| {
            touch.counted.retain(|(_, counted_ms)| *counted_ms >= oldest_ms);
            !touch.counted.is_empty() || touch.viewed_ms.is_some_and(|viewed_ms| viewed_ms >= oldest_ms)
        });
        self.sweep_at = self.map.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_MS: i64 = DAY_MS / 24;

    proptest! {
        #[test]
        fn a_view_counts_by_the_rule_however_far_ahead_others_are(
            steps in proptest::collection::vec((0i64..9 * HOUR_MS, 0i64..=DAY_MS), 1..60),
        ) {
            let (mut touches, mut naive, mut arrival_ms) = (Touches::default(), Vec::<i64>::new(), 100 * DAY_MS);
            for (later_ms, ago_ms) in steps {
                arrival_ms += later_ms;
                touches.counts(2, 1, Action::View, arrival_ms + 10 * DAY_MS);
                let at_ms = arrival_ms - ago_ms;
                let counts = !naive.iter().any(|before| *before <= at_ms && at_ms - before < DAY_MS);
                if counts {
                    naive.push(at_ms);
                }
                prop_assert_eq!(touches.counts(1, 1, Action::View, at_ms), counts);
            }
        }
    }
}
