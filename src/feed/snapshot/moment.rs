//! A feed at one moment, and the pages that are cut from it.

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHasher;

use crate::clock::rfc3339;
use crate::event::Id;
use crate::feed::cursor::Cursor;
use crate::feed::rank::{Feed, Making, Ranked, Scoring};
use crate::feed::shown::{SHOWN_MAX, Shown};
use crate::state::{State, UserNo};

use super::ask::Ask;
use super::cut::Cut;
use super::versions::Versions;

/// A feed as it was made at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub id: u64,
    pub as_of_ms: i64,
    /// The JSON of the snapshot's id and time, which every page of the snapshot contains.
    pub(in crate::feed) text: String,
    pub(super) versions: Versions,
    pub(super) feed: Feed,
    /// The lifetime of the snapshot; for each user, nova makes the lifetime up to a tenth longer or shorter.
    pub(super) ttl_ms: i64,
    /// How long nova still serves the snapshot after its lifetime while nova makes a new snapshot.
    pub(super) stale_ms: i64,
    /// The posts that the reader was shown before this snapshot. The set of shown posts is empty for a snapshot that
    /// begins with the first page.
    pub(in crate::feed) shown: Shown,
    /// The place in an older snapshot at which this snapshot continues, if that snapshot no longer exists.
    pub(super) continues: Option<Cursor>,
    /// The number of the page that was last read from this snapshot, or 0.
    used: AtomicU64,
    /// Whether a page after the first page was read.
    paged: AtomicBool,
    /// The page that was cut last.
    last: Mutex<Option<Arc<Cut>>>,
}

impl Snapshot {
    /// Makes a snapshot of a feed. `user` is the user's number in the state. `continues` is the place in an older
    /// snapshot at which the new snapshot continues.
    pub(super) fn new(
        state: &State,
        user: UserNo,
        feed: Feed,
        making: &Making<'_>,
        continues: Option<Cursor>,
    ) -> Snapshot {
        let now_ms = making.now_ms;
        let mut hasher = FxHasher::default();
        hasher.write_i64(now_ms);
        continues.iter().for_each(|cursor| hasher.write_u64(cursor.snapshot ^ u64::from(cursor.position)));
        feed.posts.iter().for_each(|post| hasher.write(&post.post.0));
        let id = hasher.finish();
        let numbers = &state.ranking().feed;
        Snapshot {
            id,
            as_of_ms: now_ms,
            text: format!(r#""snapshot":"{id:016x}","as_of":"{}""#, rfc3339(now_ms * 1_000)),
            versions: Versions::of(state, user),
            feed,
            ttl_ms: i64::from(numbers.lifetime_s) * 1_000,
            stale_ms: i64::from(numbers.stale_s) * 1_000,
            shown: making.shown.clone(),
            continues,
            used: AtomicU64::new(0),
            paged: AtomicBool::new(false),
            last: Mutex::new(None),
        }
    }

    pub fn posts(&self) -> &[Ranked] {
        &self.feed.posts
    }

    pub fn scoring(&self) -> &Scoring {
        &self.feed.scoring
    }

    /// Whether the feed has only followees' posts, newest first, because the time limit was reached.
    pub fn cut(&self) -> bool {
        self.feed.cut
    }

    /// Returns the posts that a reader at this position was shown.
    pub(in crate::feed) fn shown_before(&self, position: u32) -> Shown {
        self.shown.and(self.posts().iter().take(position as usize).map(|post| post.post))
    }

    pub(super) fn was_read(&self, page: u64, ask: &Ask<'_>) {
        self.used.store(page, Ordering::Relaxed);
        if ask.cursor.is_some() {
            self.paged.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the number of the page that was last read from this snapshot, or 0.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a page after the first page was read.
    pub(super) fn paged(&self) -> bool {
        self.paged.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Snapshot>()
            + self.shown.len() * size_of::<u32>()
            + self.feed.posts.capacity() * size_of::<Ranked>()
            + Cut::MAX_BYTES
    }
}

impl Snapshot {
    /// Returns the position at which the requested page begins. If the cursor belongs to the older snapshot that this
    /// snapshot continues, the page begins at position 0.
    fn start(&self, ask: &Ask<'_>) -> usize {
        ask.cursor.filter(|cursor| cursor.snapshot == self.id).map_or(0, |cursor| cursor.position as usize)
    }

    pub(super) fn cut_for(&self, state: &State, ask: &Ask<'_>) -> Arc<Cut> {
        let mut last = self.last.lock();
        if let Some(last) = last.as_ref().filter(|last| last.answers(state, ask, self.start(ask))) {
            return Arc::clone(last);
        }
        let cut = Arc::new(self.cut_anew(state, ask, last.as_deref()));
        *last = Some(Arc::clone(&cut));
        cut
    }

    /// Cuts a page from the snapshot. If the new page shows the same posts as `last`, it shares the JSON of `last`.
    pub(super) fn cut_anew(&self, state: &State, ask: &Ask<'_>, last: Option<&Cut>) -> Cut {
        let (number, start) = (number(state, ask.user), self.start(ask));
        let (mut places, mut until_ms) = (Vec::with_capacity(ask.limit + 1), i64::MAX);
        for (at, post) in self.posts().iter().enumerate().skip(start) {
            match hidden_until_ms(state, number, post, ask.now_ms) {
                Some(hidden_ms) => until_ms = until_ms.min(hidden_ms),
                None => places.push(at),
            }
            if places.len() > ask.limit {
                break;
            }
        }
        let more = places.len() > ask.limit;
        places.truncate(ask.limit);
        let position = places.last().map_or(start, |place| place + 1);
        let more = more && self.shown.len() + position <= SHOWN_MAX;
        let position = position as u32;
        let cursor = more.then_some(Cursor { algorithm: ask.algorithm as u8, snapshot: self.id, position });
        let same = last.filter(|last| (&last.places, last.cursor) == (&places, cursor));
        Cut {
            start,
            limit: ask.limit,
            changes: state.changes(),
            times_ms: ask.now_ms..until_ms,
            newer: self.versions != Versions::of(state, number),
            text: same.map(|last| Arc::clone(&last.text)).unwrap_or_default(),
            places,
            cursor,
        }
    }
}

/// Returns the time until which a post of a snapshot may not be shown. The time of a viewed post is the end of the
/// period for which feeds leave out a viewed post. If a post is invisible, or was in the feed only through a follow
/// that has ended, the time is `i64::MAX`, because only a change of the state can show the post again. Returns `None`
/// if the post may be shown.
fn hidden_until_ms(state: &State, user: UserNo, post: &Ranked, now_ms: i64) -> Option<i64> {
    let only_followed = post.sources.followed && !post.sources.trending && !post.sources.affinity;
    let gone = !state.visible(post.number) || (only_followed && !state.graph.follows(user, post.author_number));
    if gone { Some(i64::MAX) } else { state.touches.seen_until_ms(user, post.number, now_ms) }
}

/// Returns the number of a user in the state. A user that the state does not know gets a number that no user has.
pub(super) fn number(state: &State, user: Id) -> UserNo {
    state.users.number(user).unwrap_or(UserNo::NOBODY)
}
