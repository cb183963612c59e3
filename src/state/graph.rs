//! Keeps the follows between users, in both directions. Two rows of the same pair of users are one follow, which lasts
//! until both rows are deleted.

use std::collections::BTreeMap;

use super::blocks::Blocks;
use super::chunks::{ALLOCATED_BYTES, Chunks};
use super::dense::UserNo;
use super::packed::Packed;

/// The number of users in one chunk.
pub(super) const USERS: usize = 64;
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

    /// Makes the lists of followers and the number of pairs from the lists of followees.
    pub(super) fn invert(&mut self, users: usize) {
        let lists = || self.following.iter().flat_map(|chunk| &chunk.lists).zip(0u32..);
        // The positions at which the followers of each user begin in one long list.
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
            let (chunk, at) = place(UserNo::of(user));
            self.followers.change(chunk).lists[at] = Blocks::packed(&all[start..*end]);
            start = *end;
        }
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
