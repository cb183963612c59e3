//! Score and spacing: from candidates to the list that a feed shows, with the reasons.

use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::state::{DAY_MS, State};

use super::candidates::{Candidates, Sources, collect};
use super::shown::{self, Shown};

/// Posts of one feed.
pub const FEED_MAX: usize = 300;
/// No author twice in the first places.
const TOP: usize = 5;
/// No author more than [`HEAD_PER_AUTHOR`] times in the first so many places.
const HEAD: usize = 50;
const HEAD_PER_AUTHOR: u8 = 3;
/// The same author at this distance at least.
const DISTANCE: usize = 3;

/// A ranked post and why it is where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub post: Id,
    pub author: Id,
    /// Their numbers in the state.
    pub number: u32,
    pub author_number: u32,
    pub sources: Sources,
    pub age_h: f64,
    pub engagement: f64,
    pub affinity: f64,
    /// Place by score alone, from 1.
    pub rank_before: u32,
}

impl Ranked {
    /// The three terms of the score.
    pub fn terms(&self) -> [f64; 3] {
        terms(self.age_h, self.engagement, self.affinity)
    }

    pub fn score(&self) -> f64 {
        self.terms().iter().sum()
    }
}

/// A feed and how it came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feed {
    pub posts: Vec<Ranked>,
    /// See [`super::candidates::Candidates::seen_until_ms`].
    pub seen_until_ms: Option<i64>,
    /// It took too long: followees' posts only, newest first.
    pub cut: bool,
    /// Places that no post fitted and that were filled against the rules of spacing.
    pub relaxed: u32,
}

/// How a feed is made.
pub struct Making<'a> {
    pub now_ms: i64,
    /// The posts of trending 24 h.
    pub trending: &'a [u32],
    /// Fills a place that no post fits with the best remaining one, instead of ending the list there.
    pub relaxed: bool,
    /// Posts that are left out: the reader had them.
    pub shown: &'a Shown,
    /// Whether it takes too long; asked between sources.
    pub late: &'a dyn Fn() -> bool,
}

impl<'a> Making<'a> {
    /// By the rules, without haste.
    pub fn strict(now_ms: i64, trending: &'a [u32]) -> Making<'a> {
        Making { now_ms, trending, relaxed: false, shown: &shown::NOTHING, late: &|| false }
    }
}

/// Recency, engagement and affinity, each already weighted: `0.30·exp(−0.1·age_h)`, `0.40·ln(1+engagement)`,
/// `0.30·ln(1+affinity)`.
pub fn terms(age_h: f64, engagement: f64, affinity: f64) -> [f64; 3] {
    [0.30 * (-0.1 * age_h).exp(), 0.40 * engagement.ln_1p(), 0.30 * affinity.ln_1p()]
}

fn age_h(now_ms: i64, created_at_us: i64) -> f64 {
    now_ms.saturating_mul(1_000).saturating_sub(created_at_us).max(0) as f64 / 3.6e9
}

/// A candidate while it is ranked: small, as hundreds are sorted and moved.
struct Scored {
    score: f64,
    post: Id,
    number: u32,
    author: u32,
    sources: Sources,
    engagement: f64,
    affinity: f64,
}

/// The feed of a user: candidates by score, then smallest id, then spaced.
pub fn feed(state: &State, user: u32, making: &Making<'_>) -> Feed {
    let now_ms = making.now_ms;
    let mut candidates = collect(state, user, now_ms, making.trending, making.late);
    leave_out(state, &mut candidates, making.shown);
    let seen_until_ms = candidates.seen_until_ms;
    if candidates.cut {
        let posts = newest(state, now_ms, &candidates.posts);
        return Feed { posts, seen_until_ms, cut: true, relaxed: 0 };
    }
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let affinities: FxHashMap<u32, i64> = state.affinity.authors(user, today).into_iter().collect();
    let mut scored = Vec::with_capacity(candidates.posts.len());
    for (number, sources) in candidates.posts {
        let Some(row) = state.posts.row(number) else { continue };
        let affinity = affinities.get(&row.author).copied().unwrap_or(0) as f64 / 10.0;
        let engagement = state.engagement(number).max(0) as f64 / 10.0;
        let score = terms(age_h(now_ms, row.created_at_us), engagement, affinity).iter().sum();
        let (post, author) = (state.post_ids.id(number), row.author);
        scored.push(Scored { score, post, number, author, sources, engagement, affinity });
    }
    scored.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.post.cmp(&b.post)));
    let authors: Vec<u32> = scored.iter().map(|post| post.author).collect();
    let (places, relaxed) = space(&authors, making.relaxed);
    let finish = |at: u32| {
        let Scored { post, number, author, sources, engagement, affinity, .. } = scored[at as usize];
        let created_at_us = state.posts.row(number).map_or(i64::MIN, |row| row.created_at_us);
        Ranked {
            post,
            author: state.users.id(author),
            number,
            author_number: author,
            sources,
            age_h: age_h(now_ms, created_at_us),
            engagement,
            affinity,
            rank_before: at + 1,
        }
    };
    Feed { posts: places.into_iter().map(finish).collect(), seen_until_ms, cut: false, relaxed }
}

/// The newest posts of at most 72 hours by followees, newest first, then smallest id: `algo=time`.
pub fn by_time(state: &State, user: u32, now_ms: i64, shown: &Shown) -> Feed {
    let mut candidates = collect(state, user, now_ms, &[], &|| false);
    leave_out(state, &mut candidates, shown);
    let posts = newest(state, now_ms, &candidates.posts);
    Feed { posts, seen_until_ms: candidates.seen_until_ms, cut: false, relaxed: 0 }
}

fn leave_out(state: &State, candidates: &mut Candidates, shown: &Shown) {
    if !shown.is_empty() {
        candidates.posts.retain(|(number, _)| !shown.contains(state.post_ids.id(*number)));
    }
}

fn newest(state: &State, now_ms: i64, candidates: &[(u32, Sources)]) -> Vec<Ranked> {
    let mut dated = Vec::new();
    for (number, sources) in candidates {
        let Some(row) = state.posts.row(*number).filter(|_| sources.followed) else { continue };
        let ranked = Ranked {
            post: state.post_ids.id(*number),
            author: state.users.id(row.author),
            number: *number,
            author_number: row.author,
            sources: *sources,
            age_h: age_h(now_ms, row.created_at_us),
            engagement: 0.0,
            affinity: 0.0,
            rank_before: 0,
        };
        dated.push((row.created_at_us, ranked));
    }
    dated.sort_unstable_by(|(a_us, a), (b_us, b)| b_us.cmp(a_us).then(a.post.cmp(&b.post)));
    let mut list: Vec<_> = dated.into_iter().map(|(_, post)| post).take(FEED_MAX).collect();
    list.iter_mut().zip(1..).for_each(|(post, rank)| post.rank_before = rank);
    list
}

/// Fills place by place with the best remaining post that fits, by its author; ends where none does, or takes the best
/// remaining one when `relaxed`. Returns places in `authors`, and how many were taken against the rules.
fn space(authors: &[u32], relaxed: bool) -> (Vec<u32>, u32) {
    let mut placed: Vec<u32> = Vec::with_capacity(authors.len().min(FEED_MAX));
    let mut in_head: FxHashMap<u32, u8> = FxHashMap::default();
    let mut taken = vec![false; authors.len()];
    // Everything before it is taken.
    let (mut first, mut forced) = (0, 0);
    while placed.len() < FEED_MAX {
        let place = placed.len();
        let fits = |at: &usize| {
            let author = authors[*at];
            let near = &placed[place.saturating_sub(DISTANCE - 1)..];
            let before = || if place < HEAD { in_head.get(&author).copied().unwrap_or(0) } else { 0 };
            near.iter().all(|other| authors[*other as usize] != author)
                && (place >= TOP || before() == 0)
                && (place >= HEAD || before() < HEAD_PER_AUTHOR)
        };
        let mut free = (first..authors.len()).filter(|at| !taken[*at]);
        let at = match free.clone().find(fits) {
            Some(at) => at,
            None => match free.next().filter(|_| relaxed) {
                Some(at) => {
                    forced += 1;
                    at
                }
                None => break,
            },
        };
        taken[at] = true;
        while taken.get(first) == Some(&true) {
            first += 1;
        }
        if place < HEAD {
            *in_head.entry(authors[at]).or_default() += 1;
        }
        placed.push(at as u32);
    }
    (placed, forced)
}

/// One post with its reasons, as a JSON object; `rank` is its place in the feed, from 1.
pub fn item_json(post: &Ranked, rank: usize) -> String {
    let (sources, terms) = (post.sources, post.terms());
    let names = [(sources.followed, "followed"), (sources.trending, "trending"), (sources.affinity, "affinity")];
    let names: Vec<_> = names.iter().filter(|(is, _)| *is).map(|(_, name)| format!("\"{name}\"")).collect();
    format!(
        r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"rank_before_spacing":{},"score":{:.6},"sources":[{}],"features":{{"age_h":{:.4},"engagement":{},"affinity":{}}},"terms":{{"recency":{:.6},"engagement":{:.6},"affinity":{:.6}}}}}"#,
        post.post,
        post.author,
        post.rank_before,
        post.score(),
        names.join(","),
        post.age_h,
        post.engagement,
        post.affinity,
        terms[0],
        terms[1],
        terms[2],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn relaxed_spacing_leaves_nothing_out_and_counts_what_it_forces(authors in proptest::collection::vec(0u32..6, 0..120)) {
            let (strict, none) = space(&authors, false);
            let (relaxed, forced) = space(&authors, true);
            prop_assert_eq!(none, 0);
            prop_assert_eq!(relaxed.len(), authors.len().min(FEED_MAX));
            prop_assert_eq!(&relaxed[..strict.len()], &strict[..], "the same until none fits");
            prop_assert_eq!(forced == 0, strict.len() == relaxed.len());
            let mut sorted = relaxed.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), relaxed.len());
            // Counted anew, by the written rules.
            let broken = (0..relaxed.len()).filter(|place| {
                let author = |at: usize| authors[relaxed[at] as usize];
                let before = (0..*place).filter(|at| author(*at) == author(*place)).count();
                let near = (place.saturating_sub(2)..*place).any(|at| author(at) == author(*place));
                near || (*place < 5 && before > 0) || (*place < 50 && before >= 3)
            });
            prop_assert_eq!(broken.count(), forced as usize);
        }
    }
}
