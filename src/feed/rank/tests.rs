//! Tests that compare spacing with its written rules, and explanations with the feeds that they explain.

use proptest::prelude::*;

use super::*;
use crate::event::{Action, Effect, Facts};
use crate::state::StateSettings;
use crate::state::ranking::Ranking;

const NUMBERS: FeedNumbers = Ranking::DEFAULT.feed;
const FEED_MAX: usize = 300;
const FOLLOWED_MAX: usize = 500;
const MAX_AGE_MS: i64 = 3 * DAY_MS;

proptest! {
    #[test]
    fn relaxed_spacing_leaves_nothing_out_and_counts_what_it_forces(numbers in proptest::collection::vec(0u32..6, 0..120)) {
        let authors: Vec<UserNo> = numbers.into_iter().map(UserNo::of).collect();
        let of = |relaxed| {
            let Spaced { placed, forced, .. } = space(&authors, &NUMBERS, relaxed);
            (placed, forced)
        };
        let ((strict, none), (relaxed, forced)) = (of(false), of(true));
        prop_assert_eq!(none, 0);
        prop_assert_eq!(relaxed.len(), authors.len().min(FEED_MAX));
        prop_assert_eq!(&relaxed[..strict.len()], &strict[..], "the same until none fits");
        prop_assert_eq!(forced == 0, strict.len() == relaxed.len());
        let mut sorted = relaxed.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), relaxed.len());
        // The test counts broken rules independently, from the written rules.
        let broken = (0..relaxed.len()).filter(|place| {
            let author = |at: usize| authors[relaxed[at] as usize];
            let before = (0..*place).filter(|at| author(*at) == author(*place)).count();
            let near = (place.saturating_sub(2)..*place).any(|at| author(at) == author(*place));
            near || (*place < 5 && before > 0) || (*place < 50 && before >= 3)
        });
        prop_assert_eq!(broken.count(), forced as usize);
    }
}

const T0_MS: i64 = 1_795_000_000_000;
const USERS: u8 = 6;

fn user(n: u8) -> Id {
    Id::from_u128(1 << 64 | u128::from(n))
}

fn post(n: u16) -> Id {
    Id::from_u128(2 << 64 | u128::from(n))
}

/// Applies a change of a user's row to the state.
fn user_row(state: &mut State, n: u8, old: Option<bool>, active: Option<bool>) {
    let facts = |active| Facts::User { username: format!("u{n}").into(), active, created_at_us: 0 };
    state.apply(&Effect::Row { key: user(n), old: old.map(facts), new: active.map(facts) });
}

fn post_facts(author: u8, created_ms: i64, published: bool) -> Facts {
    Facts::Post { author: user(author), created_at_us: created_ms * 1_000, published }
}

fn follow(state: &mut State, from: u8, to: u8) {
    let key = Id::from_u128(3 << 64 | u128::from(from) << 8 | u128::from(to));
    let new = Some(Facts::Follow { follower: user(from), followee: user(to), created_at_us: 0 });
    state.apply(&Effect::Row { key, old: None, new });
}

fn event(state: &mut State, by: u8, of: u16, action: Action, at_ms: i64) {
    state.apply(&Effect::Event { user: user(by), post: post(of), action, at_ms, dwell_ms: 0 });
}

/// A state with a few users, posts and events for a test. A post is written as (author, age in minutes, published), and
/// an event as (user, post, action, age in minutes).
#[derive(Clone, Debug)]
struct World {
    active: Vec<bool>,
    posts: Vec<(u8, i64, bool)>,
    follows: Vec<(u8, u8)>,
    events: Vec<(u8, u16, usize, i64)>,
    /// Whether the post at each index trends.
    trending: Vec<bool>,
    relaxed: bool,
}

fn worlds() -> impl Strategy<Value = World> {
    let posts = proptest::collection::vec((0..USERS, -30i64..5_000, proptest::bool::weighted(0.85)), 1..40);
    let follows = proptest::collection::vec((0..USERS, 0..USERS), 0..14);
    let events = proptest::collection::vec((0..USERS, 0u16..40, 0usize..5, 0i64..4_000), 0..60);
    let active = proptest::collection::vec(proptest::bool::weighted(0.85), usize::from(USERS));
    let trending = proptest::collection::vec(proptest::bool::weighted(0.3), 40);
    (active, posts, follows, events, trending, any::<bool>()).prop_map(
        |(active, posts, follows, events, trending, relaxed)| World {
            active,
            posts,
            follows,
            events,
            trending,
            relaxed,
        },
    )
}

impl World {
    fn state(&self) -> State {
        let mut state = State::new(StateSettings::default());
        for (active, n) in self.active.iter().zip(0..) {
            user_row(&mut state, n, None, Some(*active));
        }
        for ((author, age_min, published), n) in self.posts.iter().zip(0u16..) {
            let new = Some(post_facts(*author, T0_MS - age_min * 60_000, *published));
            state.apply(&Effect::Row { key: post(n), old: None, new });
        }
        self.follows.iter().filter(|(from, to)| from != to).for_each(|(from, to)| follow(&mut state, *from, *to));
        for (by, of, action, age_min) in &self.events {
            event(&mut state, *by, *of, Action::ALL[*action], T0_MS - age_min * 60_000);
        }
        state
    }

    /// Returns the numbers of the trending posts.
    fn trending(&self, state: &State) -> Vec<PostNo> {
        let some = (0u16..).zip(&self.trending).filter(|(_, trends)| **trends);
        some.filter_map(|(n, _)| state.post_ids.number(post(n))).collect()
    }
}

/// Returns the name of the rule in an explanation.
fn kind(explained: &Explained) -> &'static str {
    match explained {
        Explained::Barred(Barred::Hidden) => "hidden",
        Explained::Barred(Barred::Own) => "own",
        Explained::Barred(Barred::Seen { .. }) => "seen",
        Explained::Missed(Missed::Author) => "author",
        Explained::Missed(Missed::Age) => "age",
        Explained::Missed(Missed::Ahead) => "ahead",
        Explained::Missed(Missed::Cap { .. }) => "cap",
        Explained::Shown => "shown",
        Explained::Cut => "cut",
        Explained::Placed { .. } => "placed",
        Explained::Spaced { .. } => "spaced",
        Explained::Full { .. } => "full",
    }
}

/// Removes the obstacle that keeps a post out of the feed. Returns `None` if no small change of the state would remove
/// the obstacle.
fn without(state: &mut State, world: &World, reader: u8, n: u16, obstacle: &Explained) -> Option<(u8, i64, bool)> {
    let (author, age_min, published) = world.posts[usize::from(n)];
    let created_ms = T0_MS - age_min * 60_000;
    match obstacle {
        Explained::Barred(Barred::Hidden) => {
            let (old, new) = (post_facts(author, created_ms, published), post_facts(author, created_ms, true));
            state.apply(&Effect::Row { key: post(n), old: Some(old), new: Some(new) });
            user_row(state, author, Some(world.active[usize::from(author)]), Some(true));
            Some((reader, T0_MS, false))
        }
        Explained::Barred(Barred::Own) => Some(((reader + 1) % USERS, T0_MS, false)),
        Explained::Barred(Barred::Seen { until_ms }) => Some((reader, *until_ms, false)),
        Explained::Missed(Missed::Author) => {
            follow(state, reader, author);
            Some((reader, T0_MS, false))
        }
        Explained::Missed(Missed::Age | Missed::Ahead) => Some((reader, created_ms + 1_000, false)),
        Explained::Spaced { .. } => Some((reader, T0_MS, true)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// The explanation of a post in the feed has the place and the reasons that the feed gives the post. The
    /// explanation of a post that is not in the feed names a rule that really keeps the post out: if the test removes
    /// this obstacle, the explanation changes.
    #[test]
    fn every_post_is_on_the_feed_as_explained_or_a_rule_is_named_that_keeps_it_out(world in worlds()) {
        let state = world.state();
        let trending = world.trending(&state);
        for reader in 0..USERS {
            let number = state.users.number(user(reader)).unwrap();
            let making = Making { relaxed: world.relaxed, ..Making::strict(T0_MS, &trending) };
            let feed = feed(&state, number, &making);
            for n in 0..world.posts.len() as u16 {
                let post_number = state.post_ids.number(post(n)).unwrap();
                let explained = explain(&state, number, post_number, &making);
                let shown = feed.posts.iter().zip(1u32..).find(|(ranked, _)| ranked.post == post(n));
                if let Some((ranked, place)) = shown {
                    prop_assert_eq!(explained, Explained::Placed { place, post: ranked.clone() });
                    continue;
                }
                prop_assert!(!["placed", "shown", "cut"].contains(&kind(&explained)), "{:?}", explained);
                let mut other = state.clone();
                let changed = without(&mut other, &world, reader, n, &explained);
                let Some((reader, now_ms, relaxed)) = changed else {
                    prop_assert!(["cap", "full"].contains(&kind(&explained)), "{:?}", explained);
                    continue;
                };
                let number = other.users.number(user(reader)).unwrap();
                let making = Making { relaxed: relaxed || world.relaxed, ..Making::strict(now_ms, &trending) };
                let after = explain(&other, number, post_number, &making);
                prop_assert_ne!(kind(&after), kind(&explained), "{:?}", after);
            }
        }
    }
}

/// The posts in this test are beyond the limit of a source or of a feed.
#[test]
fn posts_behind_the_caps_are_told_so() {
    let mut state = State::new(StateSettings::default());
    (0..4).for_each(|n| user_row(&mut state, n, None, Some(true)));
    follow(&mut state, 0, 1);
    let posts = FOLLOWED_MAX as u16 + 5;
    for n in 0..posts {
        // A post with a higher number is older.
        let new = Some(post_facts(1, T0_MS - i64::from(n) * 1_000, true));
        state.apply(&Effect::Row { key: post(n), old: None, new });
    }
    let number = |state: &State, n| state.post_ids.number(post(n)).unwrap();
    let reader = state.users.number(user(0)).unwrap();
    let strict = Making::strict(T0_MS, &[]);
    for n in FOLLOWED_MAX as u16..posts {
        let explained = explain(&state, reader, number(&state, n), &strict);
        assert_eq!(explained, Explained::Missed(Missed::Cap { followed: true }), "{n}");
    }
    // All posts of this test have one author, so no post fits the second place.
    let second = explain(&state, reader, number(&state, 1), &strict);
    assert!(matches!(second, Explained::Spaced { place: 2, clash: Clash::Near, .. }), "{second:?}");
    let relaxed = Making { relaxed: true, ..strict };
    assert!(matches!(explain(&state, reader, number(&state, 1), &relaxed), Explained::Placed { place: 2, .. }));
    let last = explain(&state, reader, number(&state, FEED_MAX as u16), &relaxed);
    assert!(matches!(last, Explained::Full { .. }), "{last:?}");
    let shown = explain(&state, reader, number(&state, FEED_MAX as u16 - 1), &relaxed);
    assert!(matches!(shown, Explained::Placed { place: 300, .. }), "{shown:?}");
    // The first age is just young enough for a feed, and the second age is too old.
    for (age_ms, missed) in [(MAX_AGE_MS, false), (MAX_AGE_MS + 1, true)] {
        let mut state = State::new(StateSettings::default());
        (0..2).for_each(|n| user_row(&mut state, n, None, Some(true)));
        follow(&mut state, 0, 1);
        state.apply(&Effect::Row { key: post(1), old: None, new: Some(post_facts(1, T0_MS - age_ms, true)) });
        let (reader, one) = (state.users.number(user(0)).unwrap(), number(&state, 1));
        let explained = explain(&state, reader, one, &Making::strict(T0_MS, &[]));
        assert_eq!(explained == Explained::Missed(Missed::Age), missed, "{explained:?}");
    }
}
