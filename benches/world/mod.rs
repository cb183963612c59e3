//! The world for the benchmarks of serving: 100 000 users, 140 000 posts from the last 72 hours, and views and likes on
//! 20 000 of the posts. Each user follows 50 users, most of them from a small popular group.

use std::time::Duration;

use nova::event::{Action, Effect, Facts, Id};
use nova::state::{MINUTE_MS, State, StateSettings};

pub const USERS: u64 = 100_000;
pub const FOLLOWS: u64 = 50;
pub const POSTS: u64 = 140_000;
pub const ACTIVE_POSTS: u64 = 20_000;
pub const VIEWS: u64 = 1_500_000;
pub const LIKES: u64 = 300_000;
pub const NOW_MS: i64 = 1_795_500_000_000;

/// The random number generator SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns a random number below `limit`. Small random numbers are far more frequent than large random numbers.
    pub fn skewed(&mut self, limit: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((unit * unit * limit as f64) as u64).min(limit - 1)
    }
}

pub fn id(kind: u128, number: u64) -> Id {
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    Id::from_u128(mixed ^ (kind << 120))
}

pub fn view(rng: &mut Rng) -> Effect {
    let at_ms = NOW_MS - rng.below(24 * 60) as i64 * MINUTE_MS;
    let (user, post) = (id(1, rng.below(USERS)), id(2, rng.skewed(ACTIVE_POSTS)));
    let action = if rng.below(20) == 0 { Action::Share } else { Action::View };
    Effect::Event { user, post, action, at_ms, dwell_ms: rng.below(30_000) as u32 }
}

pub fn like(rng: &mut Rng, number: u64) -> Effect {
    let created_at_us = (NOW_MS - rng.below(24 * 60) as i64 * MINUTE_MS) * 1_000;
    let (user, post) = (id(1, rng.below(USERS)), id(2, rng.skewed(ACTIVE_POSTS)));
    Effect::Row { key: id(4, number), old: None, new: Some(Facts::Like { user, post, created_at_us }) }
}

pub fn follow(rng: &mut Rng, number: u64) -> Effect {
    let (follower, followee) = (id(1, number / FOLLOWS), id(1, rng.skewed(USERS)));
    let created_at_us = (NOW_MS - rng.below(30 * 24 * 60) as i64 * MINUTE_MS) * 1_000;
    Effect::Row { key: id(3, number), old: None, new: Some(Facts::Follow { follower, followee, created_at_us }) }
}

pub fn world() -> State {
    let (mut state, mut rng) = (State::new(StateSettings::default()), Rng(7));
    for n in 0..USERS {
        let new = Facts::User { username: format!("user{n}").into(), active: n % 100 != 7, created_at_us: 0 };
        state.apply(&Effect::Row { key: id(1, n), old: None, new: Some(new) });
    }
    (0..USERS * FOLLOWS).for_each(|n| state.apply(&follow(&mut rng, n)));
    for n in 0..POSTS {
        let created_at_us = (NOW_MS - rng.below(72 * 60) as i64 * MINUTE_MS) * 1_000;
        let new = Facts::Post { author: id(1, rng.skewed(USERS)), created_at_us, published: true };
        state.apply(&Effect::Row { key: id(2, n), old: None, new: Some(new) });
    }
    (0..VIEWS).for_each(|_| state.apply(&view(&mut rng)));
    (0..LIKES).for_each(|n| state.apply(&like(&mut rng, n)));
    state
}

/// Prints percentiles of individually measured times, because criterion reports only means.
pub fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    eprintln!(
        "{name}: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?} of {}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        times.len()
    );
}
