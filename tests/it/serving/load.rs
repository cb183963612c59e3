//! Feed pages that are read while a writer works at full speed (N10, N11).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use nova::event::{Action, Effect, Facts, Id};
use nova::feed::cursor::Cursor;
use nova::feed::shown::NOTHING;
use nova::feed::snapshot::{Algorithm, Ask, Page, Snapshots};
use nova::feed::trending::overrides::Overrides;
use nova::feed::trending::publish::Board;
use nova::feed::trending::{self, Window};
use nova::state::{State, StateSettings};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

use super::oracle::{T0_MS, id};
use crate::support::events::Rng;

const AUTHORS: u64 = 60;
const WALKS: usize = 60;
/// The number of effects that the test applies under one lock, which is more than nova's writer applies.
const SLICE: usize = 64;

/// The effects that the writer has acknowledged. A read that begins after the acknowledgement of an effect must know
/// the effect.
#[derive(Clone, Default)]
struct Acknowledged {
    deleted: BTreeSet<Id>,
    /// The posts that the reader has seen.
    seen: BTreeSet<Id>,
    unfollowed: BTreeSet<Id>,
    /// How often the reader has followed or unfollowed each author.
    turns: BTreeMap<Id, u64>,
}

#[derive(Default)]
struct Writer {
    rng: Option<Rng>,
    rows: BTreeMap<Id, Facts>,
    posts: u64,
}

impl Writer {
    fn put(&mut self, key: Id, new: Option<Facts>) -> Effect {
        let old = match &new {
            Some(facts) => self.rows.insert(key, facts.clone()),
            None => self.rows.remove(&key),
        };
        Effect::Row { key, old, new }
    }

    fn follow(&mut self, author: u64, on: bool) -> Effect {
        let (follower, followee) = (id(1, 0), id(1, author));
        self.put(id(3, author), on.then_some(Facts::Follow { follower, followee, created_at_us: T0_MS * 1_000 }))
    }

    fn post(&mut self) -> Effect {
        self.posts += 1;
        let (author, age_ms) = (1 + self.posts % AUTHORS, (self.posts % 4_000) as i64 * 60_000);
        let created_at_us = (T0_MS - age_ms) * 1_000;
        self.put(id(2, self.posts), Some(Facts::Post { author: id(1, author), created_at_us, published: true }))
    }

    /// Makes one effect, and notes what readers must know as soon as the effect is applied.
    fn effect(&mut self, told: &mut Acknowledged) -> Effect {
        let mut rng = self.rng.take().unwrap();
        let post = id(2, 1 + rng.below(self.posts));
        let effect = match rng.below(20) {
            0..4 if self.posts < 3_000 => self.post(),
            4..6 => {
                told.deleted.insert(post);
                self.put(post, None)
            }
            6 => {
                let (author, on) = (1 + rng.below(AUTHORS), rng.below(2) == 0);
                *told.turns.entry(id(1, author)).or_default() += 1;
                if on {
                    told.unfollowed.remove(&id(1, author));
                } else {
                    told.unfollowed.insert(id(1, author));
                }
                self.follow(author, on)
            }
            7..13 => {
                let key = id(4, rng.below(5_000));
                let like = Facts::Like { user: id(1, rng.below(500)), post, created_at_us: T0_MS * 1_000 };
                self.put(key, (rng.below(3) > 0).then_some(like))
            }
            n => {
                let user = if n == 19 { id(1, 0) } else { id(1, 100 + rng.below(400)) };
                if user == id(1, 0) {
                    told.seen.insert(post);
                }
                Effect::Event { user, post, action: Action::View, at_ms: T0_MS, dwell_ms: 0 }
            }
        };
        self.rng = Some(rng);
        effect
    }
}

struct World {
    state: Arc<RwLock<State>>,
    told: Mutex<Acknowledged>,
    board: Board,
    feeds: Snapshots,
}

impl World {
    fn page(&self, cursor: Option<Cursor>, limit: usize) -> Page {
        let trending = self.board.get(Window::Day, T0_MS);
        let (user, algorithm, trending) = (id(1, 0), Algorithm::Ranked, &trending.numbers);
        let shown = &NOTHING;
        let ask = Ask { user, algorithm, cursor, shown, limit, now_ms: T0_MS, trending, late: &|| false };
        self.feeds.page(&self.state, &ask)
    }

    /// Reads all pages of the feed once, and returns their number.
    fn walk(&self, limit: usize) -> usize {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<Cursor>, 0);
        loop {
            let before = self.told.lock().clone();
            let page = self.page(cursor, limit);
            pages += 1;
            assert!(page.cut.cursor.is_none_or(|next| cursor.is_none_or(|last| next.position > last.position)));
            for place in &page.cut.places {
                let post = &page.snapshot.posts()[*place];
                assert!(!before.deleted.contains(&post.post), "N11: shown after it was deleted");
                assert!(!before.seen.contains(&post.post), "shown after it was seen");
                let only = post.sources.followed && !post.sources.trending && !post.sources.affinity;
                let gone = only && before.unfollowed.contains(&post.author);
                assert!(!gone || self.turned(&post.author, &before), "N11: shown after the unfollow");
                seen.push(*place);
            }
            assert!(!page.rebuilt && cursor.is_none_or(|cursor| cursor.snapshot == page.snapshot.id));
            match page.cut.cursor {
                Some(next) => cursor = Some(next),
                None => {
                    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "N10: repeated");
                    self.no_holes(&page, &seen);
                    return pages;
                }
            }
        }
    }

    /// Whether the reader has followed the author again since `before`, perhaps only for a moment. The state is read
    /// before the acknowledgements, so that no follow between the two reads is missed.
    fn turned(&self, author: &Id, before: &Acknowledged) -> bool {
        let follows = {
            let state = self.state.read();
            let number = |id| state.users.number(id).unwrap();
            state.graph.follows(number(id(1, 0)), number(*author))
        };
        follows || self.told.lock().turns.get(author) != before.turns.get(author)
    }

    /// Checks that every post that the pages left out is gone for a reason.
    fn no_holes(&self, page: &Page, seen: &[usize]) {
        let shown: BTreeSet<_> = seen.iter().collect();
        let state = self.state.read();
        let reader = state.users.number(id(1, 0)).unwrap();
        for (place, post) in page.snapshot.posts().iter().enumerate() {
            // An unfollow that was undone leaves no trace, so the test does not check posts that were on the pages only
            // because of a follow.
            let gone = !state.visible(post.number) || state.touches.seen(reader, post.number, T0_MS);
            let reason = gone || (post.sources.followed && !post.sources.trending && !post.sources.affinity);
            assert!(shown.contains(&place) || reason, "N10: a hole at {place}");
        }
    }
}

#[test]
fn n10_n11_pages_hold_while_a_writer_inserts_deletes_follows_and_likes_at_full_speed() {
    let mut writer = Writer { rng: Some(Rng(11)), ..Writer::default() };
    let mut state = State::new(StateSettings::default());
    (1..=AUTHORS).for_each(|author| state.apply(&writer.follow(author, true)));
    (0..600).for_each(|_| state.apply(&writer.post()));
    let state = Arc::new(RwLock::new(state));
    let board = Board::new(Arc::clone(&state), Overrides::default(), T0_MS);
    let world = World { state, told: Mutex::default(), board, feeds: Snapshots::default() };
    let (stop, mut applied, mut pages) = (AtomicBool::new(false), 0u64, 0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut applied = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let mut told = world.told.lock().clone();
                let slice: Vec<_> = (0..SLICE).map(|_| writer.effect(&mut told)).collect();
                {
                    let mut state = world.state.write();
                    slice.iter().for_each(|effect| state.apply(effect));
                }
                // The effects are acknowledged after they were applied.
                *world.told.lock() = told;
                applied += SLICE as u64;
            }
            applied
        });
        let ticking = scope.spawn(|| {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // The moving windows of trending are counted while the writer works.
                world.board.refresh(T0_MS + turn % 3 * 60_000);
                world.feeds.refresh(&world.state, &world.board.get(Window::Day, T0_MS).numbers, T0_MS, 10);
                std::thread::yield_now();
            }
        });
        let walking = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..WALKS).map(|walk| world.walk(1 + walk % 13)).sum::<usize>()
        }));
        stop.store(true, Ordering::Relaxed);
        applied = writing.join().unwrap();
        ticking.join().unwrap();
        pages = walking.unwrap_or_else(|failed| std::panic::resume_unwind(failed));
    });
    world.board.refresh(T0_MS);
    for window in Window::ALL {
        let state = world.state.read();
        let counted = trending::rank(&state, window, T0_MS, &Overrides::default());
        assert_eq!(world.board.last(window).list, counted, "nothing was counted twice or left out");
    }
    assert!(applied > 0 && pages > WALKS, "{applied} effects while {pages} pages were read");
}
