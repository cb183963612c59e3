//! Keeps the counted actions of a user on an author's posts, by day, for 90 days. Actions are stored as counts, and
//! nova applies the weights when it reads the counts. So after a start with new weights, the results are as if the new
//! weights had always been used.

use std::collections::BTreeMap;

use super::chunks::{ALLOCATED_BYTES, Chunks, allocated, give_back, insert};
use super::dense::{PostNo, UserNo};
use super::ranking::Ranking;
use super::times::late;

/// The number of days whose actions count, including the present day.
pub const AFFINITY_DAYS: i32 = 90;
/// The maximum number of authors that nova keeps for one user. If a user has more authors than this, nova drops the
/// author with the least weight.
pub const AUTHORS_MAX: usize = 256;
/// The maximum number of actions, over all posts, that wait for the row of their post. Actions above this maximum are
/// never attributed to an author.
const PENDING_MAX: usize = 1 << 20;
/// The number of users in one chunk.
pub(super) const USERS: usize = 64;
/// The number of posts whose pending actions are in one chunk.
pub(super) const PENDING_POSTS: usize = 1 << 12;
/// The number of bits of the count in a small cell.
const COUNT_BITS: u32 = 13;
const COUNT_BIAS: i64 = 1 << (COUNT_BITS - 1);
/// The kind of a cell that holds a weight times ten instead of a count. A cell with a weight comes from an earlier
/// version of nova, because that version kept no counts. nova never changes a weight that an earlier version wrote.
pub(super) const WEIGHED: u8 = 0;
/// The number of kinds of cells: [`WEIGHED`] and one kind for each action.
pub(super) const KINDS: u8 = 5;

/// The count of one action that a user did on one day to the posts of one author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) author: UserNo,
    /// The day of the actions, in days since the epoch.
    pub(super) day: i32,
    /// The number of the action (see [`crate::event::Action`]), or [`WEIGHED`].
    pub(super) kind: u8,
    pub(super) count: i64,
}

impl Cell {
    pub(super) fn place(&self) -> (UserNo, i32, u8) {
        (self.author, self.day, self.kind)
    }

    /// Returns the weight of the cell, times ten.
    fn weight(&self, worth: &Worth) -> i64 {
        self.count.saturating_mul(worth.get(usize::from(self.kind)).copied().unwrap_or(0))
    }
}

/// For each kind of cell, the weight of one count, times ten.
type Worth = [i64; KINDS as usize];

fn sum(weights: impl Iterator<Item = i64>) -> i64 {
    weights.fold(0, i64::saturating_add)
}

/// A cell in eight bytes: the author in 32 bits, the day in 16 bits, the kind in 3 bits, and the count in 13 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Small(u64);

impl Small {
    fn new(cell: Cell) -> Option<Small> {
        let day = u16::try_from(cell.day).ok()?;
        let count = u64::try_from(cell.count.checked_add(COUNT_BIAS)?).ok().filter(|count| *count < 1 << COUNT_BITS)?;
        let kind = u64::from(cell.kind & 7) << COUNT_BITS;
        Some(Small(u64::from(cell.author.get()) << 32 | u64::from(day) << 16 | kind | count))
    }

    fn author(self) -> UserNo {
        UserNo::of((self.0 >> 32) as u32)
    }

    fn day(self) -> i32 {
        i32::from((self.0 >> 16) as u16)
    }

    fn cell(self) -> Cell {
        let (kind, count) = ((self.0 >> COUNT_BITS) as u8 & 7, (self.0 & ((1 << COUNT_BITS) - 1)) as i64);
        Cell { author: self.author(), day: self.day(), kind, count: count - COUNT_BIAS }
    }
}

/// The cells of one user, from which the user's weights are computed.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// The small cells, sorted by author, then by day, then by kind.
    small: Vec<Small>,
    /// The rare cells that do not fit into `small`, sorted by author, then by day, then by kind.
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

    /// Returns every cell, sorted by author, then by day, then by kind.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.small.iter().map(|cell| cell.cell()).collect();
        if let Some(large) = &self.large {
            cells.extend_from_slice(large);
            cells.sort_unstable();
        }
        cells
    }

    /// Adds a cell in the simple case, in which no cell must be dropped and the sum fits into a small cell. Returns
    /// false and changes nothing if a cell must be dropped or the sum does not fit.
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

    fn weight(&self, author: UserNo, days: std::ops::RangeInclusive<i32>, worth: &Worth) -> i64 {
        let from = self.small.partition_point(|cell| cell.author() < author);
        let small = self.small[from..].iter().take_while(|cell| cell.author() == author).map(|cell| cell.cell());
        let large = self.large.iter().flat_map(|cells| cells.iter().copied()).filter(|cell| cell.author == author);
        sum(small.chain(large).filter(|cell| days.contains(&cell.day)).map(|cell| cell.weight(worth)))
    }
}

/// Whether a day is so old on the day `today` that its actions no longer count.
fn old(day: i32, today: i32) -> bool {
    today.saturating_sub(day) >= AFFINITY_DAYS
}

/// Returns the days whose actions count on the day `today`.
fn counting(today: i32) -> std::ops::RangeInclusive<i32> {
    today.saturating_sub(AFFINITY_DAYS - 1)..=today
}

/// An action on a post whose row has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pended {
    pub(super) user: UserNo,
    pub(super) day: i32,
    pub(super) count: i32,
    /// The kind of the action, as in a [`Cell`].
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
    /// The pending actions, by post.
    pub(super) pending: Chunks<BTreeMap<PostNo, Pending>>,
    pub(super) pending_len: usize,
}

impl Default for Affinity {
    fn default() -> Affinity {
        Affinity::new(&Ranking::DEFAULT)
    }
}

/// Returns the chunk of a user, and the user's index in the chunk.
pub(super) fn place(user: UserNo) -> (usize, usize) {
    (user.index() / USERS, user.index() % USERS)
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

    pub(super) fn pend(&mut self, post: PostNo, pended: Pended) {
        if self.pending_len < PENDING_MAX {
            let chunk = post.index() / PENDING_POSTS;
            self.pending.grow(chunk + 1);
            self.pending.change(chunk).entry(post).or_default().push(pended);
            self.pending_len += 1;
        }
    }

    /// Adds the actions that waited for the row of a post when a checkpoint was written.
    pub(super) fn pend_all(&mut self, post: PostNo, pending: Pending) {
        let chunk = post.index() / PENDING_POSTS;
        self.pending.grow(chunk + 1);
        self.pending_len += pending.len();
        let replaced = self.pending.change(chunk).insert(post, pending);
        self.pending_len -= replaced.map_or(0, |pending| pending.len());
    }

    pub(super) fn take_pending(&mut self, post: PostNo) -> Pending {
        let chunk = post.index() / PENDING_POSTS;
        if self.pending.get(chunk).is_none_or(|posts| !posts.contains_key(&post)) {
            return Pending::new();
        }
        let pending = self.pending.change(chunk).remove(&post).unwrap_or_default();
        self.pending_len -= pending.len();
        pending
    }

    pub(super) fn add(&mut self, user: UserNo, new: Cell) {
        let (chunk, at) = place(user);
        let weights = &mut self.users.change(chunk).list[at];
        if !weights.add(new) {
            let mut cells = weights.cells();
            add(&mut cells, new, &self.worth);
            *weights = Weights::of(&cells);
        }
    }

    fn of(&self, user: UserNo) -> Option<&Weights> {
        let (chunk, at) = place(user);
        Some(&self.users.get(chunk)?.list[at])
    }

    /// Returns the weight of the user's actions on the author's posts on the day `today` (days since the epoch), times
    /// ten.
    pub fn weight(&self, user: UserNo, author: UserNo, today: i32) -> i64 {
        self.of(user).map_or(0, |weights| weights.weight(author, counting(today), &self.worth))
    }

    /// Returns the authors for whom the user has a positive weight, in the order of the authors' numbers.
    pub fn authors(&self, user: UserNo, today: i32) -> Vec<(UserNo, i64)> {
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

/// Adds a count to the cells of a user. If a user has too many authors, the cells of the author with the least weight
/// are dropped.
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

/// Drops the author with the least weight until there are few enough authors. Of several authors with the least weight,
/// the author with the largest number is dropped first. The present weights decide which author is dropped, and later
/// weights do not restore that author.
fn evict(cells: &mut Vec<Cell>, worth: &Worth) {
    loop {
        let groups = cells.chunk_by(|a, b| a.author == b.author);
        let weights: Vec<(i64, UserNo)> =
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
        /// Small and large cells together are equal to one simple list of cells.
        #[test]
        fn packed_weights_are_what_a_list_of_cells_is(
            steps in proptest::collection::vec((0u32..300, prop_oneof![8 => 20_000i32..20_120, 1 => any::<i32>()], 0..KINDS, prop_oneof![8 => -50i64..50, 1 => any::<i32>().prop_map(i64::from)]), 0..600),
            weights in proptest::array::uniform5(0i64..1_000),
        ) {
            let mut affinity = Affinity::new(&Ranking { weights, ..Ranking::DEFAULT });
            let (mut naive, worth) = (Vec::new(), affinity.worth);
            let user = UserNo::of(0);
            affinity.grow(1);
            for (author, day, kind, count) in steps {
                let count = if count == 0 { 1 } else { count };
                let cell = Cell { author: UserNo::of(author), day, kind, count };
                affinity.add(user, cell);
                add(&mut naive, cell, &worth);
            }
            let weights = affinity.of(user).unwrap();
            prop_assert_eq!(&weights.cells(), &naive);
            for author in (0..300).map(UserNo::of) {
                let of = |cell: &&Cell| cell.author == author && (20_030..20_120).contains(&cell.day);
                let sum: i64 = naive.iter().filter(of).map(|cell| cell.weight(&worth)).sum();
                prop_assert_eq!(affinity.weight(user, author, 20_119), sum);
            }
        }
    }
}
