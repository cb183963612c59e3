//! The snapshots that are kept. Each user's number of snapshots and the memory of all are limited.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::feed::cursor::Cursor;

use super::ask::Algorithm;
use super::moment::Snapshot;

/// The limit for the memory of all snapshots. In each part of the users, the user who has not read for the longest time
/// makes room.
pub const SNAPSHOTS_MAX_BYTES: usize = 128 << 20;
/// The most snapshots of one user and algorithm. There are several, because readers may still be in older ones.
pub const PER_USER_MAX: usize = 8;
/// The number of a reader's newest snapshots that are kept although no later page was read, because the reader may
/// still turn the page.
const RECENT: usize = 3;
/// The most users of one part whose snapshots wait to be made again.
const DUE_MAX: usize = 256;
/// Users who read within this time get snapshots in advance.
pub(super) const ACTIVE_MS: i64 = 10 * 60_000;
/// The number of parts into which users are divided. Each part has a lock for its snapshots, and a lock for making
/// them.
pub(super) const PARTS: usize = 64;

/// The user of a feed, and its order.
pub(super) type Key = (Id, Algorithm);

#[derive(Debug, Default)]
struct Kept {
    /// The snapshots, oldest first.
    snapshots: VecDeque<Arc<Snapshot>>,
    /// When a page was last requested, epoch milliseconds.
    read_ms: i64,
}

impl Kept {
    /// The snapshot that gives first pages.
    fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().rev().find(|known| known.continues.is_none())
    }

    /// The snapshot of a cursor, or the snapshot that continues it.
    fn at(&self, cursor: Cursor) -> Option<&Arc<Snapshot>> {
        let own = self.snapshots.iter().find(|known| known.id == cursor.snapshot);
        own.or_else(|| self.snapshots.iter().find(|known| known.continues == Some(cursor)))
    }

    /// Makes room by dropping one snapshot: first one in which nobody turns pages and at which nobody has just looked,
    /// then the one that was used the longest time ago. The snapshot of first pages and the new snapshot `made` stay.
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
    /// Snapshots to make again, each once.
    due: VecDeque<Key>,
}

/// A part of the users, who share locks.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The lock that is held while a snapshot is made. Another reader who wants the same snapshot waits and then finds
    /// it.
    pub(super) flight: Mutex<()>,
    pub(super) inner: Mutex<Inner>,
}

/// Whether a time is within the last `within_ms`. A time ahead of the clock, which was set back since, is not.
fn lately(now_ms: i64, at_ms: i64, within_ms: i64) -> bool {
    now_ms.abs_diff(at_ms) < within_ms as u64
}

impl Inner {
    /// The snapshot of a cursor, or the snapshot of first pages. The snapshot's use is noted.
    pub(super) fn read(&mut self, key: &Key, cursor: Option<Cursor>, now_ms: i64) -> Option<Arc<Snapshot>> {
        let kept = self.kept.get_mut(key)?;
        kept.read_ms = now_ms;
        let found = match cursor {
            Some(cursor) => kept.at(cursor),
            None => kept.newest(),
        };
        found.cloned()
    }

    /// The snapshot that gives first pages.
    pub(super) fn newest(&self, key: &Key) -> Option<Arc<Snapshot>> {
        self.kept.get(key).and_then(|kept| kept.newest().cloned())
    }

    /// Adds a snapshot that has just been made.
    pub(super) fn add(&mut self, key: Key, snapshot: &Arc<Snapshot>) {
        let kept = self.kept.entry(key).or_default();
        if kept.snapshots.is_empty() {
            kept.read_ms = snapshot.as_of_ms;
        }
        // A snapshot that nobody read makes room first, because a reader may be in any of the others.
        if let Some(unread) = kept.snapshots.pop_back_if(|last| last.used() == 0) {
            self.bytes -= unread.bytes();
        }
        // If the same feed was made twice in a millisecond, it is one snapshot.
        if kept.snapshots.iter().all(|known| known.id != snapshot.id) {
            self.bytes += snapshot.bytes();
            kept.snapshots.push_back(Arc::clone(snapshot));
        }
        if kept.snapshots.len() > PER_USER_MAX {
            self.bytes -= kept.drop_one(snapshot).map_or(0, |old| old.bytes());
        }
        self.make_room(key);
    }

    /// Forgets snapshots that no reader can need any more. Returns for how many users.
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

    /// Bytes of all these snapshots.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Asks the background job to make a snapshot again.
    pub(super) fn want(&mut self, key: Key) {
        if self.due.len() < DUE_MAX && !self.due.contains(&key) {
            self.due.push_back(key);
        }
    }

    /// The users who wait for a new snapshot, and then the users who read recently.
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
