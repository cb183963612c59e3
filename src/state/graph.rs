//! Keeps the follows between users, in both directions. Two rows of the same pair of users are one follow, which lasts
//! until both rows are deleted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;

use super::blocks::Blocks;
use super::chunks::{ALLOCATED_BYTES, Chunks};
use super::dense::UserNo;
use super::packed::{Entry, Packed};
use super::threads::start_threads;

/// The number of users in one chunk.
pub(super) const USERS: usize = 64;
/// The number of users whose lists of followers one thread makes at once. With 50 followers for each user, the lists
/// that one thread makes at once fit into the processor's cache.
const STRETCH_USERS: usize = 1 << 14;
/// The number of bytes for each row of a pair except the pair's first row.
const MORE_BYTES: usize = size_of::<((UserNo, UserNo), Vec<i64>)>() * 3 / 2 + ALLOCATED_BYTES;

/// One followee of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followee {
    pub user: UserNo,
    /// The time of the latest row of the pair, epoch microseconds.
    pub since_us: i64,
}

/// The followees of the users of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) lists: [Blocks<Packed<true>>; USERS],
    /// The version of each user's set of followees. Each change of the set raises its version.
    pub(super) versions: [u32; USERS],
    /// The sorted times of all rows of a pair except the pair's first row. Pairs with more than one row are rare.
    pub(super) more: BTreeMap<(UserNo, UserNo), Vec<i64>>,
}

impl Default for Following {
    fn default() -> Following {
        let lists = std::array::from_fn(|_| Blocks::default());
        Following { lists, versions: [0; USERS], more: BTreeMap::new() }
    }
}

/// The followers of the users of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Followers {
    pub(super) lists: [Blocks<Packed<false>>; USERS],
}

impl Default for Followers {
    fn default() -> Followers {
        Followers { lists: std::array::from_fn(|_| Blocks::default()) }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(super) following: Chunks<Following>,
    pub(super) followers: Chunks<Followers>,
    /// The number of pairs of a user and a followee.
    pub(super) follows: usize,
}

/// Pairs of a followee and a follower. The followers of each followee are in rising order.
type Pairs = Vec<(u32, u32)>;

/// The buffers of one thread that makes lists of followers. Each thread keeps its buffers from one stretch of users to
/// the next, because the kernel clears the pages of a new buffer, and clearing a page takes longer than filling it.
#[derive(Default)]
struct Buffers {
    /// The positions in `all` at which the followers of each user end.
    ends: Vec<usize>,
    /// The followers of all users of the stretch, in the order of the users.
    all: Vec<Entry>,
}

impl Buffers {
    /// Makes the list of followers of each user in one stretch. The followers in a part are above the followers in the
    /// parts before it.
    fn followers_of(&mut self, parts: &[Vec<Pairs>], stretch: usize) -> Vec<Arc<Followers>> {
        let pairs = || parts.iter().flat_map(|part| &part[stretch]);
        let user = |to: u32| to as usize % STRETCH_USERS;
        let Buffers { ends, all } = self;
        // Before the followers are written, `ends` has the position at which the followers of each user begin.
        ends.clear();
        ends.resize(STRETCH_USERS + 1, 0);
        pairs().for_each(|(to, _)| ends[user(*to) + 1] += 1);
        (1..ends.len()).for_each(|user| ends[user] += ends[user - 1]);
        all.resize(ends[STRETCH_USERS], (0, 0));
        for (to, from) in pairs() {
            all[ends[user(*to)]].0 = *from;
            ends[user(*to)] += 1;
        }
        let mut start = 0;
        let mut chunks = Vec::with_capacity(STRETCH_USERS / USERS);
        for ends in ends[..STRETCH_USERS].chunks(USERS) {
            let mut followers = Followers::default();
            for (list, end) in followers.lists.iter_mut().zip(ends) {
                *list = Blocks::packed(&all[start..*end]);
                start = *end;
            }
            chunks.push(Arc::new(followers));
        }
        chunks
    }
}

/// Returns the chunk of a user, and the user's index in the chunk.
pub(super) fn place(user: UserNo) -> (usize, usize) {
    (user.index() / USERS, user.index() % USERS)
}

impl Graph {
    pub(super) fn grow(&mut self, users: usize) {
        self.following.grow(users.div_ceil(USERS));
        self.followers.grow(users.div_ceil(USERS));
    }

    pub(super) fn follow(&mut self, from: UserNo, to: UserNo, since_us: i64) {
        let (chunk, at) = place(from);
        let number = to.get();
        let following = self.following.change(chunk);
        if following.lists[at].change(number, |block| block.insert(number, since_us)) {
            following.versions[at] += 1;
            self.follows += 1;
            let (chunk, at) = place(to);
            self.followers.change(chunk).lists[at].change(from.get(), |block| block.insert(from.get(), 0));
            return;
        }
        let known_us = following.lists[at].time(number).unwrap_or(since_us);
        let times = following.more.entry((from, to)).or_default();
        times.push(known_us.min(since_us));
        times.sort_unstable();
        if since_us > known_us {
            following.lists[at].change(number, |block| block.set_time(number, since_us));
        }
    }

    pub(super) fn unfollow(&mut self, from: UserNo, to: UserNo, since_us: i64) {
        if !self.follows(from, to) {
            return;
        }
        let number = to.get();
        let (chunk, at) = place(from);
        let following = self.following.change(chunk);
        if let Some(times) = following.more.get_mut(&(from, to)) {
            match times.iter().position(|time| *time == since_us) {
                Some(other) => drop(times.remove(other)),
                // The latest row of the pair is deleted, so the latest of the pair's remaining rows becomes the first
                // row.
                None => {
                    if let Some(latest_us) = times.pop() {
                        following.lists[at].change(number, |block| block.set_time(number, latest_us));
                    }
                }
            }
            if times.is_empty() {
                following.more.remove(&(from, to));
            }
            return;
        }
        following.lists[at].change(number, |block| block.remove(number));
        following.versions[at] += 1;
        self.follows -= 1;
        let (chunk, at) = place(to);
        self.followers.change(chunk).lists[at].change(from.get(), |block| block.remove(from.get()));
    }

    /// Makes the lists of followers and the number of pairs from the lists of followees, on every core. First the threads
    /// divide the pairs by stretches of followees, and then they make the lists of one stretch after the other. If the
    /// threads wrote each follower at once to its place among all pairs, nearly each of these writes would wait for
    /// memory.
    pub(super) fn invert(&mut self, users: usize) {
        let threads = start_threads();
        let share = self.following.len().div_ceil(threads).max(1);
        let stretches = users.div_ceil(STRETCH_USERS);
        let (graph, next) = (&*self, AtomicUsize::new(0));
        let parts: Vec<Vec<Pairs>> = scope(|scope| {
            let part =
                |thread: usize| scope.spawn(move || graph.pairs(thread * share..(thread + 1) * share, stretches));
            let running: Vec<_> = (0..threads).map(part).collect();
            running.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let (parts, next) = (&parts, &next);
        let made: Vec<(usize, Vec<Arc<Followers>>)> = scope(|scope| {
            let lists = || {
                let mut buffers = Buffers::default();
                let stretch = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|stretch| *stretch < stretches);
                std::iter::from_fn(stretch).map(|stretch| (stretch, buffers.followers_of(parts, stretch))).collect()
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(lists)).collect();
            let joined = running.into_iter().map(|made| made.join().unwrap_or_else(|panic| resume_unwind(panic)));
            joined.flat_map(|made: Vec<_>| made).collect()
        });
        for (stretch, chunks) in made {
            let first = stretch * (STRETCH_USERS / USERS);
            let chunks = chunks.into_iter().take(users.div_ceil(USERS) - first);
            (first..).zip(chunks).for_each(|(chunk, followers)| self.followers.put(chunk, followers));
        }
        self.follows = parts.iter().flatten().map(Vec::len).sum();
    }

    /// Returns the pairs of some chunks of [`Graph::following`], divided by stretches of followees.
    fn pairs(&self, chunks: Range<usize>, stretches: usize) -> Vec<Pairs> {
        let chunks = || chunks.clone().filter_map(|chunk| self.following.get(chunk).zip(Some(chunk * USERS)));
        let lists = || chunks().flat_map(|(following, first)| following.lists.iter().zip(first as u32..));
        let mut counts = vec![0; stretches];
        lists().flat_map(|(list, _)| list.untimed()).for_each(|(to, _)| counts[to as usize / STRETCH_USERS] += 1);
        let mut pairs: Vec<Pairs> = counts.into_iter().map(Vec::with_capacity).collect();
        for (list, from) in lists() {
            list.untimed().for_each(|(to, _)| pairs[to as usize / STRETCH_USERS].push((to, from)));
        }
        pairs
    }

    /// The number of pairs of a user and a followee.
    pub fn follows_len(&self) -> usize {
        self.follows
    }

    fn list(&self, user: UserNo) -> Option<&Blocks<Packed<true>>> {
        let (chunk, at) = place(user);
        Some(&self.following.get(chunk)?.lists[at])
    }

    /// Returns the user's followees, sorted by their numbers.
    pub fn followees(&self, user: UserNo) -> impl Iterator<Item = Followee> {
        let list = self.list(user).into_iter().flat_map(Blocks::numbers);
        list.map(|(user, since_us)| Followee { user: UserNo::of(user), since_us })
    }

    /// The number of the user's followees.
    pub fn followees_len(&self, user: UserNo) -> usize {
        self.list(user).map_or(0, Blocks::len)
    }

    pub fn follows(&self, from: UserNo, to: UserNo) -> bool {
        self.list(from).is_some_and(|list| list.contains(to.get()))
    }

    fn fans(&self, user: UserNo) -> Option<&Blocks<Packed<false>>> {
        let (chunk, at) = place(user);
        Some(&self.followers.get(chunk)?.lists[at])
    }

    /// Returns the user's followers, sorted by their numbers.
    pub fn followers(&self, user: UserNo) -> impl Iterator<Item = UserNo> {
        self.fans(user).into_iter().flat_map(Blocks::numbers).map(|(user, _)| UserNo::of(user))
    }

    /// The number of the user's followers.
    pub fn followers_len(&self, user: UserNo) -> usize {
        self.fans(user).map_or(0, Blocks::len)
    }

    /// Returns a number that changes when the user's set of followees changes.
    pub fn version(&self, user: UserNo) -> u32 {
        let (chunk, at) = place(user);
        self.following.get(chunk).map_or(0, |following| following.versions[at])
    }

    pub fn mem_bytes(&self) -> usize {
        let following = |chunk: &Following| {
            chunk.lists.iter().map(Blocks::mem_bytes).sum::<usize>()
                + chunk.more.values().map(|times| MORE_BYTES + times.capacity() * size_of::<i64>()).sum::<usize>()
        };
        let followers = |chunk: &Followers| chunk.lists.iter().map(Blocks::mem_bytes).sum::<usize>();
        self.following.iter().map(following).sum::<usize>()
            + self.followers.iter().map(followers).sum::<usize>()
            + self.following.mem_bytes()
            + self.followers.mem_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_followers_are_the_same_however_they_were_made() {
        let users = 2 * STRETCH_USERS + 100;
        let user = |number: usize| UserNo::of(number as u32);
        let mut graph = Graph::default();
        graph.grow(users);
        for from in (0..users).step_by(3) {
            for more in 1..5 {
                graph.follow(user(from), user((from * 31 + more * (STRETCH_USERS - 7)) % users), 1);
            }
            graph.follow(user(from), user(users - 1), 1);
        }
        let mut again = Graph { following: graph.following.clone(), ..Graph::default() };
        again.grow(users);
        again.invert(users);
        assert_eq!(again.follows_len(), graph.follows_len());
        assert!((0..users).all(|number| again.followers(user(number)).eq(graph.followers(user(number)))));
    }
}
