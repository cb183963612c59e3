//! nova's lists are compared with the naive reference, on random histories and on the social data set.

use std::collections::BTreeMap;

use nova::cli::data::Social;
use nova::discover::suggest;
use nova::event::{Action, Effect, Facts, Id};
use nova::feed::candidates;
use nova::feed::rank::{self, Making};
use nova::feed::trending::overrides::Overrides;
use nova::feed::trending::{self, Window};
use nova::state::ranking::{NUMBERS, Ranking};
use nova::state::{State, StateSettings};
use proptest::prelude::*;

use super::naive::Naive;
use crate::support::events::Rng;

pub const T0_MS: i64 = 1_795_132_800_000;
const MINUTE_MS: i64 = 60_000;

fn agree(state: &State, naive: &Naive, users: &[Id], now_ms: i64) {
    let naive = naive.view();
    for window in Window::ALL {
        let found: Vec<_> = trending::rank(state, window, now_ms, &Overrides::default())
            .entries
            .iter()
            .map(|e| (e.post, e.score))
            .collect();
        assert_eq!(found, naive.trending(window.name(), now_ms), "trending {} at {now_ms}", window.name());
    }
    let trending = candidates::trending_posts(state, now_ms);
    for user in users {
        let Some(number) = state.users.number(*user) else { continue };
        let found: Vec<_> =
            rank::feed(state, number, &Making::strict(now_ms, &trending)).posts.iter().map(|post| post.post).collect();
        assert_eq!(found, naive.feed(*user, now_ms), "feed of {user} at {now_ms}");
        let found: Vec<_> = suggest(state, number, now_ms, 20, &Default::default()).iter().map(|s| s.user).collect();
        assert_eq!(found, naive.suggestions(*user, now_ms, 20), "suggestions of {user} at {now_ms}");
    }
}

pub fn id(kind: u128, number: u64) -> Id {
    Id::from_u128(kind << 64 | u128::from(number))
}

/// Draws a row of a small random world. The key of the row decides its table.
fn row(rng: &mut Rng, at_ms: i64) -> (Id, Option<Facts>) {
    let us = (at_ms - rng.below(100 * 60) as i64 * MINUTE_MS) * 1_000;
    let (user, post) = (id(1, rng.below(9)), id(2, rng.below(30)));
    let (key, facts) = match rng.below(8) {
        0 => (user, Facts::User { username: "u".into(), active: rng.below(5) > 0, created_at_us: us }),
        // The author of a post never changes.
        1 | 2 => (
            post,
            Facts::Post { author: id(1, post.as_u128() as u64 % 9), created_at_us: us, published: rng.below(6) > 0 },
        ),
        3 | 4 => {
            (id(3, rng.below(60)), Facts::Follow { follower: user, followee: id(1, rng.below(9)), created_at_us: us })
        }
        5 | 6 => (id(4, rng.below(60)), Facts::Like { user, post, created_at_us: us }),
        _ => (id(5, rng.below(40)), Facts::Comment { user, post, created_at_us: us, counts: rng.below(4) > 0 }),
    };
    (key, (rng.below(6) > 0).then_some(facts))
}

/// Draws an event or a changed row of the small random world.
pub fn effect(rng: &mut Rng, rows: &mut BTreeMap<Id, Facts>, at_ms: i64) -> Effect {
    if rng.below(3) == 0 {
        let time_ms = at_ms - rng.below(20 * 60) as i64 * MINUTE_MS;
        let action = Action::ALL[rng.below(5) as usize];
        let (user, post) = (id(1, rng.below(9)), id(2, rng.below(30)));
        return Effect::Event { user, post, action, at_ms: time_ms, dwell_ms: 0 };
    }
    let (key, new) = row(rng, at_ms);
    let old = match &new {
        Some(facts) => rows.insert(key, facts.clone()),
        None => rows.remove(&key),
    };
    Effect::Row { key, old, new }
}

/// Draws the ranking parameters: the ends of their ranges, the defaults, and values that a small world reaches.
pub fn ranking(rng: &mut Rng) -> Ranking {
    let mut ranking = Ranking::DEFAULT;
    for number in NUMBERS {
        let ((least, most), default) = (number.range, (number.get)(&ranking));
        let value = match rng.below(6) {
            0 => default,
            1 => least,
            2 => most,
            3 => least + rng.below(u64::from(most - least) + 1) as u32,
            4 => least + rng.below(u64::from((2 * default).min(most) - least) + 1) as u32,
            _ => least + rng.below(u64::from((most - least).min(6)) + 1) as u32,
        };
        (number.set)(&mut ranking, value);
    }
    // The window of 24 hours is always kept, because feeds take candidates from it.
    ranking.trending.windows = [rng.below(2) == 0, rng.below(2) == 0, true, rng.below(2) == 0];
    ranking
}

/// Returns the state after a restart with the given ranking parameters.
fn restarted(state: &State, ranking: Ranking) -> State {
    let mut chunks = Vec::new();
    state.save(&mut |structure, number, chunk| chunks.push((structure.to_owned(), number, chunk.to_vec())));
    let settings = StateSettings { ranking, ..state.settings().clone() };
    State::load(settings, chunks.into_iter()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// The test checks every list with every drawn combination of ranking parameters. After a restart with new
    /// parameters, nova immediately gives the same lists as if it had always had the new parameters.
    #[test]
    fn lists_by_any_numbers_agree_with_the_naive_reference_and_so_do_those_after_a_start_with_others(seed: u64) {
        let mut rng = Rng(seed);
        let (first, second) = (ranking(&mut rng), ranking(&mut rng));
        let settings = StateSettings { ranking: first, ..StateSettings::default() };
        let (mut state, mut naive) = (State::new(settings), Naive::by(first));
        let (mut rows, mut at_ms) = (BTreeMap::new(), T0_MS);
        let users: Vec<_> = (0..9).map(|n| id(1, n)).collect();
        let restart = 1 + rng.below(300);
        for step in 1..=400 {
            at_ms += rng.below(30 * 60_000) as i64;
            let effect = effect(&mut rng, &mut rows, at_ms);
            state.apply(&effect);
            naive.apply(&effect);
            if step == restart {
                state = restarted(&state, second);
                naive.ranking = second;
            }
            if step % 100 == 0 || step == restart {
                agree(&state, &naive, &users, at_ms);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_histories_agree_with_the_naive_reference(seed: u64) {
        let mut rng = Rng(seed);
        let (mut state, mut naive) = (State::new(StateSettings::default()), Naive::default());
        let mut rows: BTreeMap<Id, Facts> = BTreeMap::new();
        let mut at_ms = T0_MS;
        let users: Vec<_> = (0..9).map(|n| id(1, n)).collect();
        for step in 0..400 {
            at_ms += rng.below(30 * 60_000) as i64;
            let effect = effect(&mut rng, &mut rows, at_ms);
            state.apply(&effect);
            naive.apply(&effect);
            if step % 50 == 49 {
                agree(&state, &naive, &users, at_ms);
            }
        }
    }
}

/// Returns the rows and events of the data set in the order of their times.
fn history(social: &Social) -> Vec<(i64, Effect)> {
    let user = |number: u32| social.users[number as usize].id;
    let post = |number: u32| social.posts[number as usize].id;
    let mut out = Vec::new();
    let mut add = |at_ms: i64, key: Id, new: Facts| out.push((at_ms, Effect::Row { key, old: None, new: Some(new) }));
    for row in &social.users {
        add(0, row.id, Facts::User { username: row.username.clone(), active: true, created_at_us: 0 });
    }
    for row in &social.posts {
        let created_at_us = row.created_at_ms * 1_000;
        add(row.created_at_ms, row.id, Facts::Post { author: user(row.author), created_at_us, published: true });
    }
    for (row, n) in social.follows.iter().zip(0..) {
        let (follower, followee, created_at_us) = (user(row.follower), user(row.followee), row.created_at_ms * 1_000);
        add(row.created_at_ms, id(3, n), Facts::Follow { follower, followee, created_at_us });
    }
    for row in &social.comments {
        let (user, post, created_at_us) = (user(row.user), post(row.post), row.created_at_ms * 1_000);
        add(row.created_at_ms, row.id, Facts::Comment { user, post, created_at_us, counts: true });
    }
    for (row, n) in social.likes.iter().zip(0..) {
        let (user, post, created_at_us) = (user(row.user), post(row.post), row.created_at_ms * 1_000);
        add(row.created_at_ms, id(4, n), Facts::Like { user, post, created_at_us });
    }
    for event in &social.events {
        let (user, post, action) = (user(event.user), post(event.post), Social::action(event));
        out.push((event.time_ms, Effect::Event { user, post, action, at_ms: event.time_ms, dwell_ms: event.dwell_ms }));
    }
    out.sort_by_key(|(at_ms, _)| *at_ms);
    out
}

#[test]
fn the_social_data_set_agrees_with_the_naive_reference_at_20_times_for_200_users() {
    let social = Social::bundled().unwrap();
    let (mut state, mut naive) = (State::new(StateSettings::default()), Naive::default());
    let mut history = history(&social).into_iter().peekable();
    let mut rng = Rng(42);
    for step in 1..=20 {
        let now_ms = T0_MS + step * 72 * 60 * MINUTE_MS / 20;
        while let Some((_, effect)) = history.next_if(|(at_ms, _)| *at_ms <= now_ms) {
            state.apply(&effect);
            naive.apply(&effect);
        }
        // Each check of the lists covers ten users. Half of the checked users are active.
        let users: Vec<_> = (0..10)
            .map(|n| match n % 2 {
                0 => social.users[rng.below(social.users.len() as u64) as usize].id,
                _ => social.users[social.events[rng.below(social.events.len() as u64) as usize].user as usize].id,
            })
            .collect();
        agree(&state, &naive, &users, now_ms);
    }
}
