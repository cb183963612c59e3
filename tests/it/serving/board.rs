//! Tests that compare the published trending lists with a full count.

use std::collections::BTreeMap;
use std::sync::Arc;

use nova::event::{Effect, Facts};
use nova::feed::trending::overrides::{Override, Overrides};
use nova::feed::trending::publish::{Board, Published, parse_cursor};
use nova::feed::trending::{self, Window};
use nova::state::ranking::Ranking;
use nova::state::{State, StateSettings};
use parking_lot::RwLock;
use proptest::prelude::*;

use super::oracle::{T0_MS, effect, id, ranking};
use crate::support::events::Rng;

fn whole(state: &State, window: Window, now_ms: i64, overrides: &Overrides) -> String {
    Published::new(state, trending::rank(state, window, now_ms, overrides)).page(0, 200, |_| true).body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A tick gives byte for byte the result of a full count, with any windows and weights, and after any time and any
    /// writes. A removed post also disappears from the lists without a tick (N11).
    #[test]
    fn every_tick_gives_the_bytes_of_a_full_count(seed: u64, drawn: bool) {
        let mut rng = Rng(seed);
        let ranking = if drawn { ranking(&mut rng) } else { Ranking::DEFAULT };
        let settings = StateSettings { ranking, ..StateSettings::default() };
        let state = Arc::new(RwLock::new(State::new(settings)));
        let mut overrides = Overrides::default();
        let board = Board::new(Arc::clone(&state), overrides.clone(), T0_MS);
        let mut rows = BTreeMap::new();
        let mut at_ms = T0_MS;
        for _ in 0..200 {
            at_ms += match rng.below(10) {
                0 => 3_600_000 * rng.below(60) as i64,
                // In some steps the clock is set back.
                1 => -(rng.below(7_200_000) as i64),
                _ => rng.below(90_000) as i64,
            };
            let change = effect(&mut rng, &mut rows, at_ms);
            state.write().apply(&change);
            if rng.below(20) == 0 {
                let (post, what) = (id(2, rng.below(31)), [None, Some(Override::Block), Override::pin(1 + rng.below(4))]);
                let what = what[rng.below(3) as usize];
                overrides.put(post, what);
                board.put_override(post, what, at_ms);
            }
            match rng.below(4) {
                0 => {
                    board.refresh(at_ms);
                    for window in board.windows().iter().copied() {
                        let found = board.page(window, None, 200, at_ms).body;
                        prop_assert_eq!(found, whole(&state.read(), window, at_ms, &overrides));
                    }
                }
                1 if ranking.trending.windows[3] => {
                    // Between ticks, only retractions cause a new list. Additions to a list wait for the next tick.
                    let list = board.get(Window::Week, at_ms);
                    let state = state.read();
                    prop_assert!(list.numbers.iter().all(|post| state.visible(*post)));
                    let Effect::Row { old, .. } = &change else { continue };
                    if matches!(old, Some(Facts::Post { .. } | Facts::Like { .. } | Facts::Comment { counts: true, .. })) {
                        let page = list.page(0, 200, |_| true).body;
                        prop_assert_eq!(page, whole(&state, Window::Week, at_ms, &overrides));
                    }
                }
                _ => {}
            }
        }
    }

    /// N10 for trending: together, the pages of one generation are that generation's list, whatever nova publishes
    /// while a reader fetches the pages.
    #[test]
    fn n10_pages_of_a_generation_concatenate_to_its_list(seed: u64, limit in 1usize..9) {
        let mut rng = Rng(seed);
        let state = Arc::new(RwLock::new(State::new(StateSettings::default())));
        let mut rows = BTreeMap::new();
        (0..300).for_each(|_| state.write().apply(&effect(&mut rng, &mut rows, T0_MS)));
        let board = Board::new(Arc::clone(&state), Overrides::default(), T0_MS);
        let first: serde_json::Value = serde_json::from_str(&board.page(Window::Day, None, 200, T0_MS).body).unwrap();
        let (mut posts, mut cursor) = (Vec::new(), None);
        let mut gone = Vec::new();
        loop {
            let page = board.page(Window::Day, cursor, limit, T0_MS);
            let page: serde_json::Value = serde_json::from_str(&page.body).unwrap();
            prop_assert_eq!(&page["generation"], &first["generation"]);
            posts.extend(page["posts"].as_array().unwrap().clone());
            cursor = match page["cursor"].as_str() {
                Some(text) => parse_cursor(text),
                None => break,
            };
            prop_assert!(cursor.is_some());
            for _ in 0..rng.below(3) {
                let change = effect(&mut rng, &mut rows, T0_MS);
                if let Effect::Row { key, new, .. } = &change
                    && !matches!(new, Some(Facts::Post { published: true, .. } | Facts::Like { .. }))
                {
                    gone.push(*key);
                }
                state.write().apply(&change);
                board.refresh(T0_MS);
            }
        }
        if gone.is_empty() {
            prop_assert_eq!(&posts, first["posts"].as_array().unwrap());
        }
        let all = first["posts"].as_array().unwrap();
        let mut rest = all.iter();
        prop_assert!(posts.iter().all(|post| rest.any(|other| other == post)), "in its order, nothing twice");
    }

    #[test]
    fn any_cursor_is_read_or_refused_without_a_panic(text in ".{0,30}") {
        let board = Board::new(Arc::new(RwLock::new(State::new(StateSettings::default()))), Overrides::default(), 0);
        drop(board.page(Window::Hour, parse_cursor(&text).or(Some((7, usize::MAX))), 20, 0));
    }
}

/// A checkpoint holds a read lock on the state for a long time. If a tick waited for a write lock, the tick would stop
/// every later reader.
#[test]
fn a_tick_is_made_while_somebody_reads_the_state_for_long() {
    let state = Arc::new(RwLock::new(State::new(StateSettings::default())));
    let board = Arc::new(Board::new(Arc::clone(&state), Overrides::default(), T0_MS));
    let _checkpoint = state.read();
    let (told, made) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        board.refresh(T0_MS + 60_000);
        let _ = told.send(());
    });
    made.recv_timeout(std::time::Duration::from_secs(20)).expect("the tick waits for the reader");
}
