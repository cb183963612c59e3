//! Finds the users who gained the most followers lately. The count reads all follows, so a job counts in advance, for
//! some users at a time.

use std::cmp::Reverse;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::state::{DAY_MS, State, UserNo};

/// The maximum number of people in the published list.
pub const RISING_MAX: usize = 2_000;
/// The maximum number of follows that nova counts when a reader asks. A count of this maximum number of follows takes
/// less than 1 ms.
const SMALL_FOLLOWS: usize = 20_000;
/// The number of users whose follows nova counts under one lock.
const SLICE: u32 = 512;

/// Returns the number of followers that each user gained lately. The users who gained the most followers are first.
/// Among users who gained equally many followers, the user with the smallest id is first. The list leaves out users who
/// gained no follower.
pub fn count(state: &State, now_ms: i64) -> Vec<(UserNo, u32)> {
    let mut gained = vec![0; state.users.len()];
    add(state, now_ms, 0..state.users.len() as u32, &mut gained);
    ranked(state, &gained, usize::MAX)
}

fn add(state: &State, now_ms: i64, followers: std::ops::Range<u32>, gained: &mut [u32]) {
    let gained_ms = i64::from(state.ranking().suggestions.rising_days) * DAY_MS;
    let (from_us, to_us) = ((now_ms - gained_ms) * 1_000, now_ms * 1_000);
    for user in followers.map(UserNo::of) {
        for followee in state.graph.followees(user) {
            if followee.since_us > from_us
                && followee.since_us <= to_us
                && let Some(count) = gained.get_mut(followee.user.index())
            {
                *count += 1;
            }
        }
    }
}

fn ranked(state: &State, gained: &[u32], limit: usize) -> Vec<(UserNo, u32)> {
    let who = gained.iter().zip((0..).map(UserNo::of)).filter(|(gained, _)| **gained > 0);
    let mut list: Vec<_> = who.map(|(gained, user)| (Reverse(*gained), state.users.id(user), user)).collect();
    if list.len() > limit {
        list.select_nth_unstable(limit);
        list.truncate(limit);
    }
    list.sort_unstable();
    list.into_iter().map(|(gained, _, user)| (user, gained.0)).collect()
}

/// The list of people who gained followers, as of the last refresh.
#[derive(Debug, Default)]
pub struct Rising(Mutex<Arc<Vec<(UserNo, u32)>>>);

impl Rising {
    /// Counts again.
    pub fn refresh(&self, state: &RwLock<State>, now_ms: i64) {
        let users = state.read().users.len() as u32;
        let mut gained = vec![0; users as usize];
        for from in (0..users).step_by(SLICE as usize) {
            add(&state.read(), now_ms, from..users.min(from + SLICE), &mut gained);
        }
        *self.0.lock() = Arc::new(ranked(&state.read(), &gained, RISING_MAX));
    }

    /// Returns the users who gained followers. In a small graph nova counts the gained followers at each call. In a
    /// large graph nova returns the list of the last refresh.
    pub fn list(&self, state: &State, now_ms: i64) -> Arc<Vec<(UserNo, u32)>> {
        if state.graph.follows_len() <= SMALL_FOLLOWS {
            return Arc::new(count(state, now_ms));
        }
        Arc::clone(&self.0.lock())
    }
}
