//! Immutable feeds of users, and pages of them. A page is a stretch of one snapshot, so pages never repeat a post and
//! never leave one out (N10); whatever may not be shown any more is left out when a page is read (N11).

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHasher};

use crate::event::Id;
use crate::state::State;

use super::candidates::trending_posts;
use super::cursor::Cursor;
use super::rank::{self, Ranked};

/// Users whose snapshots are kept; the one whose first snapshot is oldest makes room.
pub const USERS_MAX: usize = 20_000;
/// Snapshots of one user and algorithm: readers may be in an older one.
pub const PER_USER_MAX: usize = 3;
/// A snapshot is made anew after this at the latest.
pub const TTL_MS: i64 = 120_000;
/// The posts of trending 24 h are taken from a list at most this old.
const TRENDING_TTL_MS: i64 = 1_000;

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
    pub posts: Vec<Ranked>,
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
}

type Kept = FxHashMap<(Id, Algorithm), VecDeque<Arc<Snapshot>>>;

#[derive(Default)]
struct Inner {
    kept: Kept,
    /// Keys by the age of their first snapshot.
    order: VecDeque<(Id, Algorithm)>,
    trending: Option<(i64, Arc<Vec<u32>>)>,
}

/// See the module.
#[derive(Default)]
pub struct Snapshots {
    inner: Mutex<Inner>,
}

impl Snapshots {
    /// The page of a user at a cursor, or the first one.
    pub fn page(
        &self,
        state: &State,
        user: Id,
        algorithm: Algorithm,
        cursor: Option<Cursor>,
        limit: usize,
        now_ms: i64,
    ) -> Page {
        let number = state.users.number(user).unwrap_or(u32::MAX);
        let versions = versions(state, number);
        let key = (user, algorithm);
        let kept = self.inner.lock().kept.get(&key).cloned().unwrap_or_default();
        let fresh = |snapshot: &&Arc<Snapshot>| {
            // Jitter by user, so that those who came together do not come back together.
            let ttl_ms = TTL_MS * 9 / 10 + (user.as_u128() % (TTL_MS as u128 / 5)) as i64;
            snapshot.versions == versions && (0..ttl_ms).contains(&(now_ms - snapshot.as_of_ms))
        };
        let found = match cursor {
            Some(cursor) => kept.iter().find(|snapshot| snapshot.id == cursor.snapshot),
            None => kept.back().filter(fresh),
        };
        let (cache_hit, rebuilt) = (found.is_some(), found.is_none() && cursor.is_some());
        let snapshot = match found {
            Some(snapshot) => Arc::clone(snapshot),
            None => self.make(state, key, number, versions, now_ms),
        };
        let start = cursor.map_or(0, |cursor| cursor.position as usize);
        let mut places: Vec<usize> = (start..snapshot.posts.len())
            .filter(|place| shown(state, number, &snapshot.posts[*place]))
            .take(limit + 1)
            .collect();
        let more = places.len() > limit;
        places.truncate(limit);
        let next = places.last().map_or(start, |place| place + 1) as u32;
        let cursor = more.then_some(Cursor { algorithm: algorithm as u8, snapshot: snapshot.id, position: next });
        let newer = snapshot.versions != versions;
        Page { snapshot, places, cursor, cache_hit, newer, rebuilt }
    }

    fn make(&self, state: &State, key: (Id, Algorithm), number: u32, versions: u64, now_ms: i64) -> Arc<Snapshot> {
        let posts = match key.1 {
            Algorithm::Ranked => rank::feed(state, number, now_ms, &self.trending(state, now_ms)),
            Algorithm::Time => rank::by_time(state, number, now_ms),
        };
        let mut hasher = FxHasher::default();
        hasher.write_i64(now_ms);
        posts.iter().for_each(|post| hasher.write(&post.post.0));
        let snapshot = Arc::new(Snapshot { id: hasher.finish(), as_of_ms: now_ms, versions, posts });
        let mut inner = self.inner.lock();
        if !inner.kept.contains_key(&key) {
            inner.order.push_back(key);
            if inner.order.len() > USERS_MAX
                && let Some(oldest) = inner.order.pop_front()
            {
                inner.kept.remove(&oldest);
            }
        }
        let list = inner.kept.entry(key).or_default();
        list.push_back(Arc::clone(&snapshot));
        if list.len() > PER_USER_MAX {
            list.pop_front();
        }
        snapshot
    }

    fn trending(&self, state: &State, now_ms: i64) -> Arc<Vec<u32>> {
        let known = self.inner.lock().trending.clone();
        match known {
            Some((at_ms, posts)) if (0..TRENDING_TTL_MS).contains(&(now_ms - at_ms)) => posts,
            _ => {
                let posts = Arc::new(trending_posts(state, now_ms));
                self.inner.lock().trending = Some((now_ms, Arc::clone(&posts)));
                posts
            }
        }
    }

    /// Forgets a user's snapshots.
    pub fn invalidate(&self, user: Id) {
        let mut inner = self.inner.lock();
        for algorithm in [Algorithm::Ranked, Algorithm::Time] {
            if let Some(list) = inner.kept.get_mut(&(user, algorithm)) {
                list.clear();
            }
        }
    }
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

/// Whether a post of a snapshot may still be shown: visible, and not there only because of a follow that is gone.
fn shown(state: &State, user: u32, post: &Ranked) -> bool {
    let Some(number) = state.post_ids.number(post.post) else { return false };
    let only_followed = post.sources.followed && !post.sources.trending && !post.sources.affinity;
    let followed = || state.posts.author(number).is_some_and(|author| state.graph.follows(user, author));
    state.visible(number) && (!only_followed || followed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Effect, Facts};
    use crate::state::StateSettings;
    use proptest::prelude::*;

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

    fn world() -> State {
        let mut state = State::new(StateSettings::default());
        for n in 1..40 {
            put(&mut state, id(3, n), None, Some(follow(n)));
            put(&mut state, id(2, n), None, Some(post(n, n)));
            put(&mut state, id(2, n + 100), None, Some(post(n, n + 50)));
        }
        state
    }

    proptest! {
        /// N10: whatever is written between pages, they repeat nothing and leave out nothing that may be shown.
        #[test]
        fn n10_pages_concatenate_to_the_snapshot_under_any_writes(
            limit in 1usize..12,
            writes in proptest::collection::vec((0u8..3, 1u64..40), 0..40),
        ) {
            let (mut state, snapshots) = (world(), Snapshots::default());
            let (mut writes, mut unfollowed) = (writes.into_iter(), Vec::new());
            let first = snapshots.page(&state, id(1, 0), Algorithm::Ranked, None, limit, NOW_MS);
            let whole: Vec<Id> = first.snapshot.posts.iter().map(|post| post.post).collect();
            let (mut page, mut seen, mut gone) = (first, Vec::new(), Vec::new());
            loop {
                let ids: Vec<Id> = page.places.iter().map(|place| page.snapshot.posts[*place].post).collect();
                prop_assert!(ids.iter().all(|id| !gone.contains(id)), "N11: shown after it was gone");
                seen.extend(ids);
                let Some(cursor) = page.cursor else { break };
                for (kind, n) in writes.by_ref().take(5) {
                    match kind {
                        0 => put(&mut state, id(2, 1_000 + n), None, Some(post(n, 0))),
                        1 if !gone.contains(&id(2, n)) => {
                            put(&mut state, id(2, n), Some(post(n, n)), None);
                            gone.push(id(2, n));
                        }
                        2 if !unfollowed.contains(&n) => {
                            put(&mut state, id(3, n), Some(follow(n)), None);
                            unfollowed.push(n);
                            gone.extend([id(2, n), id(2, n + 100)]);
                        }
                        _ => {}
                    }
                }
                page = snapshots.page(&state, id(1, 0), Algorithm::Ranked, Some(cursor), limit, NOW_MS + 5_000);
                prop_assert!(!page.rebuilt && page.cache_hit);
            }
            let expected: Vec<Id> =
                whole.into_iter().filter(|id| seen.contains(id) || !gone.contains(id)).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn n11_an_unfollow_or_a_new_post_is_seen_at_the_next_first_page() {
        let (mut state, snapshots) = (world(), Snapshots::default());
        let page = |state: &State, at_ms| {
            let page = snapshots.page(state, id(1, 0), Algorithm::Time, None, 100, at_ms);
            let ids: Vec<Id> = page.places.iter().map(|place| page.snapshot.posts[*place].post).collect();
            (page.cache_hit, ids)
        };
        assert!(!page(&state, NOW_MS).0);
        assert!(page(&state, NOW_MS + 1).0);
        put(&mut state, id(3, 5), Some(follow(5)), None);
        let (hit, ids) = page(&state, NOW_MS + 2);
        assert!(!hit && !ids.contains(&id(2, 5)));
        put(&mut state, id(2, 2_000), None, Some(post(6, 0)));
        let (hit, ids) = page(&state, NOW_MS + 3);
        assert!(!hit && ids[0] == id(2, 2_000));
        assert!(!page(&state, NOW_MS + 2 * TTL_MS).0, "a snapshot does not live for ever");
    }

    #[test]
    fn a_cursor_whose_snapshot_is_gone_goes_on_in_a_new_one_and_says_so() {
        let (state, snapshots) = (world(), Snapshots::default());
        let first = snapshots.page(&state, id(1, 0), Algorithm::Ranked, None, 10, NOW_MS);
        let restarted = Snapshots::default();
        let next = restarted.page(&state, id(1, 0), Algorithm::Ranked, first.cursor, 10, NOW_MS + 1);
        assert!(next.rebuilt && next.places.first() == Some(&10));
    }
}
