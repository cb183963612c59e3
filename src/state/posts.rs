//! Posts: their rows, what each has counted, and in which minute.

use parking_lot::Mutex;

use crate::event::Action;

use super::ids::Ids;
use super::{MINUTE_MS, late};

/// Minutes that are kept as they are; older ones are put together by the hour once there are too many.
const FINE_MINUTES: i32 = 25 * 60;
/// Buckets over all posts from which on older ones are put together: 64 MiB.
const BUCKETS_MAX: usize = (64 << 20) / size_of::<Bucket>();
/// Hours older than this are dropped then: no window reaches further.
const KEPT_MINUTES: i32 = 8 * 24 * 60;
/// Counts of a round that are told one by one; of more, only the posts.
const LOG_MAX: usize = 1 << 16;
/// Buckets whose minutes say how late it is.
const FOLD_SAMPLE_BUCKETS: usize = 1 << 16;
/// Posts that are put together with each count, once there are too many: all at once would stop every reader.
const FOLD_STEP: usize = 32;

/// A post's row, as far as it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostRow {
    pub author: u32,
    pub created_at_us: i64,
    pub published: bool,
}

/// What a post counted in one minute, by [`Action`]. Rows that left may make a count negative for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Epoch minutes.
    pub minute: i32,
    pub counts: [i32; 5],
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

#[derive(Clone, Debug, Default)]
pub(super) struct Post {
    pub(super) row: Option<PostRow>,
    /// Kept when the row goes: what it counted remains the author's.
    pub(super) author: Option<u32>,
    pub(super) totals: [i64; 5],
    /// Sorted by minute.
    pub(super) buckets: Vec<Bucket>,
    /// The round in whose changes it already is.
    changed_in: u32,
    /// How often it counted since the start of the process, modulo 2^32.
    times_counted: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Posts {
    pub(super) posts: Vec<Post>,
    /// By user: the user's posts, newest first, then by id.
    pub(super) by_author: Vec<Vec<u32>>,
    /// By user: raised when the author or one of the posts changes.
    pub(super) versions: Vec<u32>,
    pub(super) buckets: usize,
    /// At how many buckets they are put together next.
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

impl Posts {
    pub(super) fn grow(&mut self, posts: usize) {
        if self.posts.len() < posts {
            self.posts.resize_with(posts, Post::default);
        }
    }

    /// Notes that the post must be counted anew.
    fn mark(&mut self, post: u32) {
        let (round, changes) = self.round.0.get_mut();
        // Posts begin with round 0, so rounds begin with 1.
        let mark = &mut self.posts[post as usize].changed_in;
        if *mark != *round + 1 {
            *mark = *round + 1;
            changes.posts.push(post);
        }
    }

    /// What changed since the last call.
    pub fn take_changes(&self) -> Changes {
        let (round, changes) = &mut *self.round.0.lock();
        *round = (*round + 1) % (u32::MAX - 1);
        std::mem::take(changes)
    }

    /// How often the post counted something, modulo 2^32: tells which of [`Changes::counted`] a count of it holds.
    pub fn times_counted(&self, post: u32) -> u32 {
        self.posts.get(post as usize).map_or(0, |post| post.times_counted)
    }

    pub(super) fn grow_authors(&mut self, users: usize) {
        self.by_author.resize(users, Vec::new());
        self.versions.resize(users, 0);
    }

    pub(super) fn put(&mut self, post: u32, row: PostRow, ids: &Ids) {
        self.posts[post as usize].row = Some(row);
        self.posts[post as usize].author = Some(row.author);
        let order = |post: &u32| (std::cmp::Reverse(self.created_at_us(*post)), ids.id(*post));
        let place = order(&post);
        let at = self.by_author[row.author as usize].partition_point(|other| order(other) < place);
        let list = &mut self.by_author[row.author as usize];
        if list.get(at) != Some(&post) {
            list.insert(at, post);
        }
        self.versions[row.author as usize] += 1;
        self.mark(post);
    }

    pub(super) fn remove(&mut self, post: u32, author: u32) {
        self.by_author[author as usize].retain(|other| *other != post);
        self.posts[post as usize].row = None;
        self.versions[author as usize] += 1;
        self.mark(post);
    }

    /// The author was activated, deactivated, renamed: the posts' visibility may have changed.
    pub(super) fn author_changed(&mut self, user: u32) {
        self.versions[user as usize] += 1;
        for at in 0..self.by_author[user as usize].len() {
            self.mark(self.by_author[user as usize][at]);
        }
    }

    pub(super) fn count(&mut self, post: u32, action: Action, at_ms: i64, sign: i32) {
        let minute = at_ms.div_euclid(MINUTE_MS).clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        let times = self.posts[post as usize].times_counted.wrapping_add(1);
        self.posts[post as usize].times_counted = times;
        let (_, changes) = self.round.0.get_mut();
        if changes.counted.len() < LOG_MAX {
            changes.counted.push(Counted { post, minute, action, sign: sign as i8, times });
        } else {
            self.mark(post);
        }
        let post = &mut self.posts[post as usize];
        post.totals[action as usize] += i64::from(sign);
        let list = &mut post.buckets;
        // Mostly the last one.
        let at = match list.last() {
            Some(last) if last.minute == minute => list.len() - 1,
            Some(last) if last.minute < minute => list.len(),
            _ => list.partition_point(|bucket| bucket.minute < minute),
        };
        if list.get(at).is_none_or(|bucket| bucket.minute != minute) {
            list.insert(at, Bucket { minute, counts: [0; 5] });
            self.buckets += 1;
        }
        let bucket = &mut list[at];
        bucket.counts[action as usize] += sign;
        if bucket.counts == [0; 5] {
            list.remove(at);
            self.buckets -= 1;
        }
        if self.folding.is_some() || self.buckets >= self.fold_at.max(BUCKETS_MAX) {
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
        let to = (from + FOLD_STEP).min(self.posts.len());
        for post in &mut self.posts[from..to] {
            self.buckets -= post.buckets.len();
            post.buckets.retain(|bucket| bucket.minute >= kept);
            post.buckets.dedup_by(|next, first| {
                let same = next.minute < fine && next.minute.div_euclid(60) == first.minute.div_euclid(60);
                if same {
                    first.minute = first.minute.div_euclid(60) * 60;
                    first.counts.iter_mut().zip(next.counts).for_each(|(sum, count)| *sum += count);
                }
                same
            });
            post.buckets.shrink_to_fit();
            self.buckets += post.buckets.len();
        }
        self.folding = (to < self.posts.len()).then_some(to);
        if self.folding.is_none() {
            // Not again before it has grown by a quarter.
            self.fold_at = self.buckets + self.buckets / 4;
        }
    }

    /// A minute that some have reached and few are beyond; see [`super::late`].
    pub(super) fn late_minute(&self) -> i32 {
        let step = (self.buckets / FOLD_SAMPLE_BUCKETS).max(1);
        let sample = self.posts.iter().flat_map(|post| &post.buckets).step_by(step);
        let mut minutes: Vec<i32> = sample.map(|bucket| bucket.minute).collect();
        late(&mut minutes).unwrap_or(i32::MIN)
    }

    pub fn row(&self, post: u32) -> Option<&PostRow> {
        self.posts.get(post as usize)?.row.as_ref()
    }

    fn created_at_us(&self, post: u32) -> i64 {
        self.row(post).map_or(i64::MIN, |row| row.created_at_us)
    }

    /// Who wrote it, also after its row is gone; `None` before the row came.
    pub fn author(&self, post: u32) -> Option<u32> {
        self.posts.get(post as usize)?.author
    }

    pub fn totals(&self, post: u32) -> [i64; 5] {
        self.posts.get(post as usize).map_or([0; 5], |post| post.totals)
    }

    /// What the post counted in minutes of the range.
    pub fn counted(&self, post: u32, minutes: std::ops::Range<i64>) -> [i64; 5] {
        let mut sum = [0; 5];
        let list = self.posts.get(post as usize).map_or(&[][..], |post| &post.buckets);
        let from = list.partition_point(|bucket| i64::from(bucket.minute) < minutes.start);
        for bucket in list[from..].iter().take_while(|bucket| i64::from(bucket.minute) < minutes.end) {
            sum.iter_mut().zip(bucket.counts).for_each(|(sum, count): (&mut i64, i32)| *sum += i64::from(count));
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
        let list = self.posts.get(post as usize).map_or(&[][..], |post| &post.buckets);
        let at = |minute: i64| list.partition_point(|bucket| i64::from(bucket.minute) < minute);
        let places: [(usize, usize); N] = std::array::from_fn(|index| (at(ranges[index].start), at(ranges[index].end)));
        let mut cuts: Vec<usize> = places.iter().flat_map(|(from, to)| [*from, *to]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        // What is weighed up to each cut.
        let (mut sums, mut last) = (Vec::with_capacity(cuts.len()), 0);
        for (index, cut) in cuts.iter().enumerate() {
            let from = if index == 0 { *cut } else { cuts[index - 1] };
            let mut counts = [0i64; 5];
            for bucket in &list[from..*cut] {
                counts.iter_mut().zip(bucket.counts).for_each(|(sum, count)| *sum += i64::from(count));
            }
            last += counts.iter().zip(weights).map(|(count, weight)| count * weight).sum::<i64>();
            sums.push(last);
        }
        let upto = |place: usize| cuts.binary_search(&place).map_or(0, |at| sums[at]);
        places.map(|(from, to)| upto(to) - upto(from))
    }

    /// The latest epoch minute in which the post counted something.
    pub fn last_minute(&self, post: u32) -> Option<i64> {
        self.posts.get(post as usize)?.buckets.last().map(|bucket| bucket.minute.into())
    }

    /// The author's posts, newest first, then by id.
    pub fn of_author(&self, user: u32) -> &[u32] {
        self.by_author.get(user as usize).map_or(&[], Vec::as_slice)
    }

    /// Changes with the author and with each of the author's posts.
    pub fn version(&self, user: u32) -> u32 {
        self.versions.get(user as usize).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.posts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    pub fn mem_bytes(&self) -> usize {
        let buckets: usize = self.posts.iter().map(|post| post.buckets.capacity() * size_of::<Bucket>()).sum();
        let lists: usize = self.by_author.iter().map(|list| list.capacity() * 4 + size_of::<Vec<u32>>()).sum();
        let changes = self.round.0.lock().1.posts.capacity();
        self.posts.capacity() * size_of::<Post>() + buckets + lists + (self.versions.capacity() + changes) * 4
    }
}
