//! The snapshots that are kept, each user's within bounds, and all within their memory.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::feed::cursor::Cursor;

use super::ask::Algorithm;
use super::moment::Snapshot;

/// Memory of all snapshots; in each part of the users the one who was away longest makes room.
pub const SNAPSHOTS_MAX_BYTES: usize = 128 << 20;
/// Snapshots of one user and algorithm: readers are in older ones.
pub const PER_USER_MAX: usize = 8;
/// So many of them stay because somebody has just looked at them, and may turn the page.
const RECENT: usize = 3;
/// Users whose snapshots wait to be made anew, of one part.
const DUE_MAX: usize = 256;
/// Whoever read within this time has snapshots made ahead.
pub(super) const ACTIVE_MS: i64 = 10 * 60_000;
/// Parts of the users: each has a lock for its snapshots, and one for making them.
pub(super) const PARTS: usize = 64;

/// Whose feed, in which order.
pub(super) type Key = (Id, Algorithm);

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
        let mut old: Vec<_> = old.map(|(at, old)| (old.used(), at)).collect();
        old.sort_unstable();
        let unpaged = |(_, at): &&(u64, usize)| !self.snapshots[*at].paged();
        let idle = old.iter().take(old.len().saturating_sub(RECENT)).find(unpaged);
        let (_, at) = idle.or(old.first())?;
        self.snapshots.remove(*at)
    }
}

/// The snapshots of the users of one part.
#[derive(Debug, Default)]
pub(super) struct Inner {
    kept: FxHashMap<Key, Kept>,
    bytes: usize,
    /// To be made anew, each once.
    due: VecDeque<Key>,
}

/// Users who share locks.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Held while a snapshot is made: whoever wants the same waits and finds it.
    pub(super) flight: Mutex<()>,
    pub(super) inner: Mutex<Inner>,
}

/// Whether it was within this time; not what is ahead of the clock, which was set back since.
fn lately(now_ms: i64, at_ms: i64, within_ms: i64) -> bool {
    now_ms.abs_diff(at_ms) < within_ms as u64
}

impl Inner {
    /// The snapshot of a cursor, or the one of first pages; it was asked for now.
    pub(super) fn read(&mut self, key: &Key, cursor: Option<Cursor>, now_ms: i64) -> Option<Arc<Snapshot>> {
        let kept = self.kept.get_mut(key)?;
        kept.read_ms = now_ms;
        let found = match cursor {
            Some(cursor) => kept.at(cursor),
            None => kept.newest(),
        };
        found.cloned()
    }

    /// The snapshot of first pages.
    pub(super) fn newest(&self, key: &Key) -> Option<Arc<Snapshot>> {
        self.kept.get(key).and_then(|kept| kept.newest().cloned())
    }

    /// Takes a snapshot that was made right now.
    pub(super) fn add(&mut self, key: Key, snapshot: &Arc<Snapshot>) {
        let kept = self.kept.entry(key).or_default();
        if kept.snapshots.is_empty() {
            kept.read_ms = snapshot.as_of_ms;
        }
        // One that nobody read makes room first: somebody may be in the others.
        if let Some(unread) = kept.snapshots.pop_back_if(|last| last.used() == 0) {
            self.bytes -= unread.bytes();
        }
        // The same feed made twice in a millisecond is one.
        if kept.snapshots.iter().all(|known| known.id != snapshot.id) {
            self.bytes += snapshot.bytes();
            kept.snapshots.push_back(Arc::clone(snapshot));
        }
        if kept.snapshots.len() > PER_USER_MAX {
            self.bytes -= kept.drop_one(snapshot).map_or(0, |old| old.bytes());
        }
        self.make_room(key);
    }

    /// Forgets what nobody can want any more; returns how many users' snapshots were forgotten.
    pub(super) fn sweep(&mut self, now_ms: i64) -> usize {
        let mut gone = 0;
        self.kept.retain(|_, kept| {
            let ttl_ms = kept.snapshots.iter().map(|known| known.ttl_ms).max().unwrap_or(0);
            let keep = lately(now_ms, kept.read_ms, ACTIVE_MS + ttl_ms);
            if !keep {
                gone += 1;
                self.bytes -= kept.snapshots.iter().map(|old| old.bytes()).sum::<usize>();
            }
            keep
        });
        gone
    }

    /// What all these snapshots take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has a snapshot made anew in the background.
    pub(super) fn want(&mut self, key: Key) {
        if self.due.len() < DUE_MAX && !self.due.contains(&key) {
            self.due.push_back(key);
        }
    }

    /// Who waits for a new snapshot, then who read lately.
    pub(super) fn active(&mut self, now_ms: i64) -> Vec<Key> {
        let mut keys: Vec<Key> = self.due.drain(..).collect();
        let readers = self.kept.iter().filter(|(_, kept)| lately(now_ms, kept.read_ms, ACTIVE_MS));
        let others: Vec<Key> = readers.map(|(key, _)| *key).filter(|key| !keys.contains(key)).collect();
        keys.extend(others);
        keys
    }

    /// Forgets the snapshots of a user in one order.
    pub(super) fn forget(&mut self, key: &Key) {
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
