//! Tests that the counts of posts, the follows and the visibility of posts are those of the live rows and of the
//! applied events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{POST, Step, T0_MS, effects, id, settings, steps};
use crate::event::{Action, Effect, Facts};
use crate::state::{CountedFrom, DAY_MS, MINUTE_MS, PostNo, State, StateSettings, UserNo};

proptest! {
    /// Rule N7: counters, lists and visibility equal a count over the live rows, whatever the history of the rows is.
    /// Likes and comments from events are counted only by the events, and a like counts once for each user and post.
    #[test]
    fn n7_counters_come_from_row_transitions(steps in steps(), settings in settings()) {
        let (mut state, mut rows) = (State::new(settings.clone()), BTreeMap::new());
        effects(&steps, &mut rows).iter().for_each(|effect| state.apply(effect));
        let mut follows = BTreeSet::new();
        let (mut likes, mut comments) = (BTreeMap::new(), BTreeMap::new());
        let by_rows = |from: CountedFrom| i64::from(from == CountedFrom::Cdc);
        for facts in rows.values() {
            match facts {
                Facts::Follow { follower, followee, .. } => { follows.insert((*follower, *followee)); }
                Facts::Like { post, .. } => *likes.entry(*post).or_insert(0) += by_rows(settings.likes),
                Facts::Comment { post, counts: true, .. } => {
                    *comments.entry(*post).or_insert(0) += by_rows(settings.comments);
                }
                _ => {}
            }
        }
        let mut liked = BTreeSet::new();
        for step in &steps {
            match step {
                Step::Event(user, post, Action::Like, _) if liked.insert((*user, *post)) => {
                    *likes.entry(*post).or_insert(0) += 1 - by_rows(settings.likes);
                }
                Step::Event(_, post, Action::Comment, _) => {
                    *comments.entry(*post).or_insert(0) += 1 - by_rows(settings.comments);
                }
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        for user in state.users.numbers() {
            for followee in state.graph.followees(user) {
                seen.insert((state.users.id(user), state.users.id(followee.user)));
                prop_assert!(state.graph.followers(followee.user).any(|other| other == user));
            }
        }
        prop_assert_eq!(seen, follows);
        for post in state.post_ids.numbers() {
            let key = state.post_ids.id(post);
            let totals = state.posts.totals(post);
            prop_assert_eq!(totals[Action::Like as usize], likes.get(&key).copied().unwrap_or(0));
            prop_assert_eq!(totals[Action::Comment as usize], comments.get(&key).copied().unwrap_or(0));
            prop_assert_eq!(state.posts.counted(post, i64::MIN..i64::MAX), totals);
            let visible = match rows.get(&key) {
                Some(Facts::Post { author, published, .. }) => {
                    *published && !matches!(rows.get(author), Some(Facts::User { active: false, .. }))
                }
                _ => false,
            };
            prop_assert_eq!(state.visible(post), visible);
        }
    }

    /// A reader who applies the reported changes has the present counts. The state reports single counts. For every
    /// other change, the state names the posts that must be counted again.
    #[test]
    fn changes_tell_every_count_and_every_post_whose_visibility_changed(before in steps(), after in steps()) {
        let (mut state, mut rows) = (State::new(StateSettings::default()), BTreeMap::new());
        effects(&before, &mut rows).iter().for_each(|effect| state.apply(effect));
        let look = |state: &State| -> Vec<_> {
            state.post_ids.numbers().map(|post| (state.posts.totals(post), state.visible(post))).collect()
        };
        let mut known = look(&state);
        state.posts.take_changes();
        effects(&after, &mut rows).iter().for_each(|effect| state.apply(effect));
        let changes = state.posts.take_changes();
        let now = look(&state);
        known.resize(now.len(), ([0; 5], false));
        for counted in &changes.counted {
            known[counted.post.index()].0[counted.action as usize] += i64::from(counted.sign);
        }
        for post in &changes.posts {
            known[post.index()].1 = now[post.index()].1;
        }
        prop_assert_eq!(known, now);
        let mut posts = changes.posts;
        posts.sort_unstable();
        prop_assert!(posts.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        let rest = state.posts.take_changes();
        prop_assert!(rest.posts.is_empty() && rest.counted.is_empty());
    }

    /// A view counts exactly if the user has no counted view of the post in the 24 hours before it.
    #[test]
    fn views_count_once_in_24_hours(times in proptest::collection::vec(0i64..2_880, 1..30)) {
        let mut state = State::new(StateSettings::default());
        let mut counted: Vec<i64> = Vec::new();
        for minutes in times {
            let at_ms = T0_MS + minutes * MINUTE_MS;
            if !counted.iter().any(|c| *c <= at_ms && at_ms - c < DAY_MS) {
                counted.push(at_ms);
            }
            state.apply(&Effect::Event { user: id(1, 1), post: id(2, 1), action: Action::View, at_ms, dwell_ms: 0 });
        }
        prop_assert_eq!(state.posts.totals(POST)[Action::View as usize], counted.len() as i64);
    }
}

#[test]
fn a_post_is_seen_for_exactly_24_hours_after_its_view() {
    let mut state = State::new(StateSettings::default());
    state.apply(&Effect::Event { user: id(1, 1), post: id(2, 1), action: Action::View, at_ms: T0_MS, dwell_ms: 0 });
    let user = UserNo::of(0);
    assert!(state.touches.seen(user, POST, T0_MS + DAY_MS - 1_000));
    assert!(!state.touches.seen(user, POST, T0_MS + DAY_MS));
    assert!(!state.touches.seen(user, PostNo::of(1), T0_MS));
}
