//! Posts: their rows, and their counts by minute.

use parking_lot::Mutex;

use crate::event::Action;

use super::chunks::{ALLOCATED_BYTES, Chunks, allocated, give_back, insert};
use super::dense::{PostNo, UserNo};
use super::ids::Ids;
use super::minutes::{Entry, Minutes, folded};
use super::times::{MINUTE_MS, late};
use super::totals::Totals;

/// The number of minutes that are kept individually. Older ones are combined by the hour once there are too many.
const FINE_MINUTES: i32 = 25 * 60;
/// The number of entries over all posts from which on older ones are combined: 64 MiB.
const ENTRIES_MAX: usize = (64 << 20) / size_of::<Entry>();
/// Hours older than this are then dropped, because no window includes them.
const KEPT_MINUTES: i32 = 8 * 24 * 60;
/// The most counts of a round that are reported individually. If there are more, only their posts are reported.
const LOG_MAX: usize = 1 << 16;
/// The number of entries that are sampled to estimate the present minute.
const FOLD_SAMPLE_ENTRIES: usize = 1 << 16;
/// The number of posts that are combined with each count, once there are too many entries. Combining all at once would
/// stop every reader.
const FOLD_STEP: usize = 32;
/// The number of posts in one chunk.
pub(super) const POSTS: usize = 64;
/// The number of authors in one chunk.
pub(super) const AUTHORS: usize = 256;

/// The served part of a post's row.
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
    /// The minute in epoch minutes.
    pub minute: i32,
    pub action: Action,
    /// The change: 1 or −1.
    pub sign: i8,
    /// The number of the post's counts up to this one: [`Posts::times_counted`].
    pub times: u32,
}

/// The changes of posts in a round.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The posts that must be counted again, each once, because their visibility changed, or because there are too many
    /// changes to report.
    pub posts: Vec<PostNo>,
    pub counted: Vec<Counted>,
}

#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) row: Option<PostRow>,
    /// The author. It is kept when the row is deleted, because the counts remain the author's.
    pub(super) author: Option<UserNo>,
    pub(super) totals: Totals,
    pub(super) minutes: Minutes,
    /// The round that already has this post among its changes.
    changed_in: u32,
    /// The number of counts since the start of the process, modulo 2^32.
    times_counted: u32,
}

impl Default for Post {
    fn default() -> Post {
        let totals = Totals::Small([0; 5]);
        Post { row: None, author: None, totals, minutes: Minutes::default(), changed_in: 0, times_counted: 0 }
    }
}

/// A chunk of posts.
#[derive(Clone, Debug)]
pub(super) struct PostChunk {
    pub(super) list: [Post; POSTS],
}

impl Default for PostChunk {
    fn default() -> PostChunk {
        PostChunk { list: std::array::from_fn(|_| Post::default()) }
    }
}

/// The posts of some users.
#[derive(Clone, Debug)]
pub(super) struct Authors {
    /// Each user's posts, newest first, then by id.
    pub(super) lists: [Vec<PostNo>; AUTHORS],
    /// The version of each author, raised when the author or one of the posts changes.
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
    /// The number of entries of minutes over all posts.
    pub(super) entries: usize,
    /// The number of entries at which the next combination begins.
    pub(super) fold_at: usize,
    /// The next post of a running combination.
    pub(super) folding: Option<usize>,
    /// The minute that counts as the latest in a running combination.
    pub(super) fold_from: i32,
    round: Round,
}

/// The changes since they were last taken. The changes have a lock of their own, so that taking them only needs a
/// reader's lock of the state: a second writer would wait for a checkpoint, and every reader would wait behind it.
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
        // Posts begin with round 0, so rounds begin with 1.
        if post.changed_in != *round + 1 {
            post.changed_in = *round + 1;
            changes.posts.push(number);
        }
    }
}

/// The chunk of an author, and the index in the chunk.
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

    /// The post with this number, for a change. The post must exist.
    pub(super) fn change(&mut self, post: PostNo) -> &mut Post {
        &mut self.chunks.change(post.index() / POSTS).list[post.index() % POSTS]
    }

    /// Takes the changes since the last call.
    pub fn take_changes(&self) -> Changes {
        let (round, changes) = &mut *self.round.0.lock();
        *round = (*round + 1) % (u32::MAX - 1);
        std::mem::take(changes)
    }

    /// The number of the post's counts, modulo 2^32. It shows which of [`Changes::counted`] are already contained in a
    /// count of the post.
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

    /// Notes that the author was activated, deactivated or renamed, so the visibility of the posts may have changed.
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
        let (_, changes) = self.round.0.get_mut();
        if changes.counted.len() < LOG_MAX {
            changes.counted.push(Counted { post, minute, action, sign: sign as i8, times });
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

    /// Combines minutes of the next posts that no fine window needs, and drops minutes that no window needs.
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
            // The next combination begins only after the entries have grown by a quarter.
            self.fold_at = self.entries + self.entries / 4;
        }
    }

    /// An estimate of the present minute, which some entries have reached and few exceed; see [`late`].
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

    /// Counts the entries and lists each author's posts, from the posts.
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

    /// The author of the post, also after its row was deleted. `None` before the row came.
    pub fn author(&self, post: PostNo) -> Option<UserNo> {
        self.get(post)?.author
    }

    pub fn totals(&self, post: PostNo) -> [i64; 5] {
        self.get(post).map_or([0; 5], |post| post.totals.counts())
    }

    /// The counts of the post in the minutes of the range.
    pub fn counted(&self, post: PostNo, minutes: std::ops::Range<i64>) -> [i64; 5] {
        let mut sum = [0; 5];
        for entry in self.get(post).into_iter().flat_map(|post| post.minutes.within(&minutes)) {
            sum[entry.action()] += entry.count();
        }
        sum
    }

    /// The weighted counts of the post in the minutes of each range, in one pass over its minutes.
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

    /// The latest epoch minute with a count of the post.
    pub fn last_minute(&self, post: PostNo) -> Option<i64> {
        self.get(post)?.minutes.last_minute().map(i64::from)
    }

    /// The author's posts, newest first, then by id.
    pub fn of_author(&self, user: UserNo) -> &[PostNo] {
        let (chunk, at) = author_place(user);
        self.authors.get(chunk).map_or(&[], |authors| &authors.lists[at])
    }

    /// A number that changes with the author and with each of the author's posts.
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
