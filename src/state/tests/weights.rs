//! Tests of the weights that the actions of a user have on authors, also after a start with other weights.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{T0_MS, bytes, effects, id, settings, steps};
use crate::event::{Action, Effect, Facts, Id};
use crate::state::ranking::Ranking;
use crate::state::{DAY_MS, State, StateSettings, affinity};

proptest! {
    /// If a state is stored with some weights and loaded with new weights, it equals a state that always had the new
    /// weights, byte for byte.
    #[test]
    fn a_start_with_other_weights_is_as_if_they_had_always_been(
        before in steps(), after in steps(), settings in settings(),
        first in proptest::array::uniform5(0i64..100), second in proptest::array::uniform5(0i64..100),
    ) {
        let by = |weights| StateSettings { ranking: Ranking { weights, ..Ranking::DEFAULT }, ..settings.clone() };
        let mut rows = BTreeMap::new();
        let (before, after) = (effects(&before, &mut rows), effects(&after, &mut rows));
        let (mut changed, mut always) = (State::new(by(first)), State::new(by(second)));
        before.iter().for_each(|effect| changed.apply(effect));
        let mut changed = State::load(by(second), bytes(&changed).into_iter()).unwrap();
        before.iter().for_each(|effect| always.apply(effect));
        for effect in &after {
            changed.apply(effect);
            always.apply(effect);
        }
        prop_assert_eq!(bytes(&changed), bytes(&always));
        for day in 0..4 {
            let today = (T0_MS / DAY_MS) as i32 + day;
            for user in always.users.numbers() {
                prop_assert_eq!(changed.affinity.authors(user, today), always.affinity.authors(user, today));
            }
        }
    }
}

/// If a user has more authors than allowed, the authors with the least weight at that time are dropped.
#[test]
fn authors_that_made_room_stay_away_after_a_start_with_other_weights() {
    let by = |weights| StateSettings { ranking: Ranking { weights, ..Ranking::DEFAULT }, ..StateSettings::default() };
    let (mut state, fan) = (State::new(by([0, 1, 20, 30, 50])), id(1, 0));
    let authors = affinity::AUTHORS_MAX as u128 + 1;
    for n in 1..=authors {
        let (author, post) = (Id::from_u128(9 << 64 | n), Id::from_u128(2 << 64 | n));
        let row = Facts::Post { author, created_at_us: T0_MS * 1_000, published: true };
        state.apply(&Effect::Row { key: post, old: None, new: Some(row) });
        // The user views the posts of the first author, and shares the posts of all further authors.
        let action = if n == 1 { Action::View } else { Action::Share };
        state.apply(&Effect::Event { user: fan, post, action, at_ms: T0_MS, dwell_ms: 0 });
    }
    let state = State::load(by([0, 99, 0, 0, 1]), bytes(&state).into_iter()).unwrap();
    let number = |id| state.users.number(id).unwrap();
    let weights = state.affinity.authors(number(fan), (T0_MS / DAY_MS) as i32);
    assert_eq!(weights.len(), affinity::AUTHORS_MAX);
    assert!(weights.iter().all(|(author, weight)| (*author, *weight) != (number(Id::from_u128(9 << 64 | 1)), 99)));
    assert!(weights.iter().all(|(_, weight)| *weight == 1));
}

#[test]
fn actions_before_the_posts_row_weigh_for_its_author_once_it_comes() {
    let mut state = State::new(StateSettings::default());
    let (fan, author, post) = (id(1, 1), id(1, 2), id(2, 1));
    let like = Facts::Like { user: fan, post, created_at_us: T0_MS * 1_000 };
    state.apply(&Effect::Row { key: id(4, 1), old: None, new: Some(like.clone()) });
    let row = Facts::Post { author, created_at_us: T0_MS * 1_000, published: true };
    state.apply(&Effect::Row { key: post, old: None, new: Some(row) });
    let today = (T0_MS / DAY_MS) as i32;
    let number = |state: &State, id| state.users.number(id).unwrap();
    let (fan, author) = (number(&state, fan), number(&state, author));
    assert_eq!(state.affinity.authors(fan, today), [(author, 20)]);
    assert_eq!(state.affinity.weight(fan, author, today + 90), 0);
    state.apply(&Effect::Row { key: id(4, 1), old: Some(like), new: None });
    assert_eq!(state.affinity.weight(fan, author, today), 0);
}
