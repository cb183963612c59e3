//! Posts: their rows, what each has counted, and in which minute.

use parking_lot::Mutex;

use crate::event::Action;

use super::chunks::{ALLOCATED_BYTES, Chunks, allocated, give_back, insert};
use super::ids::Ids;
use super::minutes::{Entry, Minutes, folded};
use super::times::{MINUTE_MS, late};
use super::totals::Totals;

/// Minutes that are kept as they are; older ones are put together by the hour once there are too many.
const FINE_MINUTES: i32 = 25 * 60;
/// Entries over all posts from which on older ones are put together: 64 MiB.
const ENTRIES_MAX: usize = (64 << 20) / size_of::<Entry>();
/// Hours older than this are dropped then: no window reaches further.
const KEPT_MINUTES: i32 = 8 * 24 * 60;
/// Counts of a round that are told one by one; of more, only the posts.
const LOG_MAX: usize = 1 << 16;
/// Entries whose minutes say how late it is.
const FOLD_SAMPLE_ENTRIES: usize = 1 << 16;
/// Posts that are put together with each count, once there are too many: all at once would stop every reader.
const FOLD_STEP: usize = 32;
/// Posts of one chunk.
pub(super) const POSTS: usize = 64;
/// Authors of one chunk.
pub(super) const AUTHORS: usize = 256;

/// A post's row, as far as it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostRow {
    pub author: u32,
    pub created_at_us: i64,
    pub published: bool,
}

/// One count of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub post: u32,
    /// Epoch minutes.
    pub minute: i32,
    pub action: Action,
    /// One more, or one less.
    pub sign: i8,
    /// How often the post had counted by then: [`Posts::times_counted`].
    pub times: u32,
}

/// What happened to posts in a round.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Posts that must be counted anew, each once: their visibility changed, or there is too much to tell.
    pub posts: Vec<u32>,
    pub counted: Vec<Counted>,
}

#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) row: Option<PostRow>,
    /// Kept when the row goes: what it counted remains the author's.
    pub(super) author: Option<u32>,
    pub(super) totals: Totals,
    pub(super) minutes: Minutes,
    /// The round in whose changes it already is.
    changed_in: u32,
    /// How often it counted since the start of the process, modulo 2^32.
    times_counted: u32,
}

impl Default for Post {
    fn default() -> Post {
        let totals = Totals::Small([0; 5]);
        Post { row: None, author: None, totals, minutes: Minutes::default(), changed_in: 0, times_counted: 0 }
    }
}

/// Some posts.
#[derive(Clone, Debug)]
pub(super) struct PostChunk {
    pub(super) list: [Post; POSTS],
}

impl Default for PostChunk {
    fn default() -> PostChunk {
        PostChunk { list: std::array::from_fn(|_| Post::default()) }
    }
}

/// What some users posted.
#[derive(Clone, Debug)]
pub(super) struct Authors {
    /// The user's posts, newest first, then by id.
    pub(super) lists: [Vec<u32>; AUTHORS],
    /// Raised when the author or one of the posts changes.
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
    /// Entries of minutes over all posts.
    pub(super) entries: usize,
    /// At how many entries they are put together next.
    pub(super) fold_at: usize,
    /// While they are put together: the next post.
    pub(super) folding: Option<usize>,
    /// While they are put together: the minute that counts as the latest.
    pub(super) fold_from: i32,
    round: Round,
}

/// What changed since somebody last took it. Behind a lock of its own, so that who takes it is a reader of the state: a
/// second writer would wait for a checkpoint, and every reader behind it.
#[derive(Debug, Default)]
struct Round(Mutex<(u32, Changes)>);

impl Clone for Round {
    fn clone(&self) -> Round {
        Round(Mutex::new(self.0.lock().clone()))
    }
}

impl Round {
    /// Notes that the post must be counted anew.
    fn mark(&mut self, number: u32, post: &mut Post) {
        let (round, changes) = self.0.get_mut();
        // Posts begin with round 0, so rounds begin with 1.
        if post.changed_in != *round + 1 {
            post.changed_in = *round + 1;
            changes.posts.push(number);
        }
    }
}

/// Which chunk an author is in, and where.
pub(super) fn author_place(user: u32) -> (usize, usize) {
    (user as usize / AUTHORS, user as usize % AUTHORS)
}

impl Posts {
    pub(super) fn grow(&mut self, posts: usize) {
        if self.len < posts {
            self.len = posts;
            self.chunks.grow(posts.div_ceil(POSTS));
        }
    }

    fn get(&self, post: u32) -> Option<&Post> {
        self.chunks.get(post as usize / POSTS).map(|chunk| &chunk.list[post as usize % POSTS])
    }

    /// A post that is there.
    pub(super) fn change(&mut self, post: u32) -> &mut Post {
        &mut self.chunks.change(post as usize / POSTS).list[post as usize % POSTS]
    }

    /// What changed since the last call.
    pub fn take_changes(&self) -> Changes {
        let (round, changes) = &mut *self.round.0.lock();
        *round = (*round + 1) % (u32::MAX - 1);
        std::mem::take(changes)
    }

    /// How often the post counted something, modulo 2^32: tells which of [`Changes::counted`] a count of it holds.
    pub fn times_counted(&self, post: u32) -> u32 {
        self.get(post).map_or(0, |post| post.times_counted)
    }

    pub(super) fn grow_authors(&mut self, users: usize) {
        self.authors.grow(users.div_ceil(AUTHORS));
    }

    pub(super) fn put(&mut self, post: u32, row: PostRow, ids: &Ids) {
        let changed = &mut self.chunks.change(post as usize / POSTS).list[post as usize % POSTS];
        (changed.row, changed.author) = (Some(row), Some(row.author));
        self.round.mark(post, changed);
        let order = |post: u32| (std::cmp::Reverse(self.created_at_us(post)), ids.id(post));
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

    pub(super) fn remove(&mut self, post: u32, author: u32) {
        let (chunk, at) = author_place(author);
        let authors = self.authors.change(chunk);
        authors.lists[at].retain(|other| *other != post);
        give_back(&mut authors.lists[at]);
        authors.versions[at] += 1;
        let changed = &mut self.chunks.change(post as usize / POSTS).list[post as usize % POSTS];
        changed.row = None;
        self.round.mark(post, changed);
    }

    /// The author was activated, deactivated, renamed: the posts' visibility may have changed.
    pub(super) fn author_changed(&mut self, user: u32) {
        let (chunk, author) = author_place(user);
        let authors = self.authors.change(chunk);
        authors.versions[author] += 1;
        for post in &authors.lists[author] {
            let changed = &mut self.chunks.change(*post as usize / POSTS).list[*post as usize % POSTS];
            self.round.mark(*post, changed);
        }
    }

    pub(super) fn count(&mut self, post: u32, action: Action, at_ms: i64, sign: i32) {
        let minute = at_ms.div_euclid(MINUTE_MS).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let counted = &mut self.chunks.change(post as usize / POSTS).list[post as usize % POSTS];
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

    /// Puts minutes of the next posts together that no fine window needs, and drops what no window needs.
    pub(super) fn fold(&mut self) {
        let from = self.folding.unwrap_or_else(|| {
            self.fold_from = self.late_minute();
            0
        });
        let (fine, kept) = (self.fold_from.saturating_sub(FINE_MINUTES), self.fold_from.saturating_sub(KEPT_MINUTES));
        let to = (from + FOLD_STEP).min(self.len);
        for post in from as u32..to as u32 {
            let folded = self.get(post).and_then(|post| Some((post.minutes.len(), folded(&post.minutes, fine, kept)?)));
            if let Some((before, minutes)) = folded {
                self.entries = self.entries + minutes.len() - before;
                self.change(post).minutes = minutes;
            }
        }
        self.folding = (to < self.len).then_some(to);
        if self.folding.is_none() {
            // Not again before it has grown by a quarter.
            self.fold_at = self.entries + self.entries / 4;
        }
    }

    /// A minute that some have reached and few are beyond; see [`late`].
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

    /// Counts entries and lists the posts of each author, from the posts.
    pub(super) fn index(&mut self, ids: &Ids) {
        let mut rows = Vec::new();
        self.entries = 0;
        for (post, number) in self.chunks.iter().flat_map(|chunk| &chunk.list).zip(0u32..) {
            self.entries += post.minutes.len();
            rows.extend(post.row.map(|row| (row.author, std::cmp::Reverse(row.created_at_us), ids.id(number), number)));
        }
        rows.sort_unstable();
        for of in rows.chunk_by(|a, b| a.0 == b.0) {
            let (chunk, at) = author_place(of[0].0);
            self.authors.change(chunk).lists[at] = of.iter().map(|(.., post)| *post).collect();
        }
    }

    pub fn row(&self, post: u32) -> Option<PostRow> {
        self.get(post)?.row
    }

    fn created_at_us(&self, post: u32) -> i64 {
        self.row(post).map_or(i64::MIN, |row| row.created_at_us)
    }

    /// Who wrote it, also after its row is gone; `None` before the row came.
    pub fn author(&self, post: u32) -> Option<u32> {
        self.get(post)?.author
    }

    pub fn totals(&self, post: u32) -> [i64; 5] {
        self.get(post).map_or([0; 5], |post| post.totals.counts())
    }

    /// What the post counted in minutes of the range.
    pub fn counted(&self, post: u32, minutes: std::ops::Range<i64>) -> [i64; 5] {
        let mut sum = [0; 5];
        for entry in self.get(post).into_iter().flat_map(|post| post.minutes.within(&minutes)) {
            sum[entry.action()] += entry.count();
        }
        sum
    }

    /// What the post counted in minutes of each range, weighed: one pass over its minutes for all ranges.
    pub(super) fn weighed<const N: usize>(
        &self,
        post: u32,
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

    /// The latest epoch minute in which the post counted something.
    pub fn last_minute(&self, post: u32) -> Option<i64> {
        self.get(post)?.minutes.last_minute().map(i64::from)
    }

    /// The author's posts, newest first, then by id.
    pub fn of_author(&self, user: u32) -> &[u32] {
        let (chunk, at) = author_place(user);
        self.authors.get(chunk).map_or(&[], |authors| &authors.lists[at])
    }

    /// Changes with the author and with each of the author's posts.
    pub fn version(&self, user: u32) -> u32 {
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
