//! Notes who was suggested to whom, and who followed afterwards. The share of followed suggestions is the conversion of
//! suggestions. A job stores the figures of each day (`jobs/figures.rs`). The pairs of a user and a suggested user that
//! wait for a follow are only in memory, so they are lost when the process ends.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashSet;

use crate::state::daily::DAYS_MAX;
use crate::state::{DAY_MS, State, UserNo};

/// The maximum number of pairs of a user and a suggested user that wait for a follow. If there are more pairs, nova
/// drops the oldest pairs and counts them as not followed.
pub const PAIRS_MAX: usize = 100_000;
/// The time in milliseconds after a suggestion within which a follow counts.
pub const WATCHED_MS: i64 = DAY_MS;
/// The number of pairs that nova looks up under one lock of the state.
const SLICE: usize = 1_024;

/// The figures of one day (UTC). nova counts a follow on the day of its suggestion, even if the follow comes on a later
/// day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    pub suggested: u64,
    pub followed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    /// The pairs that wait for a follow, from the oldest to the newest: the user, the suggested user, and the time of
    /// the suggestion in epoch milliseconds.
    watched: VecDeque<(UserNo, UserNo, i64)>,
    pairs: FxHashSet<(UserNo, UserNo)>,
    days: BTreeMap<i64, Conversion>,
}

/// The pairs of a user and a suggested user that wait for a follow, and the figures of each day.
#[derive(Debug, Default)]
pub struct Shown(Mutex<Inner>);

impl Shown {
    /// Notes that people were suggested to a user. A pair that already waits for a follow is not counted a second time.
    pub fn note(&self, user: UserNo, suggested: impl Iterator<Item = UserNo>, now_ms: i64) {
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

    /// Counts the suggestions that were followed, and forgets pairs that are too old.
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
        // The pairs that were suggested during the count are newer than all counted pairs.
        rest.append(&mut inner.watched);
        inner.watched = rest;
    }

    /// Restores the figures of a day. The caller must restore the days before anybody is suggested.
    pub fn load(&self, day: i64, conversion: Conversion) {
        self.0.lock().days.insert(day, conversion);
    }

    /// Returns the days on which people were suggested, from the oldest to the newest.
    pub fn days(&self) -> Vec<i64> {
        self.0.lock().days.keys().copied().collect()
    }

    /// Returns the figures of a day, which is given as the number of days since the epoch.
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
        let user = number(1);
        let [next, other, later] = [2, 3, 7].map(UserNo::of);
        let shown = Shown::default();
        shown.note(user, [next, other, later].into_iter(), NOW_MS);
        shown.note(user, [next, other].into_iter(), NOW_MS + 1);
        shown.settle(&state, NOW_MS + 2);
        let day = NOW_MS / DAY_MS;
        assert_eq!(shown.day(day), Conversion { suggested: 3, followed: 0 });
        // The next new user that the state meets gets the number 2.
        follow(10);
        assert_eq!(number(10), next);
        shown.settle(&state, NOW_MS + 3);
        shown.settle(&state, NOW_MS + WATCHED_MS);
        assert_eq!(shown.day(day), Conversion { suggested: 3, followed: 1 });
        assert_eq!(shown.day(day + 1), Conversion::default());
    }

    #[test]
    fn n12_pairs_stay_within_their_number() {
        let shown = Shown::default();
        shown.note(UserNo::of(1), (0..PAIRS_MAX as u32 + 50).map(UserNo::of), NOW_MS);
        let inner = shown.0.lock();
        assert_eq!((inner.watched.len(), inner.pairs.len()), (PAIRS_MAX, PAIRS_MAX));
    }
}
