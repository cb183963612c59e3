//! What a user's counted actions on an author's posts weigh, by day, for 90 days.

use rustc_hash::FxHashMap;

use super::late;

/// Days that count, today included.
pub const AFFINITY_DAYS: i32 = 90;
/// Authors of one user; the one with the least weight makes room.
pub const AUTHORS_MAX: usize = 256;
/// Actions on posts whose row has not come yet, over all posts; more are not attributed.
const PENDING_MAX: usize = 1 << 20;

/// A day's weight of one author, times ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) author: u32,
    /// Days since the epoch.
    pub(super) day: i32,
    pub(super) weight: i64,
}

#[derive(Clone, Debug, Default)]
pub struct Affinity {
    /// By user: sorted by author, then day.
    pub(super) users: Vec<Vec<Cell>>,
    /// By post: (user, day, weight).
    pub(super) pending: FxHashMap<u32, Vec<(u32, i32, i64)>>,
    pub(super) pending_len: usize,
}

impl Affinity {
    pub(super) fn grow(&mut self, users: usize) {
        self.users.resize(users, Vec::new());
    }

    pub(super) fn pend(&mut self, post: u32, user: u32, day: i32, weight: i64) {
        if self.pending_len < PENDING_MAX {
            self.pending.entry(post).or_default().push((user, day, weight));
            self.pending_len += 1;
        }
    }

    pub(super) fn take_pending(&mut self, post: u32) -> Vec<(u32, i32, i64)> {
        let pending = self.pending.remove(&post).unwrap_or_default();
        self.pending_len -= pending.len();
        pending
    }

    pub(super) fn add(&mut self, user: u32, author: u32, day: i32, weight: i64) {
        let cells = &mut self.users[user as usize];
        match cells.binary_search_by_key(&(author, day), |cell| (cell.author, cell.day)) {
            Ok(at) => {
                cells[at].weight += weight;
                if cells[at].weight == 0 {
                    cells.remove(at);
                }
            }
            Err(at) => {
                let new_author = cells[..at].last().is_none_or(|cell| cell.author != author)
                    && cells.get(at).is_none_or(|cell| cell.author != author);
                cells.insert(at, Cell { author, day, weight });
                if new_author {
                    if cells.iter().any(|cell| day.saturating_sub(cell.day) >= AFFINITY_DAYS) {
                        let mut days: Vec<i32> = cells.iter().map(|cell| cell.day).collect();
                        let today = late(&mut days).unwrap_or(day);
                        cells.retain(|cell| today.saturating_sub(cell.day) < AFFINITY_DAYS);
                    }
                    evict(cells);
                }
            }
        }
    }

    /// What the user's actions on the author weigh on `today` (days since the epoch), times ten.
    pub fn weight(&self, user: u32, author: u32, today: i32) -> i64 {
        let cells = self.users.get(user as usize).map_or(&[][..], Vec::as_slice);
        let from = cells.partition_point(|cell| cell.author < author);
        let days = today - AFFINITY_DAYS..=today;
        let of = cells[from..].iter().take_while(|cell| cell.author == author);
        of.filter(|cell| cell.day > *days.start() && cell.day <= *days.end()).map(|cell| cell.weight).sum()
    }

    /// The user's authors with a positive weight, in the order of their numbers.
    pub fn authors(&self, user: u32, today: i32) -> Vec<(u32, i64)> {
        let cells = self.users.get(user as usize).map_or(&[][..], Vec::as_slice);
        let groups = cells.chunk_by(|a, b| a.author == b.author).map(|group| group[0].author);
        groups.map(|author| (author, self.weight(user, author, today))).filter(|(_, weight)| *weight > 0).collect()
    }

    pub fn mem_bytes(&self) -> usize {
        let cells: usize = self.users.iter().map(|list| list.capacity() * size_of::<Cell>()).sum();
        cells + self.users.capacity() * size_of::<Vec<Cell>>() + self.pending_len * 16
    }
}

/// Drops the author with the least weight (of several the largest number) while there are too many.
fn evict(cells: &mut Vec<Cell>) {
    loop {
        let groups = cells.chunk_by(|a, b| a.author == b.author);
        let weights: Vec<(i64, u32)> =
            groups.map(|group| (group.iter().map(|cell| cell.weight).sum(), group[0].author)).collect();
        if weights.len() <= AUTHORS_MAX {
            return;
        }
        let least = weights.into_iter().min_by_key(|(weight, author)| (*weight, std::cmp::Reverse(*author)));
        if let Some((_, author)) = least {
            cells.retain(|cell| cell.author != author);
        }
    }
}
