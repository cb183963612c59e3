//! Immutable feeds of users, and their pages. A page is a part of one snapshot, so pages never repeat a post and never
//! leave one out (N10). nova checks again when a page is read whether each post may still be shown (N11). If the
//! snapshot of a cursor no longer exists, a new snapshot continues it with posts that the reader was not shown.
//!
//! Only one thread at a time computes a user's snapshot (single flight). If a snapshot is too old but its inputs did
//! not change, nova serves the snapshot for a while and makes a new snapshot in the background.

mod age;
mod ask;
mod cut;
mod kept;
mod moment;
mod versions;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;

use crate::event::Id;
use crate::state::{PostNo, State};

use super::cursor::Cursor;
use super::rank::{self, Making};
use super::served::Served;

use self::age::{Age, age};
use self::kept::{Key, PARTS, Part};
use self::moment::number;

pub use self::ask::{Algorithm, Ask};
pub use self::cut::Cut;
pub use self::kept::{PER_USER_MAX, SNAPSHOTS_MAX_BYTES};
pub use self::moment::Snapshot;
pub use self::versions::Versions;

/// One page.
#[derive(Debug)]
pub struct Page {
    pub snapshot: Arc<Snapshot>,
    pub cut: Arc<Cut>,
    pub cache_hit: bool,
    /// Whether the page is from another snapshot than the cursor's, because the cursor's snapshot no longer exists.
    pub rebuilt: bool,
    /// Whether the caller should have [`Snapshots::refresh`] make a new snapshot in the background.
    pub due: bool,
}

/// The snapshots of all users' feeds.
pub struct Snapshots {
    parts: Vec<Part>,
    /// Whether a feed fills places that no post fits (see [`Making::relaxed`]).
    relaxed_spacing: bool,
    /// The number of pages that were returned.
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

    /// Whether feeds fill places that no post fits, against the rules of spacing.
    pub fn relaxed_spacing(&self) -> bool {
        self.relaxed_spacing
    }

    /// Returns an empty set of snapshots with the settings of this set.
    pub fn fresh(&self) -> Snapshots {
        Snapshots::new(self.relaxed_spacing)
    }

    fn page_number(&self) -> u64 {
        self.pages.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn part(&self, user: Id) -> &Part {
        // Ids that were not drawn at random may have few different last bytes.
        &self.parts[(FxBuildHasher.hash_one(user) >> 32) as usize % PARTS]
    }

    /// Returns the page of a user at a cursor, or the first page if the request has no cursor. The caller of `page`
    /// must not hold a lock of the state.
    pub fn page(&self, state: &RwLock<State>, ask: &Ask<'_>) -> Page {
        if let Some(page) = self.known(&state.read(), ask) {
            return page;
        }
        let part = self.part(ask.user);
        // While this thread waits, it holds no lock of the state. The thread that makes the snapshot may need a lock of
        // the state, and a writer may already wait for a lock of the state.
        let _flight = part.flight.lock();
        let state = state.read();
        // The previous holder of the `flight` lock may have made the snapshot.
        if let Some(page) = self.known(&state, ask) {
            return page;
        }
        let making = Making { relaxed: self.relaxed_spacing, ..Making::of(ask) };
        let snapshot = self.make(&state, (ask.user, ask.algorithm), &making, ask.cursor);
        let cut = snapshot.cut_for(&state, ask);
        snapshot.was_read(self.page_number(), ask);
        Page { snapshot, cut, cache_hit: false, rebuilt: ask.cursor.is_some(), due: false }
    }

    /// Returns the requested page if its snapshot exists and is not too old.
    fn known(&self, state: &State, ask: &Ask<'_>) -> Option<Page> {
        let key = (ask.user, ask.algorithm);
        let part = self.part(ask.user);
        let snapshot = part.inner.lock().read(&key, ask.cursor, ask.now_ms)?;
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
        let snapshot = Arc::new(Snapshot::new(state, number, feed, making, continues));
        self.part(key.0).inner.lock().add(key, &snapshot);
        snapshot
    }

    /// Makes the snapshots that are due, and new snapshots for users who read recently and whose feed changed. Makes at
    /// most one snapshot for each feed, and at most `limit` snapshots in one call. Returns how many snapshots were
    /// made. A background job calls `refresh`.
    pub fn refresh(&self, state: &RwLock<State>, trending: &[PostNo], now_ms: i64, limit: usize) -> usize {
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
                let last = part.inner.lock().newest(&key);
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

    /// Removes the snapshots that no reader can need any more. Returns the number of feeds whose snapshots were
    /// removed.
    pub fn sweep(&self, now_ms: i64) -> usize {
        self.parts.iter().map(|part| part.inner.lock().sweep(now_ms)).sum()
    }

    /// Removes a user's snapshots.
    pub fn invalidate(&self, user: Id) {
        let mut inner = self.part(user).inner.lock();
        for algorithm in [Algorithm::Ranked, Algorithm::Time] {
            inner.forget(&(user, algorithm));
        }
    }

    pub fn mem_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.inner.lock().bytes()).sum()
    }
}

impl<'a> Making<'a> {
    fn of(ask: &Ask<'a>) -> Making<'a> {
        Making { now_ms: ask.now_ms, trending: ask.trending, relaxed: false, shown: ask.shown, late: ask.late }
    }
}

#[cfg(test)]
mod tests;
