//! Who follows whom, both ways. Two rows of one pair are one follow that lasts until both are gone.

use rustc_hash::FxHashMap;

/// One followee of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followee {
    pub user: u32,
    /// The latest of the pair's rows, epoch microseconds.
    pub since_us: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// By user: followees sorted by number.
    pub(super) out: Vec<Vec<Followee>>,
    /// By user: followers, sorted.
    pub(super) followers: Vec<Vec<u32>>,
    /// Times of the rows beyond the first of a pair; rare.
    pub(super) more: FxHashMap<(u32, u32), Vec<i64>>,
    /// By user: raised with each change of whom the user follows.
    pub(super) versions: Vec<u32>,
    /// Pairs in all.
    pub(super) follows: usize,
}

impl Graph {
    pub(super) fn grow(&mut self, users: usize) {
        self.out.resize(users, Vec::new());
        self.followers.resize(users, Vec::new());
        self.versions.resize(users, 0);
    }

    pub(super) fn follow(&mut self, from: u32, to: u32, since_us: i64) {
        let list = &mut self.out[from as usize];
        match list.binary_search_by_key(&to, |followee| followee.user) {
            Ok(at) => {
                let known = &mut list[at].since_us;
                self.more.entry((from, to)).or_default().push((*known).min(since_us));
                *known = (*known).max(since_us);
            }
            Err(at) => {
                list.insert(at, Followee { user: to, since_us });
                let followers = &mut self.followers[to as usize];
                if let Err(at) = followers.binary_search(&from) {
                    followers.insert(at, from);
                }
                self.versions[from as usize] += 1;
                self.follows += 1;
            }
        }
    }

    pub(super) fn unfollow(&mut self, from: u32, to: u32, since_us: i64) {
        let list = &mut self.out[from as usize];
        let Ok(at) = list.binary_search_by_key(&to, |followee| followee.user) else { return };
        if let Some(times) = self.more.get_mut(&(from, to)) {
            match times.iter().position(|time| *time == since_us) {
                Some(other) => drop(times.swap_remove(other)),
                None => {
                    // The latest went: the latest of the rest takes its place.
                    if let Some(latest) = (0..times.len()).max_by_key(|index| times[*index]) {
                        list[at].since_us = times.swap_remove(latest);
                    }
                }
            }
            times.sort_unstable();
            if times.is_empty() {
                self.more.remove(&(from, to));
            }
            return;
        }
        list.remove(at);
        let followers = &mut self.followers[to as usize];
        if let Ok(at) = followers.binary_search(&from) {
            followers.remove(at);
        }
        self.versions[from as usize] += 1;
        self.follows -= 1;
    }

    /// How many pairs there are.
    pub fn follows_len(&self) -> usize {
        self.follows
    }

    /// Whom the user follows, sorted by number.
    pub fn followees(&self, user: u32) -> &[Followee] {
        self.out.get(user as usize).map_or(&[], Vec::as_slice)
    }

    pub fn follows(&self, from: u32, to: u32) -> bool {
        self.followees(from).binary_search_by_key(&to, |followee| followee.user).is_ok()
    }

    pub fn followers(&self, user: u32) -> &[u32] {
        self.followers.get(user as usize).map_or(&[], Vec::as_slice)
    }

    /// Changes with whom the user follows.
    pub fn version(&self, user: u32) -> u32 {
        self.versions.get(user as usize).copied().unwrap_or(0)
    }

    pub fn mem_bytes(&self) -> usize {
        let out: usize = self.out.iter().map(|list| list.capacity() * size_of::<Followee>()).sum();
        let followers: usize = self.followers.iter().map(|list| list.capacity() * 4).sum();
        let heads = self.out.capacity() * 2 * size_of::<Vec<u32>>() + self.versions.capacity() * 4;
        out + followers + heads + self.more.capacity() * 64
    }
}
