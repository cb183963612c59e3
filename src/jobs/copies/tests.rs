use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::cache::{Embedded, Reply, ScanPage, Stats, Ttl};
use crate::clock::Clock;
use crate::event::{Action, Effect, Facts};
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::publish::Board;
use crate::state::{MINUTE_MS, StateSettings};

const NOW_MS: i64 = 1_795_500_000_000;

fn user(n: u8) -> Id {
    Id::from_u128(u128::from(n))
}

fn post(n: u8) -> Id {
    Id::from_u128(1_000 + u128::from(n))
}

/// A cache server in the test's process that answers a given number of commands and is out of reach after them.
struct Server {
    kept: Embedded,
    answers: AtomicUsize,
}

const ALWAYS: usize = usize::MAX;
/// The number of commands that a refresh sends for the trending lists.
const LISTS: usize = 4;

impl Cache for Server {
    fn one(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        let one_less = |answers| if answers == ALWAYS { Some(ALWAYS) } else { usize::checked_sub(answers, 1) };
        match self.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => self.kept.one(command),
            Err(_) => Err(CacheError::Unavailable("away".to_owned())),
        }
    }
    fn scan(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Result<ScanPage, CacheError> {
        self.kept.scan(namespace, cursor, pattern, count)
    }
    fn invalidate(&self, namespace: &str) -> Result<(), CacheError> {
        self.kept.invalidate(namespace)
    }
    fn stats(&self) -> Stats {
        self.kept.stats()
    }
}

struct World {
    publisher: Publisher,
    server: Arc<Server>,
    clock: Clock,
}

impl World {
    fn new() -> World {
        let state: Arc<RwLock<State>> = Arc::new(RwLock::new(State::new(StateSettings::default())));
        let trending = Arc::new(Board::new(Arc::clone(&state), Overrides::default(), NOW_MS));
        let served = Served { state, trending, feeds: Arc::default(), rising: Arc::default(), shown: Arc::default() };
        let clock = Clock::manual(NOW_MS);
        let server =
            Arc::new(Server { kept: Embedded::new(16 << 20, clock.clone()), answers: AtomicUsize::new(ALWAYS) });
        let shared = Arc::new(SharedCache { cache: Arc::clone(&server) as _, copies: Copies::default() });
        World {
            publisher: Publisher { served, dismissals: Arc::default(), cursor_key: [7; 32], shared },
            server,
            clock,
        }
    }

    fn apply(&self, key: Id, old: Option<Facts>, new: Option<Facts>) {
        self.publisher.served.state.write().apply(&Effect::Row { key, old, new });
    }

    fn read(&self, kind: Kind, n: u8) {
        self.publisher.shared.copies.read(kind, user(n), self.clock.now_ms());
    }

    fn answers(&self, answers: usize) {
        self.server.answers.store(answers, Ordering::SeqCst);
    }

    fn refresh(&self) -> Result<(), JobError> {
        let now_ms = self.clock.now_ms();
        self.publisher.served.trending.refresh(now_ms);
        self.publisher.publish(now_ms)
    }

    fn found(&self, kind: Kind, n: u8) -> Option<Value> {
        let text = self.server.kept.get(Key::plain(&key((kind, user(n))))).unwrap()?;
        Some(serde_json::from_slice(&text).unwrap())
    }
}

fn person(n: u8, active: bool) -> Facts {
    Facts::User { username: format!("u{n}").into(), active, created_at_us: 0 }
}

fn follow(from: u8, to: u8) -> Facts {
    Facts::Follow { follower: user(from), followee: user(to), created_at_us: NOW_MS * 1_000 }
}

fn written(author: u8, published: bool) -> Facts {
    Facts::Post { author: user(author), created_at_us: (NOW_MS - MINUTE_MS) * 1_000, published }
}

/// A world in which user 1 follows user 2, and user 2 follows user 3. User 2 has written post 1. User 3 has written
/// post 2, which is in the trending lists.
fn small() -> World {
    let world = World::new();
    (1..=3).for_each(|n| world.apply(user(n), None, Some(person(n, true))));
    world.apply(user(101), None, Some(follow(1, 2)));
    world.apply(user(102), None, Some(follow(2, 3)));
    world.apply(post(1), None, Some(written(2, true)));
    world.apply(post(2), None, Some(written(3, true)));
    let view =
        Effect::Event { user: user(9), post: post(2), action: Action::View, at_ms: NOW_MS - MINUTE_MS, dwell_ms: 0 };
    world.publisher.served.state.write().apply(&view);
    world.read(Kind::Feed, 1);
    world.read(Kind::Suggestions, 1);
    world.refresh().unwrap();
    world
}

#[test]
fn what_is_served_is_found_under_the_keys_that_other_services_read() {
    let world = small();
    for window in ["1h", "6h", "24h", "7d"] {
        let name = format!("nova:cache:trending:{window}");
        let text = world.server.kept.get(Key::plain(&name)).unwrap().unwrap();
        let list: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&list["window"], &list["total_posts"]), (&window.into(), &1.into()));
        assert_eq!(world.server.kept.pttl(Key::plain(&name)), Ok(Ttl::Millis(TTL_MS)));
    }
    let feed = world.server.kept.get(Key::plain(&format!("feed:v1:{}", user(1)))).unwrap().unwrap();
    let feed: Value = serde_json::from_slice(&feed).unwrap();
    let mut posts: Vec<_> = feed["posts"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    posts.sort_unstable();
    assert_eq!(posts, [post(1).to_string(), post(2).to_string()]);
    assert_eq!((&feed["algorithm"], &feed["cursor"], &feed["total_count"]), (&"ch".into(), &Value::Null, &2.into()));
    let name = format!("nova:cache:suggested_users:{}", user(1));
    let suggested = world.server.kept.get(Key::plain(&name)).unwrap().unwrap();
    let suggested: Value = serde_json::from_slice(&suggested).unwrap();
    assert_eq!(suggested["users"][0]["user_id"], user(3).to_string());
    assert_eq!(world.server.kept.pttl(Key::plain(&name)), Ok(Ttl::Millis(TTL_MS)));
    assert_eq!(world.found(Kind::Feed, 2), None, "nobody asked");
}

#[test]
fn n11_a_copy_is_deleted_at_the_next_refresh_after_what_it_shows_was_taken_back() {
    type Change = fn(&World);
    let feed: [(&str, Change); 5] = [
        ("unfollow", |world| world.apply(user(101), Some(follow(1, 2)), None)),
        ("delete", |world| world.apply(post(1), Some(written(2, true)), None)),
        ("delete of a trending post", |world| world.apply(post(2), Some(written(3, true)), Some(written(3, false)))),
        ("deactivation", |world| world.apply(user(3), Some(person(3, true)), Some(person(3, false)))),
        ("by hand", |world| world.publisher.shared.copies.end(Kind::Feed, user(1))),
    ];
    let suggested: [(&str, Change); 4] = [
        ("follow", |world| world.apply(user(103), None, Some(follow(1, 3)))),
        ("deactivation", |world| world.apply(user(3), Some(person(3, true)), Some(person(3, false)))),
        ("delete", |world| world.apply(user(3), Some(person(3, true)), None)),
        ("dismissal", |world| {
            world.publisher.dismissals.put(user(1), user(3));
            world.publisher.shared.copies.end(Kind::Suggestions, user(1));
        }),
    ];
    let changes = feed.map(|(name, change)| (Kind::Feed, name, change)).into_iter();
    for (kind, name, change) in changes.chain(suggested.map(|(name, change)| (Kind::Suggestions, name, change))) {
        let world = small();
        world.refresh().unwrap();
        let before = world.found(kind, 1);
        assert!(before.is_some(), "{name}: it holds while nothing happens");
        change(&world);
        world.refresh().unwrap();
        assert_eq!(world.found(kind, 1), None, "{kind:?}: {name}");
        world.read(kind, 1);
        world.refresh().unwrap();
        assert!(name == "by hand" || world.found(kind, 1) != before, "{kind:?}: {name}");
    }
}

#[test]
fn while_the_server_is_away_wishes_wait_and_are_done_when_it_is_back() {
    let world = small();
    world.read(Kind::Feed, 2);
    world.publisher.shared.copies.end(Kind::Feed, user(1));
    // The cache server becomes unreachable either before the trending lists are sent, or after the lists and before the
    // copies.
    for answers in [0, LISTS, 0, LISTS] {
        world.answers(answers);
        assert!(matches!(world.refresh(), Err(JobError::Away(_))));
        assert_eq!(world.publisher.shared.copies.counts().waiting, 2);
        assert!(world.found(Kind::Feed, 1).is_some(), "nobody can delete it now");
    }
    world.answers(LISTS + 1);
    assert!(matches!(world.refresh(), Err(JobError::Away(_))));
    world.answers(ALWAYS);
    world.refresh().unwrap();
    assert_eq!((world.found(Kind::Feed, 1), world.found(Kind::Feed, 2).is_some()), (None, true));
    world.clock.set(NOW_MS + 2 * TTL_MS);
    world.refresh().unwrap();
    assert_eq!(world.publisher.shared.copies.counts(), Counts::default(), "what ended is forgotten");
}

#[test]
fn who_reads_while_a_copy_is_deleted_gets_another_one() {
    let world = small();
    let copies = &world.publisher.shared.copies;
    let name = (Kind::Feed, user(1));
    copies.end(Kind::Feed, user(1));
    for answered in [true, false] {
        assert_eq!(copies.take(9, NOW_MS), [(name, Next::Delete)]);
        world.read(Kind::Feed, 1);
        if answered {
            copies.done(name, None)
        } else {
            copies.failed(name, Next::Delete)
        }
        assert_eq!(copies.take(9, NOW_MS), [(name, Next::Put)], "answered: {answered}");
        copies.end(Kind::Feed, user(1));
        copies.done(name, Some(Basis::Suggestions { follows: 0, users: Box::default() }));
    }
    assert_eq!(copies.take(9, NOW_MS), [(name, Next::Delete)], "ended while it was made");
}

#[test]
fn n12_wishes_without_room_are_dropped_and_counted_and_room_comes_back() {
    let copies = Copies::default();
    let one = |n: usize| Id::from_u128(n as u128);
    (0..COPIES_MAX + 7).for_each(|n| copies.read(Kind::Feed, one(n), NOW_MS));
    copies.read(Kind::Feed, one(0), NOW_MS);
    assert_eq!(copies.counts(), Counts { entries: COPIES_MAX, waiting: COPIES_MAX, dropped: 7 });
    copies.end(Kind::Suggestions, one(0));
    assert_eq!(copies.counts().dropped, 8);
    let taken = copies.take(COPIES_MAX, NOW_MS);
    assert_eq!((taken.len(), copies.counts().waiting), (COPIES_MAX, 0));
    copies.look(&RwLock::new(State::new(StateSettings::default())), NOW_MS + TTL_MS + WATCH_MORE_MS);
    assert_eq!(copies.counts().entries, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The test draws what happens between refreshes, and whether the cache server answers. After a refresh that
    /// reached the server, no copy shows what may not be shown, and every user who has read a list has a copy.
    #[test]
    fn after_a_refresh_no_copy_shows_what_was_taken_back(
        steps in proptest::collection::vec((0u8..12, 1u8..7, 1u8..7), 1..120),
    ) {
        let world = World::new();
        (1..7).for_each(|n| world.apply(user(n), None, Some(person(n, true))));
        let (mut follows, mut posts, mut active) = (vec![], vec![], [true; 7]);
        let mut reads = std::collections::BTreeSet::new();
        for (step, a, b) in steps {
            let (kind, row) = ([Kind::Feed, Kind::Suggestions][usize::from(b % 2)], Id::from_u128(u128::from(a) << 8 | u128::from(b) | 1 << 20));
            match step {
                0 | 1 if a != b && !follows.contains(&(a, b)) => {
                    follows.push((a, b));
                    world.apply(row, None, Some(follow(a, b)));
                }
                2 => if let Some(at) = follows.iter().position(|pair| pair.0 == a) {
                    let (from, to) = follows.swap_remove(at);
                    world.apply(row, Some(follow(from, to)), None);
                },
                3 if !posts.contains(&(a, b)) => {
                    posts.push((a, b));
                    world.apply(post(a * 10 + b), None, Some(written(a, true)));
                }
                4 => if let Some((author, n)) = posts.pop() {
                    world.apply(post(author * 10 + n), Some(written(author, true)), None);
                },
                5 => {
                    let was = std::mem::replace(&mut active[usize::from(a)], b > 3);
                    world.apply(user(a), Some(person(a, was)), Some(person(a, b > 3)));
                }
                6 => {
                    world.publisher.dismissals.put(user(a), user(b));
                    world.publisher.shared.copies.end(Kind::Suggestions, user(a));
                }
                7 | 8 => {
                    world.read(kind, a);
                    reads.insert((a, b % 2));
                }
                9 => world.answers(if b % 2 == 0 { ALWAYS } else { usize::from(a) }),
                10 => {
                    world.clock.set(world.clock.now_ms() + i64::from(a) * 9_000);
                    // After a step of the clock, the copies of all earlier reads may have expired.
                    reads.clear();
                }
                _ => {
                    if world.refresh().is_err() {
                        continue;
                    }
                    let state = world.publisher.served.state.read();
                    for n in 1..7 {
                        let number = state.users.number(user(n)).unwrap();
                        for id in world.found(Kind::Feed, n).iter().flat_map(|feed| feed["posts"].as_array().unwrap()) {
                            let post = state.post_ids.number(Id::parse(id.as_str().unwrap().as_bytes()).unwrap()).unwrap();
                            prop_assert!(state.visible(post));
                            prop_assert!(state.graph.follows(number, state.posts.author(post).unwrap()));
                        }
                        let suggested = world.found(Kind::Suggestions, n);
                        for one in suggested.iter().flat_map(|list| list["users"].as_array().unwrap()) {
                            let other = Id::parse(one["user_id"].as_str().unwrap().as_bytes()).unwrap();
                            let other = state.users.number(other).unwrap();
                            prop_assert!(!state.graph.follows(number, other));
                            prop_assert!(state.user_row(other).unwrap().active);
                            prop_assert!(!world.publisher.dismissals.of(user(n), &state).contains(&other));
                        }
                    }
                    for (n, kind) in std::mem::take(&mut reads) {
                        let kind = [Kind::Feed, Kind::Suggestions][usize::from(kind)];
                        let entries = world.publisher.shared.copies.inner.lock();
                        let waits = entries.entries.contains_key(&(kind, user(n)));
                        drop(entries);
                        prop_assert!(!waits || world.found(kind, n).is_some());
                    }
                }
            }
        }
    }
}
