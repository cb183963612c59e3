//! The snapshots that nova keeps in memory. Both the number of snapshots for each user and the memory of all snapshots
//! are limited.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::feed::cursor::Cursor;

use super::ask::Algorithm;
use super::moment::Snapshot;

/// The maximum number of bytes of all snapshots. When a part of the users exceeds its share of the memory for
/// snapshots, nova removes the snapshots of the feed that was read the longest time ago.
pub const SNAPSHOTS_MAX_BYTES: usize = 128 << 20;
/// The maximum number of snapshots of one user and algorithm. nova keeps several snapshots of a feed, because readers
/// may still turn the pages of older snapshots.
pub const PER_USER_MAX: usize = 8;
/// The number of a feed's newest snapshots that stay even if their second page was never read, because a reader may
/// still turn the page.
const RECENT: usize = 3;
/// The maximum number of feeds that wait for a new snapshot in one part of the users.
const DUE_MAX: usize = 256;
/// nova makes snapshots in advance for users who have read a feed within this time.
pub(super) const ACTIVE_MS: i64 = 10 * 60_000;
/// The number of parts into which users are divided. Each part of the users has two locks: one for the snapshots, and
/// one that a thread holds while it makes a snapshot.
pub(super) const PARTS: usize = 64;

/// The user and the order of a feed.
pub(super) type Key = (Id, Algorithm);

#[derive(Debug, Default)]
struct Kept {
    /// The snapshots of the feed, oldest first.
    snapshots: VecDeque<Arc<Snapshot>>,
    /// The time at which a page was last requested, in epoch milliseconds.
    read_ms: i64,
}

impl Kept {
    /// Returns the snapshot from which first pages come.
    fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.iter().rev().find(|known| known.continues.is_none())
    }

    /// Returns the snapshot of a cursor, or the snapshot that continues the cursor's snapshot.
    fn at(&self, cursor: Cursor) -> Option<&Arc<Snapshot>> {
        let own = self.snapshots.iter().find(|known| known.id == cursor.snapshot);
        own.or_else(|| self.snapshots.iter().find(|known| known.continues == Some(cursor)))
    }

    /// Drops one snapshot, so that the number of snapshots stays within its limit. The snapshot to drop is preferably
    /// one that is not among the newest and whose second page was never read. If no snapshot fits this choice,
    /// `drop_one` drops the snapshot that was used the longest time ago. `drop_one` never drops the snapshot of first
    /// pages or the new snapshot `made`.
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

/// The snapshots of one part of the users.
#[derive(Debug, Default)]
pub(super) struct Inner {
    kept: FxHashMap<Key, Kept>,
    bytes: usize,
    /// The feeds that wait for a new snapshot, each feed once.
    due: VecDeque<Key>,
}

/// A part of the users, which has its own locks.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The lock that a thread holds while it makes a snapshot. If another thread already makes the snapshot that a
    /// thread wants, the thread waits for the lock and then finds the snapshot.
    pub(super) flight: Mutex<()>,
    pub(super) inner: Mutex<Inner>,
}

/// Whether a time is less than `within_ms` before or after now. A time that is far ahead of the clock does not count as
/// recent. A time may be ahead of the clock because the clock was set back.
fn lately(now_ms: i64, at_ms: i64, within_ms: i64) -> bool {
    now_ms.abs_diff(at_ms) < within_ms as u64
}

impl Inner {
    /// Returns the snapshot of a cursor, or the snapshot of first pages if there is no cursor. `read` also notes when
    /// the feed was read.
    pub(super) fn read(&mut self, key: &Key, cursor: Option<Cursor>, now_ms: i64) -> Option<Arc<Snapshot>> {
        let kept = self.kept.get_mut(key)?;
        kept.read_ms = now_ms;
        let found = match cursor {
            Some(cursor) => kept.at(cursor),
            None => kept.newest(),
        };
        found.cloned()
    }

    /// Returns the snapshot from which first pages come.
    pub(super) fn newest(&self, key: &Key) -> Option<Arc<Snapshot>> {
        self.kept.get(key).and_then(|kept| kept.newest().cloned())
    }

    /// Adds a new snapshot.
    pub(super) fn add(&mut self, key: Key, snapshot: &Arc<Snapshot>) {
        let kept = self.kept.entry(key).or_default();
        if kept.snapshots.is_empty() {
            kept.read_ms = snapshot.as_of_ms;
        }
        // If nobody read the newest snapshot, nova removes it first, because a reader may still turn the pages of any
        // older snapshot.
        if let Some(unread) = kept.snapshots.pop_back_if(|last| last.used() == 0) {
            self.bytes -= unread.bytes();
        }
        // Two feeds of a user that were made in one millisecond give equal snapshots, so nova keeps one snapshot.
        if kept.snapshots.iter().all(|known| known.id != snapshot.id) {
            self.bytes += snapshot.bytes();
            kept.snapshots.push_back(Arc::clone(snapshot));
        }
        if kept.snapshots.len() > PER_USER_MAX {
            self.bytes -= kept.drop_one(snapshot).map_or(0, |old| old.bytes());
        }
        self.make_room(key);
    }

    /// Removes the snapshots that no reader can need any more. Returns the number of feeds whose snapshots were
    /// removed.
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

    /// Returns the number of bytes of all snapshots in this part of the users.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Asks the background job for a new snapshot of a feed.
    pub(super) fn want(&mut self, key: Key) {
        if self.due.len() < DUE_MAX && !self.due.contains(&key) {
            self.due.push_back(key);
        }
    }

    /// Returns the feeds that wait for a new snapshot, and then the feeds that were read recently.
    pub(super) fn active(&mut self, now_ms: i64) -> Vec<Key> {
        let mut keys: Vec<Key> = self.due.drain(..).collect();
        let readers = self.kept.iter().filter(|(_, kept)| lately(now_ms, kept.read_ms, ACTIVE_MS));
        let others: Vec<Key> = readers.map(|(key, _)| *key).filter(|key| !keys.contains(key)).collect();
        keys.extend(others);
        keys
    }

    /// Removes the snapshots of a user in one order.
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
