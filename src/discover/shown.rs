//! Who was suggested to whom, and who followed then: the conversion of suggestions. A job keeps the days
//! (`jobs/figures.rs`); whom to watch for a follow is forgotten with the process.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;

use crate::state::daily::DAYS_MAX;
use crate::state::{DAY_MS, State};

/// Pairs that are watched; the oldest make room and count as not followed.
pub const PAIRS_MAX: usize = 100_000;
/// A follow counts if it comes within this time.
pub const WATCHED_MS: i64 = DAY_MS;
/// Pairs that are looked up under one lock of the state.
const SLICE: usize = 1_024;

/// Of one day (UTC), by when people were suggested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    pub suggested: u64,
    pub followed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// (user, suggested, when), oldest first.
    watched: VecDeque<(u32, u32, i64)>,
    pairs: FxHashSet<(u32, u32)>,
    days: BTreeMap<i64, Conversion>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Inner>);

impl Shown {
    /// People were suggested to a user; whoever is watched already is not counted again.
    pub fn note(&self, user: u32, suggested: impl Iterator<Item = u32>, now_ms: i64) {
        let mut inner = self.0.lock();
        for other in suggested {
            if !inner.pairs.insert((user, other)) {
                continue;
            }
            inner.watched.push_back((user, other, now_ms));
            let day = now_ms.div_euclid(DAY_MS);
            if inner.days.len() >= DAYS_MAX && !inner.days.contains_key(&day) {
                inner.days.pop_first();
            }
            inner.days.entry(day).or_default().suggested += 1;
            if inner.watched.len() > PAIRS_MAX
                && let Some((user, other, _)) = inner.watched.pop_front()
            {
                inner.pairs.remove(&(user, other));
            }
        }
    }

    /// Counts whom they followed meanwhile, and forgets what was too long ago.
    pub fn settle(&self, state: &RwLock<State>, now_ms: i64) {
        let watched = std::mem::take(&mut self.0.lock().watched);
        let (mut rest, mut followed, mut gone) = (VecDeque::new(), Vec::new(), Vec::new());
        let (first, second) = watched.as_slices();
        for slice in first.chunks(SLICE).chain(second.chunks(SLICE)) {
            let state = state.read();
            for pair in slice {
                let (user, other, at_ms) = *pair;
                if state.graph.follows(user, other) {
                    followed.push(*pair);
                } else if now_ms - at_ms >= WATCHED_MS {
                    gone.push(*pair);
                } else {
                    rest.push_back((user, other, at_ms));
                }
            }
        }
        let mut inner = self.0.lock();
        for (user, other, at_ms) in followed {
            inner.pairs.remove(&(user, other));
            if let Some(day) = inner.days.get_mut(&at_ms.div_euclid(DAY_MS)) {
                day.followed += 1;
            }
        }
        for (user, other, _) in gone {
            inner.pairs.remove(&(user, other));
        }
        // What came meanwhile is younger.
        rest.append(&mut inner.watched);
        inner.watched = rest;
    }

    /// Puts a day back, before anything is suggested.
    pub fn load(&self, day: i64, conversion: Conversion) {
        self.0.lock().days.insert(day, conversion);
    }

    /// The days on which somebody was suggested, the oldest first.
    pub fn days(&self) -> Vec<i64> {
        self.0.lock().days.keys().copied().collect()
    }

    /// The day with the number of days since the epoch.
    pub fn day(&self, day: i64) -> Conversion {
        self.0.lock().days.get(&day).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Effect, Facts, Id};
    use crate::state::StateSettings;

    const NOW_MS: i64 = 1_795_132_800_000;

    #[test]
    fn a_follow_within_a_day_of_the_suggestion_counts_once() {
        let state = RwLock::new(State::new(StateSettings::default()));
        let follow = |followee: u128| {
            let (follower, followee) = (Id::from_u128(1), Id::from_u128(followee));
            let new = Some(Facts::Follow { follower, followee, created_at_us: NOW_MS * 1_000 });
            state.write().apply(&Effect::Row { key: Id::from_u128(followee.as_u128() + 100), old: None, new });
        };
        follow(9);
        let number = |n: u128| state.read().users.number(Id::from_u128(n)).unwrap();
        let (user, later) = (number(1), 7);
        let shown = Shown::default();
        shown.note(user, [2, 3, later].into_iter(), NOW_MS);
        shown.note(user, [2, 3].into_iter(), NOW_MS + 1);
        shown.settle(&state, NOW_MS + 2);
        let day = NOW_MS / DAY_MS;
        assert_eq!(shown.day(day), Conversion { suggested: 3, followed: 0 });
        // The next user that the state hears of has number 2.
        follow(10);
        assert_eq!(number(10), 2);
        shown.settle(&state, NOW_MS + 3);
        shown.settle(&state, NOW_MS + WATCHED_MS);
        assert_eq!(shown.day(day), Conversion { suggested: 3, followed: 1 });
        assert_eq!(shown.day(day + 1), Conversion::default());
    }

    #[test]
    fn n12_pairs_stay_within_their_number() {
        let shown = Shown::default();
        shown.note(1, 0..PAIRS_MAX as u32 + 50, NOW_MS);
        let inner = shown.0.lock();
        assert_eq!((inner.watched.len(), inner.pairs.len()), (PAIRS_MAX, PAIRS_MAX));
    }
}
