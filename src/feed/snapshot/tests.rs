use super::kept::ACTIVE_MS;
use super::*;
use crate::event::{Action, Effect, Facts};
use crate::feed::page::{Shape, page_json};
use crate::feed::shown::NOTHING;
use crate::state::{DAY_MS, StateSettings};
use proptest::prelude::*;

const KEY: [u8; 32] = [7; 32];
const SHAPE: Shape = Shape { explain: false, hydrate: false, latency_us: 12_034 };
const TTL_MS: i64 = 120_000;
const NOW_MS: i64 = 1_795_132_800_000;

fn id(kind: u128, n: u64) -> Id {
    Id::from_u128(kind << 64 | u128::from(n))
}

fn put(state: &mut State, key: Id, old: Option<Facts>, new: Option<Facts>) {
    state.apply(&Effect::Row { key, old, new });
}

fn post(author: u64, n: u64) -> Facts {
    Facts::Post { author: id(1, author), created_at_us: (NOW_MS - n as i64 * 60_000) * 1_000, published: true }
}

fn follow(n: u64) -> Facts {
    Facts::Follow { follower: id(1, 0), followee: id(1, n), created_at_us: NOW_MS * 1_000 }
}

fn page_of(snapshots: &Snapshots, state: &RwLock<State>, ask: &Ask<'_>) -> (Page, Vec<Id>) {
    let page = snapshots.page(state, ask);
    let ids = page.cut.places.iter().map(|place| page.snapshot.posts()[*place].post).collect();
    (page, ids)
}

fn ask<'a>(algorithm: Algorithm, cursor: Option<Cursor>, limit: usize, now_ms: i64) -> Ask<'a> {
    Ask { user: id(1, 0), algorithm, cursor, shown: &NOTHING, limit, now_ms, trending: &[], late: &|| false }
}

fn world() -> RwLock<State> {
    let mut state = State::new(StateSettings::default());
    for n in 1..40 {
        put(&mut state, id(3, n), None, Some(follow(n)));
        put(&mut state, id(2, n), None, Some(post(n, n)));
        put(&mut state, id(2, n + 100), None, Some(post(n, n + 50)));
    }
    RwLock::new(state)
}

proptest! {
    /// N10: whatever is written between the requests for pages, the pages repeat no post and leave out no post that may
    /// be shown.
    #[test]
    fn n10_pages_concatenate_to_the_snapshot_under_any_writes(
        limit in 1usize..12,
        writes in proptest::collection::vec((0u8..3, 1u64..40), 0..40),
    ) {
        let (state, snapshots) = (world(), Snapshots::default());
        let (mut writes, mut unfollowed) = (writes.into_iter(), Vec::new());
        let (first, mut ids) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, limit, NOW_MS));
        let whole: Vec<Id> = first.snapshot.posts().iter().map(|post| post.post).collect();
        let (mut page, mut seen, mut gone) = (first, Vec::new(), Vec::new());
        loop {
            prop_assert!(ids.iter().all(|id| !gone.contains(id)), "N11: shown after it was gone");
            seen.extend(ids);
            let Some(cursor) = page.cut.cursor else { break };
            for (kind, n) in writes.by_ref().take(5) {
                let state = &mut state.write();
                match kind {
                    0 => put(state, id(2, 1_000 + n), None, Some(post(n, 0))),
                    1 if !gone.contains(&id(2, n)) => {
                        put(state, id(2, n), Some(post(n, n)), None);
                        gone.push(id(2, n));
                    }
                    2 if !unfollowed.contains(&n) => {
                        put(state, id(3, n), Some(follow(n)), None);
                        unfollowed.push(n);
                        gone.extend([id(2, n), id(2, n + 100)]);
                    }
                    _ => {}
                }
            }
            let next = ask(Algorithm::Ranked, Some(cursor), limit, NOW_MS + 5_000);
            (page, ids) = page_of(&snapshots, &state, &next);
            prop_assert!(!page.rebuilt && page.cache_hit);
        }
        let expected: Vec<Id> =
            whole.into_iter().filter(|id| seen.contains(id) || !gone.contains(id)).collect();
        prop_assert_eq!(seen, expected);
    }
}

proptest! {
    #[test]
    fn a_page_that_was_kept_is_what_would_be_cut_anew(
        steps in proptest::collection::vec((0u8..8, 1u64..12, -60_000i64..60_000), 1..40), limit in 1usize..6,
    ) {
        let (state, snapshots) = (world(), Snapshots::default());
        let (first, _) = page_of(&snapshots, &state, &ask(Algorithm::Time, None, limit, NOW_MS));
        for (kind, n, later_ms) in steps {
            // The test sets the clock to random times before and after the moment at which a post viewed a day ago may
            // be shown again.
            let at_ms = NOW_MS + later_ms;
            let effect = match kind {
                0 => Some(Effect::Row { key: id(2, n), old: Some(post(n, n)), new: None }),
                1 => Some(Effect::Row { key: id(2, n), old: None, new: Some(post(n, n)) }),
                2 => Some(Effect::Row { key: id(3, n), old: Some(follow(n)), new: None }),
                3 => Some(Effect::Event {
                    user: id(1, 0), post: id(2, n), action: Action::View, at_ms: at_ms - DAY_MS, dwell_ms: 0,
                }),
                _ => None,
            };
            effect.iter().for_each(|effect| state.write().apply(effect));
            let cursor = Some(Cursor { position: 0, snapshot: first.snapshot.id, algorithm: 1 });
            let ask = ask(Algorithm::Time, cursor.filter(|_| kind != 7), limit, at_ms);
            let page = snapshots.page(&state, &ask);
            let anew = page.snapshot.cut_anew(&state.read(), &ask, None);
            let of = |cut: &Cut| (cut.places.clone(), cut.cursor, cut.newer);
            prop_assert_eq!(of(&page.cut), of(&anew));
            prop_assert_eq!(page_json(&page, ask.user, Algorithm::Time, &KEY, &SHAPE), {
                let anew = Page { cut: Arc::new(anew), snapshot: Arc::clone(&page.snapshot), ..page };
                page_json(&anew, ask.user, Algorithm::Time, &KEY, &SHAPE)
            });
        }
    }
}

#[test]
fn n11_an_unfollow_or_a_new_post_is_seen_at_the_next_first_page() {
    let (state, snapshots) = (world(), Snapshots::default());
    let page = |at_ms| {
        let (page, ids) = page_of(&snapshots, &state, &ask(Algorithm::Time, None, 100, at_ms));
        (page.cache_hit, ids)
    };
    assert!(!page(NOW_MS).0);
    assert!(page(NOW_MS + 1).0);
    put(&mut state.write(), id(3, 5), Some(follow(5)), None);
    let (hit, ids) = page(NOW_MS + 2);
    assert!(!hit && !ids.contains(&id(2, 5)));
    put(&mut state.write(), id(2, 2_000), None, Some(post(6, 0)));
    let (hit, ids) = page(NOW_MS + 3);
    assert!(!hit && ids[0] == id(2, 2_000));
    assert!(!page(NOW_MS + 2 * TTL_MS).0, "a snapshot does not live for ever");
}

/// A reader who reads a feed page by page.
struct Walk {
    algorithm: Algorithm,
    /// The cursor of the next page, or `None` at the end.
    cursor: Option<String>,
    had: Vec<Id>,
}

impl Walk {
    fn begin(snapshots: &Snapshots, state: &RwLock<State>, algorithm: Algorithm, now_ms: i64) -> Walk {
        let (page, had) = page_of(snapshots, state, &ask(algorithm, None, 7, now_ms));
        Walk { algorithm, cursor: text_of(&page), had }
    }

    /// Requests the next page with the text of a cursor, as a client does.
    fn next(&mut self, snapshots: &Snapshots, state: &RwLock<State>, now_ms: i64) -> Result<(), TestCaseError> {
        let Some(text) = &self.cursor else { return Ok(()) };
        let (cursor, shown) = Cursor::decode(text, id(1, 0), &KEY).unwrap();
        let ask = Ask { shown: &shown, ..ask(self.algorithm, Some(cursor), 7, now_ms) };
        let (page, ids) = page_of(snapshots, state, &ask);
        prop_assert!(ids.iter().all(|id| !self.had.contains(id)), "N10: a post comes again");
        let again = page_of(snapshots, state, &ask);
        prop_assert_eq!((again.0.rebuilt, &again.1), (page.rebuilt, &ids), "the same cursor gives the same page");
        self.had.extend(ids);
        self.cursor = text_of(&page);
        Ok(())
    }
}

fn text_of(page: &Page) -> Option<String> {
    page.cut.cursor.map(|cursor| cursor.encode(&page.snapshot.shown_before(cursor.position), id(1, 0), &KEY))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// N10 in its full form: several clients read the feed of one user, and one more client polls first pages. Writes,
    /// invalidations, restarts and a full memory occur in any order. No reader is shown a post twice. At the end of the
    /// test, a reader whose snapshot no longer exists still reaches every post that may then be shown.
    #[test]
    fn n10_no_reader_sees_a_post_twice_whatever_happens_to_the_snapshots(
        steps in proptest::collection::vec((0u8..10, 1u64..40), 1..80),
    ) {
        let (state, mut snapshots) = (world(), Snapshots::new(true));
        let (mut walks, mut now_ms) = (Vec::new(), NOW_MS);
        for (kind, n) in steps {
            now_ms += n as i64 * 1_000;
            let algorithm = [Algorithm::Ranked, Algorithm::Time][n as usize % 2];
            match kind {
                0 if walks.len() < 4 => walks.push(Walk::begin(&snapshots, &state, algorithm, now_ms)),
                1..=4 if !walks.is_empty() => {
                    let walk = n as usize % walks.len();
                    walks[walk].next(&snapshots, &state, now_ms)?;
                }
                5 => put(&mut state.write(), id(2, 5_000 + n), None, Some(post(n, 0))),
                6 => state.write().apply(&Effect::Event {
                    user: id(1, 0), post: id(2, n), action: Action::View, at_ms: now_ms, dwell_ms: 0,
                }),
                7 => drop(page_of(&snapshots, &state, &ask(algorithm, None, 7, now_ms + 3 * TTL_MS))),
                8 if n < 10 => snapshots = Snapshots::new(true),
                8 => snapshots.invalidate(id(1, 0)),
                _ => {
                    put(&mut state.write(), id(3, n), Some(follow(n)), None);
                    put(&mut state.write(), id(3, n), None, Some(follow(n)));
                }
            }
        }
        snapshots = Snapshots::new(true);
        for mut walk in walks.into_iter().filter(|walk| walk.cursor.is_some()) {
            while walk.cursor.is_some() {
                walk.next(&snapshots, &state, now_ms)?;
            }
            let (_, whole) = page_of(&Snapshots::new(true), &state, &ask(walk.algorithm, None, 100, now_ms));
            prop_assert!(whole.iter().all(|post| walk.had.contains(post)), "a hole");
        }
    }
}

#[test]
fn a_page_behind_a_snapshot_that_is_gone_begins_with_what_was_not_shown_and_says_so() {
    let (state, snapshots) = (world(), Snapshots::default());
    let (first, had) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, 10, NOW_MS));
    let shown = first.snapshot.shown_before(10);
    let restarted = Snapshots::default();
    let ask = Ask { shown: &shown, ..ask(Algorithm::Ranked, first.cut.cursor, 10, NOW_MS + 1) };
    let (next, ids) = page_of(&restarted, &state, &ask);
    assert!(next.rebuilt && !next.cache_hit && ids.iter().all(|id| !had.contains(id)));
    let text = page_json(&next, ask.user, Algorithm::Ranked, &KEY, &Shape { explain: true, ..SHAPE });
    assert!(text.contains(r#""rank":11,"#) && !text.contains(r#""rank":1,"#), "{text}");
    let (again, same) = page_of(&restarted, &state, &ask);
    assert!(again.rebuilt && again.cache_hit && same == ids);
}

#[test]
fn a_snapshot_that_somebody_pages_in_outlives_first_pages_of_others() {
    let (state, snapshots) = (world(), Snapshots::default());
    let (first, _) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, 5, NOW_MS));
    let (mut cursor, mut now_ms) = (first.cut.cursor, NOW_MS);
    for n in 0..4 * PER_USER_MAX as u64 {
        // A new post makes nova compute a new snapshot for every first page.
        put(&mut state.write(), id(2, 3_000 + n), None, Some(post(n % 39 + 1, 0)));
        now_ms += 1_000;
        drop(page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, 5, now_ms)));
        if n % 4 == 0 {
            let (page, _) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, cursor, 5, now_ms));
            assert!(!page.rebuilt && page.snapshot.id == first.snapshot.id, "look {n}");
            cursor = page.cut.cursor.or(cursor);
        }
    }
}

#[test]
fn a_post_that_was_seen_is_gone_at_the_next_read_and_back_after_exactly_24_hours() {
    let (state, snapshots) = (world(), Snapshots::default());
    let has = |at_ms| page_of(&snapshots, &state, &ask(Algorithm::Time, None, 100, at_ms)).1.contains(&id(2, 7));
    assert!(has(NOW_MS));
    let view = |at_ms| Effect::Event { user: id(1, 0), post: id(2, 7), action: Action::View, at_ms, dwell_ms: 0 };
    state.write().apply(&view(NOW_MS + 1_000));
    assert!(!has(NOW_MS + 1_001));
    let again_ms = NOW_MS + 1_000 + DAY_MS;
    assert!(!has(again_ms - 50));
    assert!(has(again_ms), "the snapshot of a moment before does not hold it back");
}

#[test]
fn an_old_snapshot_is_served_while_a_new_one_is_made_but_not_after_a_change() {
    let (state, snapshots) = (world(), Snapshots::default());
    let page = |at_ms| page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, 10, at_ms)).0;
    let first = page(NOW_MS);
    assert!(!first.cache_hit && !first.due);
    // At the time of this read, the snapshot is older than the longest lifetime, but nova may still serve the snapshot.
    let old = page(NOW_MS + TTL_MS * 11 / 10 + 1);
    assert!(old.cache_hit && old.due && old.snapshot.id == first.snapshot.id);
    assert_eq!(snapshots.refresh(&state, &[], NOW_MS + TTL_MS * 11 / 10 + 2, 10), 1);
    assert_eq!(snapshots.refresh(&state, &[], NOW_MS + TTL_MS * 11 / 10 + 3, 10), 0);
    let new = page(NOW_MS + TTL_MS * 11 / 10 + 4);
    assert!(new.cache_hit && !new.due && new.snapshot.id != first.snapshot.id);
    put(&mut state.write(), id(3, 5), Some(follow(5)), None);
    assert!(!page(NOW_MS + TTL_MS * 11 / 10 + 5).cache_hit);
    assert_eq!(snapshots.sweep(NOW_MS + ACTIVE_MS + 3 * TTL_MS), 1);
    assert_eq!(snapshots.mem_bytes(), 0);
}

#[test]
fn whoever_asks_at_the_same_time_shares_one_computation() {
    let (state, snapshots) = (world(), Snapshots::default());
    let made = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let page = snapshots.page(&state, &ask(Algorithm::Ranked, None, 10, NOW_MS));
                made.fetch_add(u32::from(!page.cache_hit), std::sync::atomic::Ordering::Relaxed);
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn out_of_time_the_page_is_newest_first_and_the_next_one_whole_again() {
    let (state, snapshots) = (world(), Snapshots::default());
    let late = Ask { late: &|| true, ..ask(Algorithm::Ranked, None, 10, NOW_MS) };
    let (page, ids) = page_of(&snapshots, &state, &late);
    assert!(page.snapshot.cut() && page.cut.places.len() == 10);
    let newest = page_of(&snapshots, &state, &ask(Algorithm::Time, None, 10, NOW_MS)).1;
    assert_eq!(ids, newest);
    // The pages after the first are from the same snapshot as the first.
    let (next, _) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, page.cut.cursor, 10, NOW_MS + 1));
    assert!(next.cache_hit && next.snapshot.id == page.snapshot.id);
    let (whole, _) = page_of(&snapshots, &state, &ask(Algorithm::Ranked, None, 10, NOW_MS + 1));
    assert!(!whole.snapshot.cut() && !whole.cache_hit);
}

#[test]
fn n12_snapshots_stay_within_their_memory() {
    let (state, snapshots) = (world(), Snapshots::default());
    let one = {
        drop(snapshots.page(&state, &ask(Algorithm::Ranked, None, 1, NOW_MS)));
        snapshots.mem_bytes()
    };
    let users = 2 * SNAPSHOTS_MAX_BYTES / PARTS / one;
    // All users in this test are in one part.
    let part = snapshots.part(id(5, 0));
    for n in (0u64..).filter(|n| std::ptr::eq(snapshots.part(id(5, *n)), part)).take(users) {
        let follow = Facts::Follow { follower: id(5, n), followee: id(1, 1), created_at_us: 0 };
        put(&mut state.write(), id(6, n), None, Some(follow));
        let trending: Vec<PostNo> = (0..78).map(PostNo::of).collect();
        let ask = Ask { user: id(5, n), trending: &trending, ..ask(Algorithm::Ranked, None, 1, NOW_MS + n as i64) };
        drop(snapshots.page(&state, &ask));
    }
    assert!(snapshots.mem_bytes() <= SNAPSHOTS_MAX_BYTES / PARTS + 2 * one);
    assert!(snapshots.mem_bytes() > SNAPSHOTS_MAX_BYTES / PARTS / 2);
}

#[test]
fn users_whose_ids_end_alike_are_in_many_parts() {
    let snapshots = Snapshots::default();
    let ids = (0..1_000u64).map(|n| Id::from_u128(u128::from(n) << 64));
    let parts: std::collections::BTreeSet<usize> =
        ids.map(|id| std::ptr::from_ref(snapshots.part(id)).addr()).collect();
    assert!(parts.len() > PARTS / 2, "{} parts", parts.len());
}
