//! Tests of the whole state: drawn rows and events of a small world are applied as the writer applies them. This file
//! draws the rows and events.

mod checkpoints;
mod counts;
mod time;
mod weights;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{CountedFrom, MINUTE_MS, PostNo, State, StateSettings};
use crate::event::{Action, Effect, Facts, Id};

const T0_MS: i64 = 1_795_000_000_000;
/// The post that a test uses first.
const POST: PostNo = PostNo::of(0);

fn id(kind: u8, number: u8) -> Id {
    Id::from_u128(u128::from(kind) << 64 | u128::from(number))
}

/// Makes rows of a small world of users and posts. A key has at most one row at a time, as the writer guarantees.
fn facts() -> impl Strategy<Value = (Id, Option<Facts>)> {
    let times = || (0i64..3_000).prop_map(|minutes| (T0_MS + minutes * MINUTE_MS) * 1_000);
    let live = |facts: BoxedStrategy<Facts>| proptest::option::weighted(0.7, facts);
    let people = || (0u8..6).prop_map(|n| id(1, n));
    let posts = || (0u8..6).prop_map(|n| id(2, n));
    prop_oneof![
        (
            0u8..6,
            live(
                (any::<bool>(), times())
                    .prop_map(|(active, created_at_us)| Facts::User { username: "u".into(), active, created_at_us })
                    .boxed()
            )
        )
            .prop_map(|(n, facts)| (id(1, n), facts)),
        (
            0u8..6,
            live(
                (people(), times(), any::<bool>())
                    .prop_map(|(author, created_at_us, published)| Facts::Post { author, created_at_us, published })
                    .boxed()
            )
        )
            .prop_map(|(n, facts)| (id(2, n), facts)),
        (
            0u8..9,
            live(
                (people(), people(), times())
                    .prop_map(|(follower, followee, created_at_us)| Facts::Follow { follower, followee, created_at_us })
                    .boxed()
            )
        )
            .prop_map(|(n, facts)| (id(3, n), facts)),
        (
            0u8..9,
            live(
                (people(), posts(), times())
                    .prop_map(|(user, post, created_at_us)| Facts::Like { user, post, created_at_us })
                    .boxed()
            )
        )
            .prop_map(|(n, facts)| (id(4, n), facts)),
        (
            0u8..9,
            live(
                (people(), posts(), times(), any::<bool>())
                    .prop_map(|(user, post, created_at_us, counts)| {
                        Facts::Comment { user, post, created_at_us, counts }
                    })
                    .boxed()
            )
        )
            .prop_map(|(n, facts)| (id(5, n), facts)),
    ]
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Row(Id, Option<Facts>),
    Event(Id, Id, Action, i64),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = (0u8..6, 0u8..6, 0usize..5, 0i64..4_000)
        .prop_map(|(u, p, a, m)| Step::Event(id(1, u), id(2, p), Action::ALL[a], T0_MS + m * MINUTE_MS));
    let step = prop_oneof![3 => facts().prop_map(|(key, facts)| Step::Row(key, facts)), 1 => event];
    proptest::collection::vec(step, 0..120)
}

/// Turns steps into effects in the same way as the writer.
pub(super) fn effects(steps: &[Step], rows: &mut BTreeMap<Id, Facts>) -> Vec<Effect> {
    let mut out = Vec::new();
    for step in steps {
        match step {
            Step::Event(user, post, action, at_ms) => {
                out.push(Effect::Event { user: *user, post: *post, action: *action, at_ms: *at_ms, dwell_ms: 0 });
            }
            Step::Row(key, new) => {
                let old = match new {
                    Some(facts) => rows.insert(*key, facts.clone()),
                    None => rows.remove(key),
                };
                if old != *new {
                    out.push(Effect::Row { key: *key, old, new: new.clone() });
                }
            }
        }
    }
    out
}

/// Makes settings in which likes and comments are counted from rows or from events.
pub(super) fn settings() -> impl Strategy<Value = StateSettings> {
    let from = || any::<bool>().prop_map(|events| if events { CountedFrom::Events } else { CountedFrom::Cdc });
    (from(), from()).prop_map(|(likes, comments)| StateSettings { likes, comments, ..StateSettings::default() })
}

pub(super) fn bytes(state: &State) -> Vec<(String, u32, Vec<u8>)> {
    let mut out = Vec::new();
    state.save(&mut |structure, number, chunk| out.push((structure.to_owned(), number, chunk.to_vec())));
    out
}

fn view(user: u8, post: u8, at_ms: i64) -> Effect {
    Effect::Event { user: id(1, user), post: id(2, post), action: Action::View, at_ms, dwell_ms: 0 }
}
