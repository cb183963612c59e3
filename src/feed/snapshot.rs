//! Immutable feeds of users, and pages of them. A page is a stretch of one snapshot, so pages never repeat a post and
//! never leave one out (N10); whatever may not be shown any more is left out when a page is read (N11).
//!
//! One computation at a time makes a user's snapshot (single flight); while it is only too old, but nothing that it
//! depends on changed, it goes on being served for [`STALE_MS`] and is asked to be made anew in the background.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHasher};

use crate::event::Id;
use crate::state::State;

use super::cursor::Cursor;
use super::rank::{self, Feed, Making, Ranked};
use super::served::Served;

/// Memory of all snapshots; in each part of the users the one who was away longest makes room.
pub const SNAPSHOTS_MAX_BYTES: usize = 128 << 20;
/// Snapshots of one user and algorithm: readers may be in an older one.
pub const PER_USER_MAX: usize = 3;
/// A snapshot is to be made anew after this, a tenth more or less.
pub const TTL_MS: i64 = 120_000;
/// So much longer it is served while a new one is made.
pub const STALE_MS: i64 = 30_000;
/// Users whose snapshots wait to be made anew, of one part.
const DUE_MAX: usize = 256;
/// Whoever read within this time has snapshots made ahead.
const ACTIVE_MS: i64 = 10 * 60_000;
/// Parts of the users: each has a lock for its snapshots, and one for making them.
const PARTS: usize = 64;

/// How a feed is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// By score, spaced (`algo=ch`, the name that clients know).
    Ranked = 0,
    /// Followees' posts, newest first.
    Time = 1,
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Ranked => "ch",
            Algorithm::Time => "time",
        }
    }
}

/// A feed at one moment.
#[derive(Debug)]
pub struct Snapshot {
    pub id: u64,
    pub as_of_ms: i64,
    /// Over whom the user follows and what those posted.
    versions: u64,
    feed: Feed,
    /// A page of it was given out.
    read: AtomicBool,
}

impl Snapshot {
    pub fn posts(&self) -> &[Ranked] {
        &self.feed.posts
    }

    /// Made in haste: newest first, from followees only.
    pub fn cut(&self) -> bool {
        self.feed.cut
    }

    fn bytes(&self) -> usize {
        size_of::<Snapshot>() + self.feed.posts.capacity() * size_of::<Ranked>()
    }
}

/// What is asked for.
pub struct Ask<'a> {
    pub user: Id,
    pub algorithm: Algorithm,
    pub cursor: Option<Cursor>,
    pub limit: usize,
    pub now_ms: i64,
    /// The posts of trending 24 h.
    pub trending: &'a [u32],
    /// Whether the answer takes too long.
    pub late: &'a dyn Fn() -> bool,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    pub snapshot: Arc<Snapshot>,
    /// Places in the snapshot's posts.
    pub places: Vec<usize>,
    pub cursor: Option<Cursor>,
    pub cache_hit: bool,
    /// A new snapshot would differ: the reader may start again.
    pub newer: bool,
    /// The cursor's snapshot is gone; this page is from another one.
    pub rebuilt: bool,
    /// A new snapshot should be made in the background: [`Snapshots::refresh`].
    pub due: bool,
}

type Key = (Id, Algorithm);

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    snapshots: VecDeque<Arc<Snapshot>>,
    /// When a page was last asked for.
    read_ms: i64,
}

#[derive(Debug, Default)]
struct Inner {
    kept: FxHashMap<Key, Kept>,
    bytes: usize,
    /// To be made anew, each once.
    due: VecDeque<Key>,
}

#[derive(Debug, Default)]
struct Part {
    /// Held while a snapshot is made: whoever wants the same waits and finds it.
    flight: Mutex<()>,
    inner: Mutex<Inner>,
}

/// How old a snapshot is for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// Good to serve; a new one should be made.
    Due,
    Gone,
}

/// See the module.
pub struct Snapshots {
    parts: Vec<Part>,
    /// Fills places that no post fits; see [`Making::relaxed`].
    relaxed_spacing: bool,
    pub served: Served,
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots::new(false)
    }
}

impl Snapshots {
    pub fn new(relaxed_spacing: bool) -> Snapshots {
        let parts = std::iter::repeat_with(Part::default).take(PARTS).collect();
        Snapshots { parts, relaxed_spacing, served: Served::default() }
    }

    fn part(&self, user: Id) -> &Part {
        &self.parts[usize::from(user.0[15]) % PARTS]
    }

    /// The page of a user at a cursor, or the first one. The caller holds no lock of the state.
    pub fn page(&self, state: &RwLock<State>, ask: &Ask<'_>) -> Page {
        if let Some(page) = self.known(&state.read(), ask) {
            return page;
        }
        let part = self.part(ask.user);
        // No lock of the state while waiting: whoever makes the snapshot may need one behind a waiting writer.
        let _flight = part.flight.lock();
        let state = state.read();
        // Whoever held the lock may have made it.
        if let Some(page) = self.known(&state, ask) {
            return page;
        }
        let making = Making { relaxed: self.relaxed_spacing, ..Making::of(ask) };
        let number = number(&state, ask.user);
        let snapshot = self.make(&state, (ask.user, ask.algorithm), &making);
        let page = cut_page(&state, number, snapshot, ask);
        Page { cache_hit: false, rebuilt: ask.cursor.is_some(), ..page }
    }

    /// The page, if its snapshot is there and good enough.
    fn known(&self, state: &State, ask: &Ask<'_>) -> Option<Page> {
        let number = number(state, ask.user);
        let key = (ask.user, ask.algorithm);
        let part = self.part(ask.user);
        let (snapshot, due) = {
            let mut inner = part.inner.lock();
            let kept = inner.kept.get_mut(&key)?;
            kept.read_ms = kept.read_ms.max(ask.now_ms);
            match ask.cursor {
                Some(cursor) => (Arc::clone(kept.snapshots.iter().find(|known| known.id == cursor.snapshot)?), false),
                None => {
                    let last = Arc::clone(kept.snapshots.back()?);
                    match age(&last, ask.user, versions(state, number), ask.now_ms) {
                        Age::Gone => return None,
                        Age::Fresh => (last, false),
                        Age::Due => {
                            inner.want(key);
                            (last, true)
                        }
                    }
                }
            }
        };
        Some(Page { due, ..cut_page(state, number, snapshot, ask) })
    }

    fn make(&self, state: &State, key: Key, making: &Making<'_>) -> Arc<Snapshot> {
        let (number, now_ms) = (number(state, key.0), making.now_ms);
        let feed = match key.1 {
            Algorithm::Ranked => rank::feed(state, number, making),
            Algorithm::Time => rank::by_time(state, number, now_ms),
        };
        self.served.relaxed(now_ms, feed.relaxed);
        let mut hasher = FxHasher::default();
        hasher.write_i64(now_ms);
        feed.posts.iter().for_each(|post| hasher.write(&post.post.0));
        let snapshot = Arc::new(Snapshot {
            id: hasher.finish(),
            as_of_ms: now_ms,
            versions: versions(state, number),
            feed,
            read: AtomicBool::new(false),
        });
        let inner = &mut *self.part(key.0).inner.lock();
        let kept = inner.kept.entry(key).or_default();
        if kept.snapshots.is_empty() {
            kept.read_ms = now_ms;
        }
        // One that nobody read makes room first: somebody may be in the others.
        if let Some(unread) = kept.snapshots.pop_back_if(|last| !last.read.load(Ordering::Relaxed)) {
            inner.bytes -= unread.bytes();
        }
        // The same feed made twice in a millisecond is one.
        if kept.snapshots.back().is_none_or(|last| last.id != snapshot.id) {
            inner.bytes += snapshot.bytes();
            kept.snapshots.push_back(Arc::clone(&snapshot));
        }
        if kept.snapshots.len() > PER_USER_MAX {
            inner.bytes -= kept.snapshots.pop_front().map_or(0, |old| old.bytes());
        }
        inner.make_room(key);
        snapshot
    }

    /// Makes snapshots anew that are due, and those of users who read lately and whose feed changed; each at most once,
    /// `limit` of all. Returns how many it made. This is the background's work.
    pub fn refresh(&self, state: &RwLock<State>, trending: &[u32], now_ms: i64, limit: usize) -> usize {
        let mut made = 0;
        for part in &self.parts {
            let keys = part.inner.lock().active(now_ms);
            for key in keys {
                if made == limit {
                    return made;
                }
                let _flight = part.flight.lock();
                let state = state.read();
                let versions = versions(&state, number(&state, key.0));
                let last = part.inner.lock().kept.get(&key).and_then(|kept| kept.snapshots.back().cloned());
                if last.is_none_or(|last| age(&last, key.0, versions, now_ms) == Age::Fresh) {
                    continue;
                }
                let making = Making { relaxed: self.relaxed_spacing, ..Making::strict(now_ms, trending) };
                self.make(&state, key, &making);
                made += 1;
            }
        }
        made
    }

    /// Forgets snapshots that nobody can want any more; returns how many users' were forgotten.
    pub fn sweep(&self, now_ms: i64) -> usize {
        let mut gone = 0;
        for part in &self.parts {
            let inner = &mut *part.inner.lock();
            inner.kept.retain(|_, kept| {
                let keep = now_ms - kept.read_ms < ACTIVE_MS + TTL_MS;
                if !keep {
                    gone += 1;
                    inner.bytes -= kept.snapshots.iter().map(|old| old.bytes()).sum::<usize>();
                }
                keep
            });
        }
        gone
    }

    /// Forgets a user's snapshots.
    pub fn invalidate(&self, user: Id) {
        let mut inner = self.part(user).inner.lock();
        for algorithm in [Algorithm::Ranked, Algorithm::Time] {
            inner.forget(&(user, algorithm));
        }
    }

    pub fn mem_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.inner.lock().bytes).sum()
    }
}

impl<'a> Making<'a> {
    fn of(ask: &Ask<'a>) -> Making<'a> {
        Making { now_ms: ask.now_ms, trending: ask.trending, relaxed: false, late: ask.late }
    }
}

impl Inner {
    fn want(&mut self, key: Key) {
        if self.due.len() < DUE_MAX && !self.due.contains(&key) {
            self.due.push_back(key);
        }
    }

    /// Who waits for a new snapshot, then who read lately.
    fn active(&mut self, now_ms: i64) -> Vec<Key> {
        let mut keys: Vec<Key> = self.due.drain(..).collect();
        let lately = self.kept.iter().filter(|(_, kept)| now_ms - kept.read_ms < ACTIVE_MS);
        let others: Vec<Key> = lately.map(|(key, _)| *key).filter(|key| !keys.contains(key)).collect();
        keys.extend(others);
        keys
    }

    fn forget(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.snapshots.iter().map(|old| old.bytes()).sum::<usize>();
        }
    }

    fn make_room(&mut self, newest: Key) {
        while self.bytes > SNAPSHOTS_MAX_BYTES / PARTS && self.kept.len() > 1 {
            let others = self.kept.iter().filter(|(key, _)| **key != newest);
            let Some(oldest) = others.min_by_key(|(_, kept)| kept.read_ms).map(|(key, _)| *key) else { return };
            self.forget(&oldest);
        }
    }
}

fn number(state: &State, user: Id) -> u32 {
    state.users.number(user).unwrap_or(u32::MAX)
}

/// Whether a snapshot may be the first page. Jitter by user and snapshot, so that those who came together do not come
/// back together: it lives for [`TTL_MS`] ±10 %, and from four fifths of that on a new one is asked for.
fn age(snapshot: &Snapshot, user: Id, versions: u64, now_ms: i64) -> Age {
    let jitter = |salt: u64, span_ms: i64| {
        let mut hasher = FxHasher::default();
        hasher.write(&user.0);
        hasher.write_u64(snapshot.id ^ salt);
        (hasher.finish() >> 32) as i64 % span_ms
    };
    let ttl_ms = TTL_MS * 9 / 10 + jitter(1, TTL_MS / 5);
    let early_ms = ttl_ms * 4 / 5 + jitter(2, ttl_ms / 5);
    let age_ms = now_ms - snapshot.as_of_ms;
    // A seen post that may be shown again must not wait; a feed made in haste is for this page and those behind it.
    let over = snapshot.feed.seen_until_ms.is_some_and(|until_ms| now_ms >= until_ms) || snapshot.feed.cut;
    if snapshot.versions != versions || over || !(0..ttl_ms + STALE_MS).contains(&age_ms) {
        Age::Gone
    } else if age_ms >= early_ms {
        Age::Due
    } else {
        Age::Fresh
    }
}

fn cut_page(state: &State, number: u32, snapshot: Arc<Snapshot>, ask: &Ask<'_>) -> Page {
    snapshot.read.store(true, Ordering::Relaxed);
    let start = ask.cursor.map_or(0, |cursor| cursor.position as usize);
    let mut places: Vec<usize> = (start..snapshot.posts().len())
        .filter(|place| shown(state, number, &snapshot.posts()[*place], ask.now_ms))
        .take(ask.limit + 1)
        .collect();
    let more = places.len() > ask.limit;
    places.truncate(ask.limit);
    let next = places.last().map_or(start, |place| place + 1) as u32;
    let cursor = more.then_some(Cursor { algorithm: ask.algorithm as u8, snapshot: snapshot.id, position: next });
    let newer = snapshot.versions != versions(state, number);
    Page { snapshot, places, cursor, cache_hit: true, newer, rebuilt: false, due: false }
}

/// Changes with whom the user follows, and with what each of them posted or whether they are active.
fn versions(state: &State, user: u32) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(state.graph.version(user));
    for followee in state.graph.followees(user) {
        hasher.write_u32(state.posts.version(followee.user));
    }
    hasher.finish()
}

/// Whether a post of a snapshot may still be shown: visible, not seen meanwhile, and not there only because of a follow
/// that is gone.
fn shown(state: &State, user: u32, post: &Ranked, now_ms: i64) -> bool {
    let only_followed = post.sources.followed && !post.sources.trending && !post.sources.affinity;
    state.visible(post.number)
        && (!only_followed || state.graph.follows(user, post.author_number))
        && !state.touches.seen(user, post.number, now_ms)
}

#[cfg(test)]
mod tests;
