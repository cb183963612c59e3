//! Keeps the rows of posts, and the counts of posts by minute.

use parking_lot::Mutex;

use crate::event::Action;

use super::chunks::{ALLOCATED_BYTES, Chunks, allocated, give_back, insert};
use super::dense::{PostNo, UserNo};
use super::ids::Ids;
use super::minutes::{Entry, Minutes, folded};
use super::times::{MINUTE_MS, late};
use super::totals::Totals;

/// The number of latest minutes that are kept individually. When there are too many entries, nova combines all earlier
/// minutes into hours.
const FINE_MINUTES: i32 = 25 * 60;
/// If all posts together have more entries than this, nova combines the entries that are older than `FINE_MINUTES`.
/// `ENTRIES_MAX` entries need 64 MiB.
const ENTRIES_MAX: usize = (64 << 20) / size_of::<Entry>();
/// When nova combines entries, it drops hours that are older than this number of minutes, because no window includes
/// them.
const KEPT_MINUTES: i32 = 8 * 24 * 60;
/// The maximum number of counts in a round that are reported individually. If a round has more counts than this, nova
/// reports only which posts have further counts.
const LOG_MAX: usize = 1 << 16;
/// The number of entries from which nova estimates the present minute.
const FOLD_SAMPLE_ENTRIES: usize = 1 << 16;
/// The number of posts whose entries are combined with each count while there are too many entries. If nova combined
/// the entries of all posts at once, every reader would have to wait.
const FOLD_STEP: usize = 32;
/// The number of posts in one chunk.
pub(super) const POSTS: usize = 64;
/// The number of authors in one chunk.
pub(super) const AUTHORS: usize = 256;

/// The columns of a post's row that nova serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostRow {
    pub author: UserNo,
    pub created_at_us: i64,
    pub published: bool,
}

/// One count of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub post: PostNo,
    /// The minute in which the action was counted, in minutes since the epoch.
    pub minute: i32,
    pub action: Action,
    /// The change of the count: 1 or −1.
    pub sign: i8,
    /// The number of times that the post was counted, including this count (see [`Posts::times_counted`]).
    pub times: u32,
}

/// The changes of posts since a reader last took the changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The posts that a reader must count again. A post must be counted again if its visibility has changed, or if
    /// there are too many changes to report each one. Each post is in the list once.
    pub posts: Vec<PostNo>,
    pub counted: Vec<Counted>,
}

#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) row: Option<PostRow>,
    /// The author. The author stays when the row is deleted, because the counts still belong to the author.
    pub(super) author: Option<UserNo>,
    pub(super) totals: Totals,
    pub(super) minutes: Minutes,
    /// The round in which this post is already among the changed posts.
    changed_in: u32,
    /// The number of times that the post was counted since the start of the process, modulo 2^32.
    times_counted: u32,
}

impl Default for Post {
    fn default() -> Post {
        let totals = Totals::Small([0; 5]);
        Post { row: None, author: None, totals, minutes: Minutes::default(), changed_in: 0, times_counted: 0 }
    }
}

/// The posts of one chunk, by their index in the chunk.
#[derive(Clone, Debug)]
pub(super) struct PostChunk {
    pub(super) list: [Post; POSTS],
}

impl Default for PostChunk {
    fn default() -> PostChunk {
        PostChunk { list: std::array::from_fn(|_| Post::default()) }
    }
}

/// The posts of the users of one chunk.
#[derive(Clone, Debug)]
pub(super) struct Authors {
    /// The posts of each user, sorted from the newest to the oldest, then by id.
    pub(super) lists: [Vec<PostNo>; AUTHORS],
    /// The version of each author. The version of an author rises when the author or one of the author's posts changes.
    pub(super) versions: [u32; AUTHORS],
}

impl Default for Authors {
    fn default() -> Authors {
        Authors { lists: std::array::from_fn(|_| Vec::new()), versions: [0; AUTHORS] }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Posts {
    pub(super) chunks: Chunks<PostChunk>,
    pub(super) len: usize,
    pub(super) authors: Chunks<Authors>,
    /// The number of minute entries over all posts.
    pub(super) entries: usize,
    /// The number of entries at which nova begins to combine entries the next time.
    pub(super) fold_at: usize,
    /// The index of the post with which a running combination of entries continues.
    pub(super) folding: Option<usize>,
    /// The minute that counts as the present minute for a running combination of entries.
    pub(super) fold_from: i32,
    /// The counts of the present effect, or `None` if nobody wants to know what the effect does.
    pub(super) told: Option<Vec<Counted>>,
    round: Round,
}

/// The changes of posts since the last call of `take_changes`. The changes have a lock of their own, so that taking the
/// changes needs only a read lock of the state. A second writer of the state would wait for a checkpoint, and every
/// reader would wait for that writer.
#[derive(Debug, Default)]
struct Round(Mutex<(u32, Changes)>);

impl Clone for Round {
    fn clone(&self) -> Round {
        Round(Mutex::new(self.0.lock().clone()))
    }
}

impl Round {
    /// Notes that the post must be counted again.
    fn mark(&mut self, number: PostNo, post: &mut Post) {
        let (round, changes) = self.0.get_mut();
        // New posts have the round 0, so rounds are counted from 1.
        if post.changed_in != *round + 1 {
            post.changed_in = *round + 1;
            changes.posts.push(number);
        }
    }
}

/// Returns the chunk of an author, and the author's index in the chunk.
pub(super) fn author_place(user: UserNo) -> (usize, usize) {
    (user.index() / AUTHORS, user.index() % AUTHORS)
}

impl Posts {
    pub(super) fn grow(&mut self, posts: usize) {
        if self.len < posts {
            self.len = posts;
            self.chunks.grow(posts.div_ceil(POSTS));
        }
    }

    fn get(&self, post: PostNo) -> Option<&Post> {
        self.chunks.get(post.index() / POSTS).map(|chunk| &chunk.list[post.index() % POSTS])
    }

    /// Returns the post with this number, so that the caller can change it. A post with this number must exist.
    pub(super) fn change(&mut self, post: PostNo) -> &mut Post {
        &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS]
    }

    /// Takes the changes of posts since the last call.
    pub fn take_changes(&self) -> Changes {
        let (round, changes) = &mut *self.round.0.lock();
        *round = (*round + 1) % (u32::MAX - 1);
        std::mem::take(changes)
    }

    /// Returns the number of times that the post was counted, modulo 2^32. A reader who has counted the post can tell
    /// from this number which entries of [`Changes::counted`] the reader's count already contains.
    pub fn times_counted(&self, post: PostNo) -> u32 {
        self.get(post).map_or(0, |post| post.times_counted)
    }

    pub(super) fn grow_authors(&mut self, users: usize) {
        self.authors.grow(users.div_ceil(AUTHORS));
    }

    pub(super) fn put(&mut self, post: PostNo, row: PostRow, ids: &Ids<PostNo>) {
        let changed = &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS];
        (changed.row, changed.author) = (Some(row), Some(row.author));
        self.round.mark(post, changed);
        let order = |post: PostNo| (std::cmp::Reverse(self.created_at_us(post)), ids.id(post));
        let place = order(post);
        let (chunk, author) = author_place(row.author);
        let list = self.authors.get(chunk).map_or(&[][..], |authors| &authors.lists[author]);
        let at = list.partition_point(|other| order(*other) < place);
        let known = list.get(at) == Some(&post);
        let authors = self.authors.change(chunk);
        if !known {
            insert(&mut authors.lists[author], at, post);
        }
        authors.versions[author] += 1;
    }

    pub(super) fn remove(&mut self, post: PostNo, author: UserNo) {
        let (chunk, at) = author_place(author);
        let authors = self.authors.change(chunk);
        authors.lists[at].retain(|other| *other != post);
        give_back(&mut authors.lists[at]);
        authors.versions[at] += 1;
        let changed = &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS];
        changed.row = None;
        self.round.mark(post, changed);
    }

    /// Notes that an author was activated, deactivated or renamed, so that the visibility of the author's posts may
    /// have changed.
    pub(super) fn author_changed(&mut self, user: UserNo) {
        let (chunk, author) = author_place(user);
        let authors = self.authors.change(chunk);
        authors.versions[author] += 1;
        for post in &authors.lists[author] {
            let changed = &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS];
            self.round.mark(*post, changed);
        }
    }

    pub(super) fn count(&mut self, post: PostNo, action: Action, at_ms: i64, sign: i32) {
        let minute = at_ms.div_euclid(MINUTE_MS).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let counted = &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS];
        let times = counted.times_counted.wrapping_add(1);
        counted.times_counted = times;
        let count = Counted { post, minute, action, sign: sign as i8, times };
        if let Some(told) = &mut self.told {
            told.push(count);
        }
        let (_, changes) = self.round.0.get_mut();
        if changes.counted.len() < LOG_MAX {
            changes.counted.push(count);
        } else {
            self.round.mark(post, counted);
        }
        counted.totals.add(action, sign);
        let before = counted.minutes.len();
        counted.minutes.count(minute, action, sign);
        self.entries = self.entries + counted.minutes.len() - before;
        if self.folding.is_some() || self.entries >= self.fold_at.max(ENTRIES_MAX) {
            self.fold();
        }
    }

    /// For the next posts, combines the minutes that no fine window needs, and drops the minutes that no window needs.
    pub(super) fn fold(&mut self) {
        let from = self.folding.unwrap_or_else(|| {
            self.fold_from = self.late_minute();
            0
        });
        let (fine, kept) = (self.fold_from.saturating_sub(FINE_MINUTES), self.fold_from.saturating_sub(KEPT_MINUTES));
        let to = (from + FOLD_STEP).min(self.len);
        for post in (from as u32..to as u32).map(PostNo::of) {
            let folded = self.get(post).and_then(|post| Some((post.minutes.len(), folded(&post.minutes, fine, kept)?)));
            if let Some((before, minutes)) = folded {
                self.entries = self.entries + minutes.len() - before;
                self.change(post).minutes = minutes;
            }
        }
        self.folding = (to < self.len).then_some(to);
        if self.folding.is_none() {
            // nova combines entries again only after their number has grown by a quarter.
            self.fold_at = self.entries + self.entries / 4;
        }
    }

    /// Estimates the present minute from the minutes of entries, although the minutes of some entries may be wrong (see
    /// [`late`]).
    pub(super) fn late_minute(&self) -> i32 {
        let step = (self.entries / FOLD_SAMPLE_ENTRIES).max(1);
        let posts = self.chunks.iter().flat_map(|chunk| &chunk.list);
        let (mut minutes, mut next) = (Vec::new(), 0);
        for block in posts.flat_map(|post| post.minutes.iter()) {
            while let Some(entry) = block.get(next) {
                minutes.push(entry.minute());
                next += step;
            }
            next -= block.len();
        }
        late(&mut minutes).unwrap_or(i32::MIN)
    }

    /// Counts the entries of all posts, and makes the list of each author's posts.
    pub(super) fn index(&mut self, ids: &Ids<PostNo>) {
        let mut rows = Vec::new();
        self.entries = 0;
        for (post, number) in self.chunks.iter().flat_map(|chunk| &chunk.list).zip((0..).map(PostNo::of)) {
            self.entries += post.minutes.len();
            rows.extend(post.row.map(|row| (row.author, std::cmp::Reverse(row.created_at_us), ids.id(number), number)));
        }
        rows.sort_unstable();
        for of in rows.chunk_by(|a, b| a.0 == b.0) {
            let (chunk, at) = author_place(of[0].0);
            self.authors.change(chunk).lists[at] = of.iter().map(|(.., post)| *post).collect();
        }
    }

    pub fn row(&self, post: PostNo) -> Option<PostRow> {
        self.get(post)?.row
    }

    fn created_at_us(&self, post: PostNo) -> i64 {
        self.row(post).map_or(i64::MIN, |row| row.created_at_us)
    }

    /// Returns the author of the post, even if the post's row was deleted. Returns `None` if the post's row has never
    /// come.
    pub fn author(&self, post: PostNo) -> Option<UserNo> {
        self.get(post)?.author
    }

    pub fn totals(&self, post: PostNo) -> [i64; 5] {
        self.get(post).map_or([0; 5], |post| post.totals.counts())
    }

    /// Returns the counts of the post in a range of epoch minutes.
    pub fn counted(&self, post: PostNo, minutes: std::ops::Range<i64>) -> [i64; 5] {
        let mut sum = [0; 5];
        for entry in self.get(post).into_iter().flat_map(|post| post.minutes.within(&minutes)) {
            sum[entry.action()] += entry.count();
        }
        sum
    }

    /// Returns the weighted counts of the post in each range of minutes, in one pass over the post's minutes.
    pub(super) fn weighed<const N: usize>(
        &self,
        post: PostNo,
        ranges: &[std::ops::Range<i64>; N],
        weights: &[i64; 5],
    ) -> [i64; N] {
        let mut sums = [0; N];
        let start = ranges.iter().map(|range| range.start).min().unwrap_or_default();
        let end = ranges.iter().map(|range| range.end).max().unwrap_or_default();
        for entry in self.get(post).into_iter().flat_map(|post| post.minutes.within(&(start..end))) {
            let (minute, weight) = (i64::from(entry.minute()), entry.count() * weights[entry.action()]);
            for (sum, range) in sums.iter_mut().zip(ranges) {
                *sum += if range.contains(&minute) { weight } else { 0 };
            }
        }
        sums
    }

    /// Returns the latest epoch minute in which the post was counted.
    pub fn last_minute(&self, post: PostNo) -> Option<i64> {
        self.get(post)?.minutes.last_minute().map(i64::from)
    }

    /// Returns the author's posts, sorted from the newest to the oldest, then by id.
    pub fn of_author(&self, user: UserNo) -> &[PostNo] {
        let (chunk, at) = author_place(user);
        self.authors.get(chunk).map_or(&[], |authors| &authors.lists[at])
    }

    /// Returns a number that changes when the author or one of the author's posts changes.
    pub fn version(&self, user: UserNo) -> u32 {
        let (chunk, at) = author_place(user);
        self.authors.get(chunk).map_or(0, |authors| authors.versions[at])
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn mem_bytes(&self) -> usize {
        let large = |post: &Post| match post.totals {
            Totals::Small(_) => 0,
            Totals::Large(_) => size_of::<[i64; 5]>() + ALLOCATED_BYTES,
        };
        let posts = self.chunks.iter().flat_map(|chunk| &chunk.list);
        let minutes: usize = posts.map(|post| post.minutes.mem_bytes() + large(post)).sum();
        let lists: usize = self.authors.iter().flat_map(|authors| &authors.lists).map(allocated).sum();
        let round = self.round.0.lock();
        let changes = allocated(&round.1.posts) + allocated(&round.1.counted);
        minutes + lists + changes + self.chunks.mem_bytes() + self.authors.mem_bytes()
    }
}
