//! What a user's counted actions on an author's posts weigh, by day, for 90 days. Actions are counted, and weighed when
//! they are asked for: after a start with other weights the answers are as if these weights had always been.

use std::collections::BTreeMap;

use super::chunks::{ALLOCATED_BYTES, Chunks, allocated, give_back, insert};
use super::ranking::Ranking;
use super::times::late;

/// Days that count, today included.
pub const AFFINITY_DAYS: i32 = 90;
/// Authors of one user; the one with the least weight makes room.
pub const AUTHORS_MAX: usize = 256;
/// Actions on posts whose row has not come yet, over all posts; more are not attributed.
const PENDING_MAX: usize = 1 << 20;
/// Users of one chunk.
pub(super) const USERS: usize = 64;
/// Posts whose pending actions are in one chunk.
pub(super) const PENDING_POSTS: usize = 1 << 12;
/// Bits of a count that is kept small.
const COUNT_BITS: u32 = 13;
const COUNT_BIAS: i64 = 1 << (COUNT_BITS - 1);
/// In the place of an action: a weight, times ten, of a version that kept no counts. It stays what it was weighed as.
pub(super) const WEIGHED: u8 = 0;
/// Kinds of a cell: [`WEIGHED`], and the numbers of the actions behind it.
pub(super) const KINDS: u8 = 5;

/// How often one action was counted on one day on the posts of one author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) author: u32,
    /// Days since the epoch.
    pub(super) day: i32,
    /// A number of [`crate::event::Action`], or [`WEIGHED`].
    pub(super) kind: u8,
    pub(super) count: i64,
}

impl Cell {
    pub(super) fn place(&self) -> (u32, i32, u8) {
        (self.author, self.day, self.kind)
    }

    /// Times ten.
    fn weight(&self, worth: &Worth) -> i64 {
        self.count.saturating_mul(worth.get(usize::from(self.kind)).copied().unwrap_or(0))
    }
}

/// What one count of a kind weighs, times ten.
type Worth = [i64; KINDS as usize];

fn sum(weights: impl Iterator<Item = i64>) -> i64 {
    weights.fold(0, i64::saturating_add)
}

/// A cell in eight bytes: author, 16 bits of the day, 3 of the kind, 13 of the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Small(u64);

impl Small {
    fn new(cell: Cell) -> Option<Small> {
        let day = u16::try_from(cell.day).ok()?;
        let count = u64::try_from(cell.count.checked_add(COUNT_BIAS)?).ok().filter(|count| *count < 1 << COUNT_BITS)?;
        let kind = u64::from(cell.kind & 7) << COUNT_BITS;
        Some(Small(u64::from(cell.author) << 32 | u64::from(day) << 16 | kind | count))
    }

    fn author(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn day(self) -> i32 {
        i32::from((self.0 >> 16) as u16)
    }

    fn cell(self) -> Cell {
        let (kind, count) = ((self.0 >> COUNT_BITS) as u8 & 7, (self.0 & ((1 << COUNT_BITS) - 1)) as i64);
        Cell { author: self.author(), day: self.day(), kind, count: count - COUNT_BIAS }
    }
}

/// What one user's actions weigh.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// Sorted by author, then day, then kind.
    small: Vec<Small>,
    /// What does not fit there, in the same order; rare.
    #[expect(clippy::box_collection, reason = "one word for the many that have none")]
    large: Option<Box<Vec<Cell>>>,
}

impl Weights {
    pub(super) fn of(cells: &[Cell]) -> Weights {
        let (mut small, mut large) = (Vec::with_capacity(cells.len()), Vec::new());
        for cell in cells {
            match Small::new(*cell) {
                Some(cell) => small.push(cell),
                None => large.push(*cell),
            }
        }
        small.shrink_to_fit();
        Weights { small, large: (!large.is_empty()).then(|| Box::new(large)) }
    }

    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large.as_ref().map_or(0, |cells| cells.len())
    }

    /// Every cell, sorted.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.small.iter().map(|cell| cell.cell()).collect();
        if let Some(large) = &self.large {
            cells.extend_from_slice(large);
            cells.sort_unstable();
        }
        cells
    }

    /// Adds where nothing has to make room and everything fits; false if it is not so simple.
    fn add(&mut self, new: Cell) -> bool {
        let cells = &mut self.small;
        let Some(small) = Small::new(new).filter(|_| self.large.is_none()) else { return false };
        let at = cells.partition_point(|cell| cell.cell().place() < new.place());
        if let Some(known) = cells.get(at).map(|cell| cell.cell()).filter(|cell| cell.place() == new.place()) {
            let Some(sum) = Small::new(Cell { count: known.count.saturating_add(new.count), ..known }) else {
                return false;
            };
            if sum.cell().count == 0 {
                cells.remove(at);
                give_back(cells);
            } else {
                cells[at] = sum;
            }
            return true;
        }
        let beside = [at.checked_sub(1).and_then(|before| cells.get(before)), cells.get(at)];
        let known_author = beside.into_iter().flatten().any(|cell| cell.author() == new.author);
        let room = cells.len() < AUTHORS_MAX && !cells.iter().any(|cell| old(cell.day(), new.day));
        if !known_author && !room {
            return false;
        }
        insert(cells, at, small);
        true
    }

    fn weight(&self, author: u32, days: std::ops::RangeInclusive<i32>, worth: &Worth) -> i64 {
        let from = self.small.partition_point(|cell| cell.author() < author);
        let small = self.small[from..].iter().take_while(|cell| cell.author() == author).map(|cell| cell.cell());
        let large = self.large.iter().flat_map(|cells| cells.iter().copied()).filter(|cell| cell.author == author);
        sum(small.chain(large).filter(|cell| days.contains(&cell.day)).map(|cell| cell.weight(worth)))
    }
}

/// Whether a day is too long before another.
fn old(day: i32, today: i32) -> bool {
    today.saturating_sub(day) >= AFFINITY_DAYS
}

/// The days that count on `today`.
fn counting(today: i32) -> std::ops::RangeInclusive<i32> {
    today.saturating_sub(AFFINITY_DAYS - 1)..=today
}

/// An action on a post whose row has not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pended {
    pub(super) user: u32,
    pub(super) day: i32,
    pub(super) count: i32,
    /// Of a [`Cell`].
    pub(super) kind: u8,
}

pub(super) type Pending = Vec<Pended>;

#[derive(Clone, Debug)]
pub(super) struct Users {
    pub(super) list: [Weights; USERS],
}

impl Default for Users {
    fn default() -> Users {
        Users { list: std::array::from_fn(|_| Weights::default()) }
    }
}

#[derive(Clone, Debug)]
pub struct Affinity {
    worth: Worth,
    pub(super) users: Chunks<Users>,
    /// By post.
    pub(super) pending: Chunks<BTreeMap<u32, Pending>>,
    pub(super) pending_len: usize,
}

impl Default for Affinity {
    fn default() -> Affinity {
        Affinity::new(&Ranking::DEFAULT)
    }
}

/// Which chunk a user is in, and where.
pub(super) fn place(user: u32) -> (usize, usize) {
    (user as usize / USERS, user as usize % USERS)
}

impl Affinity {
    pub(super) fn new(ranking: &Ranking) -> Affinity {
        let mut worth = ranking.weights;
        worth[usize::from(WEIGHED)] = 1;
        Affinity { worth, users: Chunks::default(), pending: Chunks::default(), pending_len: 0 }
    }

    pub(super) fn grow(&mut self, users: usize) {
        self.users.grow(users.div_ceil(USERS));
    }

    pub(super) fn pend(&mut self, post: u32, pended: Pended) {
        if self.pending_len < PENDING_MAX {
            let chunk = post as usize / PENDING_POSTS;
            self.pending.grow(chunk + 1);
            self.pending.change(chunk).entry(post).or_default().push(pended);
            self.pending_len += 1;
        }
    }

    /// What came before the row of a post; of a checkpoint.
    pub(super) fn pend_all(&mut self, post: u32, pending: Pending) {
        let chunk = post as usize / PENDING_POSTS;
        self.pending.grow(chunk + 1);
        self.pending_len += pending.len();
        let replaced = self.pending.change(chunk).insert(post, pending);
        self.pending_len -= replaced.map_or(0, |pending| pending.len());
    }

    pub(super) fn take_pending(&mut self, post: u32) -> Pending {
        let chunk = post as usize / PENDING_POSTS;
        if self.pending.get(chunk).is_none_or(|posts| !posts.contains_key(&post)) {
            return Pending::new();
        }
        let pending = self.pending.change(chunk).remove(&post).unwrap_or_default();
        self.pending_len -= pending.len();
        pending
    }

    pub(super) fn add(&mut self, user: u32, new: Cell) {
        let (chunk, at) = place(user);
        let weights = &mut self.users.change(chunk).list[at];
        if !weights.add(new) {
            let mut cells = weights.cells();
            add(&mut cells, new, &self.worth);
            *weights = Weights::of(&cells);
        }
    }

    fn of(&self, user: u32) -> Option<&Weights> {
        let (chunk, at) = place(user);
        Some(&self.users.get(chunk)?.list[at])
    }

    /// What the user's actions on the author weigh on `today` (days since the epoch), times ten.
    pub fn weight(&self, user: u32, author: u32, today: i32) -> i64 {
        self.of(user).map_or(0, |weights| weights.weight(author, counting(today), &self.worth))
    }

    /// The user's authors with a positive weight, in the order of their numbers.
    pub fn authors(&self, user: u32, today: i32) -> Vec<(u32, i64)> {
        let Some(weights) = self.of(user) else { return Vec::new() };
        let (cells, days) = (weights.cells(), counting(today));
        let groups = cells.chunk_by(|a, b| a.author == b.author);
        let sums = groups.map(|group| {
            let counting = group.iter().filter(|cell| days.contains(&cell.day));
            (group[0].author, sum(counting.map(|cell| cell.weight(&self.worth))))
        });
        sums.filter(|(_, weight)| *weight > 0).collect()
    }

    pub fn mem_bytes(&self) -> usize {
        let large = |cells: &Vec<Cell>| allocated(cells) + size_of::<Vec<Cell>>() + ALLOCATED_BYTES;
        let weights = |weights: &Weights| allocated(&weights.small) + weights.large.as_deref().map_or(0, large);
        let users = self.users.iter().flat_map(|users| &users.list).map(weights).sum::<usize>();
        users + self.users.mem_bytes() + self.pending_len * size_of::<Pended>() * 2
    }
}

/// Adds to the cells of a user, which make room where they have to.
fn add(cells: &mut Vec<Cell>, new: Cell, worth: &Worth) {
    let Cell { author, day, count, .. } = new;
    match cells.binary_search_by_key(&new.place(), Cell::place) {
        Ok(at) => {
            cells[at].count = cells[at].count.saturating_add(count);
            if cells[at].count == 0 {
                cells.remove(at);
            }
        }
        Err(at) => {
            let new_author = cells[..at].last().is_none_or(|cell| cell.author != author)
                && cells.get(at).is_none_or(|cell| cell.author != author);
            cells.insert(at, new);
            if new_author {
                if cells.iter().any(|cell| old(cell.day, day)) {
                    let mut days: Vec<i32> = cells.iter().map(|cell| cell.day).collect();
                    let today = late(&mut days).unwrap_or(day);
                    cells.retain(|cell| !old(cell.day, today));
                }
                evict(cells, worth);
            }
        }
    }
}

/// Drops the author with the least weight (of several the largest number) while there are too many. They are weighed as
/// today: other weights later do not bring them back.
fn evict(cells: &mut Vec<Cell>, worth: &Worth) {
    loop {
        let groups = cells.chunk_by(|a, b| a.author == b.author);
        let weights: Vec<(i64, u32)> =
            groups.map(|group| (sum(group.iter().map(|cell| cell.weight(worth))), group[0].author)).collect();
        if weights.len() <= AUTHORS_MAX {
            return;
        }
        let least = weights.into_iter().min_by_key(|(weight, author)| (*weight, std::cmp::Reverse(*author)));
        if let Some((_, author)) = least {
            cells.retain(|cell| cell.author != author);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Small cells and large ones together are what one list of cells is.
        #[test]
        fn packed_weights_are_what_a_list_of_cells_is(
            steps in proptest::collection::vec((0u32..300, prop_oneof![8 => 20_000i32..20_120, 1 => any::<i32>()], 0..KINDS, prop_oneof![8 => -50i64..50, 1 => any::<i32>().prop_map(i64::from)]), 0..600),
            weights in proptest::array::uniform5(0i64..1_000),
        ) {
            let mut affinity = Affinity::new(&Ranking { weights, ..Ranking::DEFAULT });
            let (mut naive, worth) = (Vec::new(), affinity.worth);
            affinity.grow(1);
            for (author, day, kind, count) in steps {
                let count = if count == 0 { 1 } else { count };
                let cell = Cell { author, day, kind, count };
                affinity.add(0, cell);
                add(&mut naive, cell, &worth);
            }
            let weights = affinity.of(0).unwrap();
            prop_assert_eq!(&weights.cells(), &naive);
            for author in 0..300 {
                let of = |cell: &&Cell| cell.author == author && (20_030..20_120).contains(&cell.day);
                let sum: i64 = naive.iter().filter(of).map(|cell| cell.weight(&worth)).sum();
                prop_assert_eq!(affinity.weight(0, author, 20_119), sum);
            }
        }
    }
}
