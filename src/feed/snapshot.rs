//! Immutable feeds of users, and pages of them. A page is a stretch of one snapshot, so pages never repeat a post and
//! never leave one out (N10); whatever may not be shown any more is left out when a page is read (N11). Where the snapshot
//! of a cursor is gone, a new one continues it: of the posts that the cursor's reader was not shown.
//!
//! One computation at a time makes a user's snapshot (single flight); while it is only too old, but nothing that it
//! depends on changed, it goes on being served for a while and is asked to be made anew in the background.

mod age;
mod cut;

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHasher};

use crate::clock::rfc3339;
use crate::event::Id;
use crate::state::State;

use super::cursor::Cursor;
use super::rank::{self, Feed, Making, Ranked, Scoring};
use super::served::Served;
use super::shown::Shown;

pub use self::age::Versions;
use self::age::{Age, age};
pub use self::cut::Cut;

/// Memory of all snapshots; in each part of the users the one who was away longest makes room.
pub const SNAPSHOTS_MAX_BYTES: usize = 128 << 20;
/// Snapshots of one user and algorithm: readers are in older ones.
pub const PER_USER_MAX: usize = 8;
/// So many of them stay because somebody has just looked at them, and may turn the page.
const RECENT: usize = 3;
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
    /// Both as an answer has them: pages repeat it.
    pub(super) text: String,
    versions: Versions,
    feed: Feed,
    /// It is to be made anew after this, a tenth more or less.
    ttl_ms: i64,
    /// So much longer it is served while a new one is made.
    stale_ms: i64,
    /// What its reader had been shown before; nothing of a snapshot that begins with the first page.
    pub(super) shown: Shown,
    /// The place that it continues, of a snapshot that is gone.
    continues: Option<Cursor>,
    /// When a page of it was last given out, as the number of a page; 0 before that.
    used: AtomicU64,
    /// A page behind its first was given out.
    paged: AtomicBool,
    /// The page that was cut last.
    last: Mutex<Option<Arc<Cut>>>,
}

impl Snapshot {
    pub fn posts(&self) -> &[Ranked] {
        &self.feed.posts
    }

    pub fn scoring(&self) -> &Scoring {
        &self.feed.scoring
    }

    /// Made in haste: newest first, from followees only.
    pub fn cut(&self) -> bool {
        self.feed.cut
    }

    /// What a reader who is at this place has been shown.
    pub(super) fn shown_before(&self, position: u32) -> Shown {
        self.shown.and(self.posts().iter().take(position as usize).map(|post| post.post))
    }

    fn was_read(&self, page: u64, ask: &Ask<'_>) {
        self.used.store(page, Ordering::Relaxed);
        if ask.cursor.is_some() {
            self.paged.store(true, Ordering::Relaxed);
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Snapshot>()
            + self.shown.len() * size_of::<u32>()
            + self.feed.posts.capacity() * size_of::<Ranked>()
            + Cut::MAX_BYTES
    }
}

/// What is asked for.
pub struct Ask<'a> {
    pub user: Id,
    pub algorithm: Algorithm,
    pub cursor: Option<Cursor>,
    /// What the cursor says that its reader has been shown.
    pub shown: &'a Shown,
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
    pub cut: Arc<Cut>,
    pub cache_hit: bool,
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

impl Kept {
    /// The snapshot of first pages.
    fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().rev().find(|known| known.continues.is_none())
    }

    /// The snapshot of a cursor, or the one that continues it.
    fn at(&self, cursor: Cursor) -> Option<&Arc<Snapshot>> {
        let own = self.snapshots.iter().find(|known| known.id == cursor.snapshot);
        own.or_else(|| self.snapshots.iter().find(|known| known.continues == Some(cursor)))
    }

    /// Makes room: first goes what nobody pages in and nobody has just looked at, then what was used the longest ago. The
    /// snapshot of first pages stays, and so does `made`, which was made right now.
    fn drop_one(&mut self, made: &Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let newest = self.newest().map(|newest| newest.id);
        let old = self.snapshots.iter().enumerate().filter(|(_, old)| Some(old.id) != newest && old.id != made.id);
        let mut old: Vec<_> = old.map(|(at, old)| (old.used.load(Ordering::Relaxed), at)).collect();
        old.sort_unstable();
        let unpaged = |(_, at): &&(u64, usize)| !self.snapshots[*at].paged.load(Ordering::Relaxed);
        let idle = old.iter().take(old.len().saturating_sub(RECENT)).find(unpaged);
        let (_, at) = idle.or(old.first())?;
        self.snapshots.remove(*at)
    }
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

/// See the module.
pub struct Snapshots {
    parts: Vec<Part>,
    /// Fills places that no post fits; see [`Making::relaxed`].
    relaxed_spacing: bool,
    /// Pages that were given out.
    pages: AtomicU64,
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
        Snapshots { parts, relaxed_spacing, pages: AtomicU64::new(0), served: Served::default() }
    }

    /// Whether feeds fill places that no post fits.
    pub fn relaxed_spacing(&self) -> bool {
        self.relaxed_spacing
    }

    /// None, to be made by the same rules.
    pub fn fresh(&self) -> Snapshots {
        Snapshots::new(self.relaxed_spacing)
    }

    fn page_number(&self) -> u64 {
        self.pages.fetch_add(1, Ordering::Relaxed) + 1
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
        let snapshot = self.make(&state, (ask.user, ask.algorithm), &making, ask.cursor);
        let cut = snapshot.cut_for(&state, ask);
        snapshot.was_read(self.page_number(), ask);
        Page { snapshot, cut, cache_hit: false, rebuilt: ask.cursor.is_some(), due: false }
    }

    /// The page, if its snapshot is there and good enough.
    fn known(&self, state: &State, ask: &Ask<'_>) -> Option<Page> {
        let key = (ask.user, ask.algorithm);
        let part = self.part(ask.user);
        let snapshot = {
            let mut inner = part.inner.lock();
            let kept = inner.kept.get_mut(&key)?;
            kept.read_ms = ask.now_ms;
            Arc::clone(match ask.cursor {
                Some(cursor) => kept.at(cursor)?,
                None => kept.newest()?,
            })
        };
        let cut = snapshot.cut_for(state, ask);
        let age = if ask.cursor.is_some() { Age::Fresh } else { age(&snapshot, ask.user, cut.newer, ask.now_ms) };
        let due = match age {
            Age::Gone => return None,
            Age::Fresh => false,
            Age::Due => {
                part.inner.lock().want(key);
                true
            }
        };
        snapshot.was_read(self.page_number(), ask);
        let rebuilt = ask.cursor.is_some() && ask.cursor == snapshot.continues;
        Some(Page { snapshot, cut, cache_hit: true, rebuilt, due })
    }

    fn make(&self, state: &State, key: Key, making: &Making<'_>, continues: Option<Cursor>) -> Arc<Snapshot> {
        let (number, now_ms) = (number(state, key.0), making.now_ms);
        let feed = match key.1 {
            Algorithm::Ranked => rank::feed(state, number, making),
            Algorithm::Time => rank::by_time(state, number, now_ms, making.shown),
        };
        self.served.relaxed(now_ms, feed.relaxed);
        let mut hasher = FxHasher::default();
        hasher.write_i64(now_ms);
        continues.iter().for_each(|cursor| hasher.write_u64(cursor.snapshot ^ u64::from(cursor.position)));
        feed.posts.iter().for_each(|post| hasher.write(&post.post.0));
        let id = hasher.finish();
        let numbers = &state.ranking().feed;
        let snapshot = Arc::new(Snapshot {
            id,
            as_of_ms: now_ms,
            text: format!(r#""snapshot":"{id:016x}","as_of":"{}""#, rfc3339(now_ms * 1_000)),
            versions: Versions::of(state, number),
            feed,
            ttl_ms: i64::from(numbers.lifetime_s) * 1_000,
            stale_ms: i64::from(numbers.stale_s) * 1_000,
            shown: making.shown.clone(),
            continues,
            used: AtomicU64::new(0),
            paged: AtomicBool::new(false),
            last: Mutex::new(None),
        });
        let inner = &mut *self.part(key.0).inner.lock();
        let kept = inner.kept.entry(key).or_default();
        if kept.snapshots.is_empty() {
            kept.read_ms = now_ms;
        }
        // One that nobody read makes room first: somebody may be in the others.
        let unread = |last: &mut Arc<Snapshot>| last.used.load(Ordering::Relaxed) == 0;
        if let Some(unread) = kept.snapshots.pop_back_if(unread) {
            inner.bytes -= unread.bytes();
        }
        // The same feed made twice in a millisecond is one.
        if kept.snapshots.iter().all(|known| known.id != snapshot.id) {
            inner.bytes += snapshot.bytes();
            kept.snapshots.push_back(Arc::clone(&snapshot));
        }
        if kept.snapshots.len() > PER_USER_MAX {
            inner.bytes -= kept.drop_one(&snapshot).map_or(0, |old| old.bytes());
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
                let versions = Versions::of(&state, number(&state, key.0));
                let last = part.inner.lock().kept.get(&key).and_then(|kept| kept.newest().cloned());
                if last.is_none_or(|last| age(&last, key.0, last.versions != versions, now_ms) == Age::Fresh) {
                    continue;
                }
                let making = Making { relaxed: self.relaxed_spacing, ..Making::strict(now_ms, trending) };
                self.make(&state, key, &making, None);
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
                let ttl_ms = kept.snapshots.iter().map(|known| known.ttl_ms).max().unwrap_or(0);
                let keep = lately(now_ms, kept.read_ms, ACTIVE_MS + ttl_ms);
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

/// Whether it was within this time; not what is ahead of the clock, which was set back since.
fn lately(now_ms: i64, at_ms: i64, within_ms: i64) -> bool {
    now_ms.abs_diff(at_ms) < within_ms as u64
}

impl<'a> Making<'a> {
    fn of(ask: &Ask<'a>) -> Making<'a> {
        Making { now_ms: ask.now_ms, trending: ask.trending, relaxed: false, shown: ask.shown, late: ask.late }
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
        let readers = self.kept.iter().filter(|(_, kept)| lately(now_ms, kept.read_ms, ACTIVE_MS));
        let others: Vec<Key> = readers.map(|(key, _)| *key).filter(|key| !keys.contains(key)).collect();
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

#[cfg(test)]
mod tests;
