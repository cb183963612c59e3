//! Tests of the minutes and days of the state: old minutes are combined, and times of the future change no count that a
//! window needs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{POST, T0_MS, bytes, effects, id, steps, view};
use crate::event::{Action, Effect, Facts};
use crate::state::{DAY_MS, MINUTE_MS, State, StateSettings};

proptest! {
    /// Old minutes are combined for a few posts at a time. The combination does not change the counts of any window up
    /// to `now`, and it continues after a restart.
    #[test]
    fn n13_folding_goes_on_after_a_restart_and_changes_no_window(before in steps(), after in steps()) {
        let (mut state, mut rows) = (State::new(StateSettings::default()), BTreeMap::new());
        effects(&before, &mut rows).iter().for_each(|effect| state.apply(effect));
        let mut plain = state.clone();
        state.posts.folding = (!state.posts.is_empty()).then_some(0);
        state.posts.fold_from = state.posts.late_minute();
        let mut loaded = State::load(StateSettings::default(), bytes(&state).into_iter()).unwrap();
        for effect in effects(&after, &mut rows) {
            state.apply(&effect);
            loaded.apply(&effect);
            plain.apply(&effect);
        }
        prop_assert_eq!(bytes(&loaded), bytes(&state));
        let last = plain.post_ids.numbers().filter_map(|post| plain.posts.last_minute(post)).max().unwrap_or(0);
        let end = last / 60 * 60 + 60;
        for post in state.post_ids.numbers() {
            for hours in [1, 6, 24, 7 * 24] {
                prop_assert_eq!(state.posts.counted(post, end - hours * 60..end), plain.posts.counted(post, end - hours * 60..end));
            }
        }
    }
}

/// In an earlier version a single like with a date in 2099 had the effect that old minutes were combined and dropped as
/// if the year were 2099.
#[test]
fn n14_a_few_minutes_of_the_future_fold_nothing_that_a_window_needs() {
    let mut state = State::new(StateSettings::default());
    for minute in 0..9_500 {
        state.apply(&view((minute % 250) as u8, 1, T0_MS + minute * MINUTE_MS));
    }
    let end = T0_MS / MINUTE_MS + 9_500;
    let plain = state.clone();
    for ahead in 0..500 {
        state.apply(&view(251, (ahead % 100) as u8, T0_MS + (100 + ahead) * DAY_MS));
    }
    while state.posts.fold_at == 0 {
        state.posts.fold();
    }
    for hours in [1, 6, 24, 7 * 24] {
        let range = end - hours * 60..end;
        assert_eq!(state.posts.counted(POST, range.clone()), plain.posts.counted(POST, range), "{hours} h");
    }
}

#[test]
fn n14_a_row_dated_ahead_leaves_again_from_where_it_counted() {
    let mut state = State::new(StateSettings::default());
    let like = |created_at_us| Facts::Like { user: id(1, 1), post: id(2, 1), created_at_us };
    let (far, near) = (like(i64::MAX), like(T0_MS * 1_000));
    let key = id(4, 1);
    let minute = T0_MS / MINUTE_MS;
    state.apply(&Effect::Dated { action: Action::Like, key, at_ms: T0_MS });
    state.apply(&Effect::Row { key, old: None, new: Some(far.clone()) });
    assert_eq!(state.posts.counted(POST, minute..minute + 1)[Action::Like as usize], 1);
    let mut loaded = State::load(StateSettings::default(), bytes(&state).into_iter()).unwrap();
    for state in [&mut state, &mut loaded] {
        state.apply(&Effect::Row { key, old: Some(far.clone()), new: Some(near.clone()) });
        assert_eq!(state.posts.counted(POST, minute..minute + 1)[Action::Like as usize], 1);
        assert!(state.dated.len == 0);
        state.apply(&Effect::Row { key, old: Some(near.clone()), new: None });
        assert_eq!(state.posts.counted(POST, i64::MIN..i64::MAX), [0; 5]);
    }
}

/// Days in the future were counted while a clock was months ahead. nova drops the days in the future first.
#[test]
fn days_of_a_wrong_clock_make_room_for_those_that_come() {
    let mut state = State::new(StateSettings::default());
    let day = |state: &State, day: i64| state.daily.day((T0_MS / DAY_MS + day) as i32).is_some();
    for ahead in 0..30 {
        state.apply(&view(1, 1, T0_MS + (300 + ahead) * DAY_MS));
    }
    for later in 0..85 {
        state.apply(&view(1, 1, T0_MS + later * DAY_MS));
    }
    assert!((0..85).all(|later| day(&state, later)));
    (85..100).for_each(|later| state.apply(&view(1, 1, T0_MS + later * DAY_MS)));
    assert!((10..100).all(|later| day(&state, later)) && !day(&state, 9));
}
