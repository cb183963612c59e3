//! Who follows whom, both ways. Two rows of one pair are one follow that lasts until both are gone.

use std::collections::BTreeMap;

use super::blocks::Blocks;
use super::chunks::{ALLOCATED_BYTES, Chunks};
use super::packed::Packed;

/// Users of one chunk.
pub(super) const USERS: usize = 64;
/// What one row beyond a pair's first takes.
const MORE_BYTES: usize = size_of::<((u32, u32), Vec<i64>)>() * 3 / 2 + ALLOCATED_BYTES;

/// One followee of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followee {
    pub user: u32,
    /// The latest of the pair's rows, epoch microseconds.
    pub since_us: i64,
}

/// Whom some users follow.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) lists: [Blocks<Packed<true>>; USERS],
    /// Raised with each change of whom the user follows.
    pub(super) versions: [u32; USERS],
    /// Times of the rows beyond the first of a pair, sorted; rare.
    pub(super) more: BTreeMap<(u32, u32), Vec<i64>>,
}

impl Default for Following {
    fn default() -> Following {
        let lists = std::array::from_fn(|_| Blocks::default());
        Following { lists, versions: [0; USERS], more: BTreeMap::new() }
    }
}

/// Who follows some users.
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
    /// Pairs in all.
    pub(super) follows: usize,
}

/// Which chunk a user is in, and where.
pub(super) fn place(user: u32) -> (usize, usize) {
    (user as usize / USERS, user as usize % USERS)
}

impl Graph {
    pub(super) fn grow(&mut self, users: usize) {
        self.following.grow(users.div_ceil(USERS));
        self.followers.grow(users.div_ceil(USERS));
    }

    pub(super) fn follow(&mut self, from: u32, to: u32, since_us: i64) {
        let (chunk, at) = place(from);
        let following = self.following.change(chunk);
        if following.lists[at].change(to, |block| block.insert(to, since_us)) {
            following.versions[at] += 1;
            self.follows += 1;
            let (chunk, at) = place(to);
            self.followers.change(chunk).lists[at].change(from, |block| block.insert(from, 0));
            return;
        }
        let known_us = following.lists[at].time(to).unwrap_or(since_us);
        let times = following.more.entry((from, to)).or_default();
        times.push(known_us.min(since_us));
        times.sort_unstable();
        if since_us > known_us {
            following.lists[at].change(to, |block| block.set_time(to, since_us));
        }
    }

    pub(super) fn unfollow(&mut self, from: u32, to: u32, since_us: i64) {
        if !self.follows(from, to) {
            return;
        }
        let (chunk, at) = place(from);
        let following = self.following.change(chunk);
        if let Some(times) = following.more.get_mut(&(from, to)) {
            match times.iter().position(|time| *time == since_us) {
                Some(other) => drop(times.remove(other)),
                // The latest went: the latest of the rest takes its place.
                None => {
                    if let Some(latest_us) = times.pop() {
                        following.lists[at].change(to, |block| block.set_time(to, latest_us));
                    }
                }
            }
            if times.is_empty() {
                following.more.remove(&(from, to));
            }
            return;
        }
        following.lists[at].change(to, |block| block.remove(to));
        following.versions[at] += 1;
        self.follows -= 1;
        let (chunk, at) = place(to);
        self.followers.change(chunk).lists[at].change(from, |block| block.remove(from));
    }

    /// Makes the lists of followers, and how many pairs there are, from whom users follow.
    pub(super) fn invert(&mut self, users: usize) {
        let lists = || self.following.iter().flat_map(|chunk| &chunk.lists).zip(0u32..);
        // Where the followers of each begin in one long list.
        let mut ends = vec![0usize; users + 1];
        lists().flat_map(|(list, _)| list.numbers()).for_each(|(to, _)| ends[to as usize + 1] += 1);
        (1..ends.len()).for_each(|user| ends[user] += ends[user - 1]);
        self.follows = ends[users];
        let mut all = vec![(0u32, 0i64); self.follows];
        for (list, from) in lists() {
            for (to, _) in list.numbers() {
                all[ends[to as usize]].0 = from;
                ends[to as usize] += 1;
            }
        }
        let mut start = 0;
        for (end, user) in ends[..users].iter().zip(0..) {
            let (chunk, at) = place(user);
            self.followers.change(chunk).lists[at] = Blocks::packed(&all[start..*end]);
            start = *end;
        }
    }

    /// How many pairs there are.
    pub fn follows_len(&self) -> usize {
        self.follows
    }

    fn list(&self, user: u32) -> Option<&Blocks<Packed<true>>> {
        let (chunk, at) = place(user);
        Some(&self.following.get(chunk)?.lists[at])
    }

    /// Whom the user follows, sorted by number.
    pub fn followees(&self, user: u32) -> impl Iterator<Item = Followee> {
        let list = self.list(user).into_iter().flat_map(Blocks::numbers);
        list.map(|(user, since_us)| Followee { user, since_us })
    }

    /// How many the user follows.
    pub fn followees_len(&self, user: u32) -> usize {
        self.list(user).map_or(0, Blocks::len)
    }

    pub fn follows(&self, from: u32, to: u32) -> bool {
        self.list(from).is_some_and(|list| list.contains(to))
    }

    fn fans(&self, user: u32) -> Option<&Blocks<Packed<false>>> {
        let (chunk, at) = place(user);
        Some(&self.followers.get(chunk)?.lists[at])
    }

    /// Who follows the user, sorted by number.
    pub fn followers(&self, user: u32) -> impl Iterator<Item = u32> {
        self.fans(user).into_iter().flat_map(Blocks::numbers).map(|(user, _)| user)
    }

    /// How many follow the user.
    pub fn followers_len(&self, user: u32) -> usize {
        self.fans(user).map_or(0, Blocks::len)
    }

    /// Changes with whom the user follows.
    pub fn version(&self, user: u32) -> u32 {
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
