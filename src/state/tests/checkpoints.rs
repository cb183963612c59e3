//! Tests of states that are saved and loaded, of the chunks that a state is saved in, and of damaged chunks.

use std::collections::BTreeMap;

use nova_storage::testing::mutate::check_values;
use proptest::prelude::*;

use super::{T0_MS, bytes, effects, settings, steps, view};
use crate::event::{Action, Effect, Facts, Id};
use crate::state::{CountedFrom, Frozen, State, StateSettings};

proptest! {
    /// Rule N13: a state that was saved and loaded continues as if it had never been saved, byte for byte.
    #[test]
    fn n13_a_loaded_state_goes_on_byte_for_byte(before in steps(), after in steps(), settings in settings()) {
        let (mut state, mut rows) = (State::new(settings.clone()), BTreeMap::new());
        effects(&before, &mut rows).iter().for_each(|effect| state.apply(effect));
        let mut loaded = State::load(settings, bytes(&state).into_iter()).unwrap();
        prop_assert_eq!(bytes(&loaded), bytes(&state));
        for effect in effects(&after, &mut rows) {
            state.apply(&effect);
            loaded.apply(&effect);
        }
        prop_assert_eq!(bytes(&loaded), bytes(&state));
    }

    #[test]
    fn mutated_checkpoints_are_errors_or_states_that_read_back(steps in steps(), settings in settings(), seed: u64) {
        let (mut state, mut rows) = (State::new(settings.clone()), BTreeMap::new());
        effects(&steps, &mut rows).iter().for_each(|effect| state.apply(effect));
        let valid = bytes(&state);
        let at = (seed % valid.len() as u64) as usize;
        let read = |chunk: &[u8]| {
            let mut chunks = valid.clone();
            chunks[at].2 = chunk.to_vec();
            Ok(bytes(&State::load(settings.clone(), chunks.into_iter())?))
        };
        let encode = |chunks: &Vec<(String, u32, Vec<u8>)>| {
            chunks.iter().find(|chunk| (&chunk.0, chunk.1) == (&valid[at].0, valid[at].1)).unwrap().2.clone()
        };
        check_values(&valid[at].2, seed, read, encode);
    }

    /// If a build with one more action wrote a state, this build reports that it cannot read the state.
    #[test]
    fn a_checkpoint_with_an_unknown_action_names_the_way_out(steps in steps()) {
        let (mut state, mut rows) = (State::new(StateSettings::default()), BTreeMap::new());
        effects(&steps, &mut rows).iter().for_each(|effect| state.apply(effect));
        let mut chunks = bytes(&state);
        prop_assert_eq!(chunks[0].2[1], Action::ALL.len() as u8);
        chunks[0].2[1] += 1;
        let error = State::load(StateSettings::default(), chunks.into_iter()).unwrap_err();
        prop_assert_eq!(error, nova_storage::codec::CodecError::Unknown { what: "action", number: 5 });
    }
}

/// A copy of the state is a snapshot: later changes do not appear in it, and only changed chunks are noted as changed.
#[test]
fn a_copy_stays_and_only_chunks_that_changed_say_so() {
    let mut state = State::new(StateSettings::default());
    let far = |n: u32| Id::from_u128(u128::from(n) << 32 | 7);
    let view = |user, post| Effect::Event { user, post, action: Action::View, at_ms: T0_MS, dwell_ms: 0 };
    (0..1_000).for_each(|n| state.apply(&view(far(n), far(n))));
    let (copy, saved, changes) = (state.clone(), bytes(&state), state.changes());
    state.apply(&view(far(3), far(900)));
    assert_eq!(bytes(&copy), saved);
    let changed = state.freeze(Some(changes));
    let encoded = |chunk: &Frozen| {
        let mut out = Vec::new();
        (chunk.structure.to_owned(), chunk.encode(0, &mut out), out)
    };
    let changed: Vec<_> = changed.iter().map(encoded).collect();
    let expected = [("posts", (900 / 64) << 8), ("touches", 0), ("pending", 0), ("daily", 0)];
    assert_eq!(changed.iter().map(|chunk| (&*chunk.0, chunk.1)).collect::<Vec<_>>(), expected);
    let same = state.freeze(None).iter().map(encoded).filter(|chunk| !changed.contains(chunk)).collect::<Vec<_>>();
    assert_eq!(same.len() + changed.len(), saved.len());
    for chunk in same {
        assert!(saved.contains(&chunk), "{} {}", chunk.0, chunk.1);
    }
    // A frozen chunk stays as it was when it was frozen.
    let frozen = state.freeze(Some(changes));
    state.apply(&view(far(3), far(901)));
    assert_eq!(frozen.iter().map(encoded).collect::<Vec<_>>(), changed);
}

/// In this test one user has 100 000 views and 50 000 follows, and all users like one post. Each piece fits into a page
/// and can be read, and obsolete pieces are ignored.
#[test]
fn a_long_chunk_is_stored_in_pieces_that_fit_a_page() {
    let settings = StateSettings { likes: CountedFrom::Events, ..StateSettings::default() };
    let mut state = State::new(settings.clone());
    let far = |n: u32| Id::from_u128(u128::from(n) << 32 | 7);
    let event = |user, post, action, n: u32| {
        let at_ms = T0_MS + i64::from(n) * 977;
        Effect::Event { user: far(user), post: far(post), action, at_ms, dwell_ms: 0 }
    };
    for n in 0..100_000 {
        state.apply(&event(1, n, Action::View, n));
        state.apply(&event(n, 5, Action::Like, n / 4));
    }
    for n in 0..50_000u32 {
        let created_at_us = T0_MS * 1_000 + i64::from(n.wrapping_mul(2_654_435_761));
        let new = Facts::Follow { follower: far(1), followee: far(n + 2), created_at_us };
        state.apply(&Effect::Row { key: far(n), old: None, new: Some(new) });
    }
    let mut chunks = bytes(&state);
    assert!(chunks.iter().all(|(.., bytes)| bytes.len() <= 200 << 10));
    for structure in ["touches", "follows", "liked"] {
        assert!(chunks.iter().any(|chunk| chunk.0 == structure && chunk.1 == 1), "{structure}");
    }
    let loaded = State::load(settings.clone(), chunks.clone().into_iter()).unwrap();
    assert_eq!(bytes(&loaded), chunks);
    let old = chunks.iter().rfind(|chunk| chunk.0 == "touches" && chunk.1 < 1 << 8).unwrap().clone();
    chunks.push((old.0, old.1 + 1, old.2));
    assert_eq!(bytes(&State::load(settings, chunks.into_iter()).unwrap()), bytes(&state));
}

#[test]
fn a_chunk_that_is_missing_or_refers_to_nobody_is_an_error() {
    let mut state = State::new(StateSettings::default());
    (0..200).for_each(|n| state.apply(&view(n, n, T0_MS)));
    let chunks = bytes(&state);
    for missing in 0..chunks.len() {
        let name = chunks[missing].0.clone();
        let rest = chunks.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, chunk)| chunk.clone());
        let loaded = State::load(StateSettings::default(), rest.collect::<Vec<_>>().into_iter());
        // nova cannot detect that the last chunk is missing in a structure that only some posts need.
        assert!(loaded.is_err() || name == "pending", "{name} {}", chunks[missing].1);
    }
}
