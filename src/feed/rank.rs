//! Score and spacing: from candidates to the list that a feed shows, with the reasons.

use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::state::{DAY_MS, State};

use super::candidates::{Sources, collect};

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
    pub sources: Sources,
    pub age_h: f64,
    pub engagement: f64,
    pub affinity: f64,
    /// The three terms of the score.
    pub terms: [f64; 3],
    pub score: f64,
    /// Place by score alone, from 1.
    pub rank_before: usize,
}

/// Recency, engagement and affinity, each already weighted: `0.30·exp(−0.1·age_h)`, `0.40·ln(1+engagement)`,
/// `0.30·ln(1+affinity)`.
pub fn terms(age_h: f64, engagement: f64, affinity: f64) -> [f64; 3] {
    [0.30 * (-0.1 * age_h).exp(), 0.40 * engagement.ln_1p(), 0.30 * affinity.ln_1p()]
}

/// The feed of a user: candidates by score, then smallest id, then spaced. `trending` are the posts of trending 24 h.
pub fn feed(state: &State, user: u32, now_ms: i64, trending: &[u32]) -> Vec<Ranked> {
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let mut affinities: FxHashMap<u32, f64> = FxHashMap::default();
    let mut ranked = Vec::new();
    for (number, sources) in collect(state, user, now_ms, trending) {
        let Some(row) = state.posts.row(number) else { continue };
        let weight = || state.affinity.weight(user, row.author, today).max(0) as f64 / 10.0;
        let affinity = *affinities.entry(row.author).or_insert_with(weight);
        let engagement = state.engagement(number).max(0) as f64 / 10.0;
        let age_h = (now_ms * 1_000 - row.created_at_us).max(0) as f64 / 3.6e9;
        let terms = terms(age_h, engagement, affinity);
        let score = terms.iter().sum();
        let (post, author) = (state.post_ids.id(number), state.users.id(row.author));
        ranked.push(Ranked { post, author, sources, age_h, engagement, affinity, terms, score, rank_before: 0 });
    }
    ranked.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.post.cmp(&b.post)));
    ranked.iter_mut().zip(1..).for_each(|(post, rank)| post.rank_before = rank);
    space(ranked)
}

/// The newest posts of at most 72 hours by followees, newest first, then smallest id: `algo=time`.
pub fn by_time(state: &State, user: u32, now_ms: i64) -> Vec<Ranked> {
    let mut dated = Vec::new();
    for (number, sources) in collect(state, user, now_ms, &[]) {
        let Some(row) = state.posts.row(number).filter(|_| sources.followed) else { continue };
        let age_h = (now_ms * 1_000 - row.created_at_us).max(0) as f64 / 3.6e9;
        let (post, author) = (state.post_ids.id(number), state.users.id(row.author));
        let (engagement, affinity, terms, score) = (0.0, 0.0, [0.0; 3], 0.0);
        let ranked = Ranked { post, author, sources, age_h, engagement, affinity, terms, score, rank_before: 0 };
        dated.push((row.created_at_us, ranked));
    }
    dated.sort_unstable_by(|(a_us, a), (b_us, b)| b_us.cmp(a_us).then(a.post.cmp(&b.post)));
    let mut list: Vec<_> = dated.into_iter().map(|(_, post)| post).take(FEED_MAX).collect();
    list.iter_mut().zip(1..).for_each(|(post, rank)| post.rank_before = rank);
    list
}

/// Fills place by place with the best remaining post that fits; ends where none does.
fn space(mut rest: Vec<Ranked>) -> Vec<Ranked> {
    let mut placed: Vec<Ranked> = Vec::with_capacity(rest.len().min(FEED_MAX));
    let mut in_head: FxHashMap<Id, u8> = FxHashMap::default();
    while placed.len() < FEED_MAX {
        let place = placed.len();
        let fits = |post: &Ranked| {
            let near = &placed[place.saturating_sub(DISTANCE - 1)..];
            let before = in_head.get(&post.author).copied().unwrap_or(0);
            near.iter().all(|other| other.author != post.author)
                && (place >= TOP || before == 0)
                && (place >= HEAD || before < HEAD_PER_AUTHOR)
        };
        let Some(at) = rest.iter().position(fits) else { break };
        let post = rest.remove(at);
        *in_head.entry(post.author).or_default() += u8::from(place < HEAD);
        placed.push(post);
    }
    placed
}

/// One post with its reasons, as a JSON object; `rank` is its place in the feed, from 1.
pub fn item_json(post: &Ranked, rank: usize) -> String {
    let Ranked { sources, terms, .. } = post;
    let names = [(sources.followed, "followed"), (sources.trending, "trending"), (sources.affinity, "affinity")];
    let names: Vec<_> = names.iter().filter(|(is, _)| *is).map(|(_, name)| format!("\"{name}\"")).collect();
    format!(
        r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"rank_before_spacing":{},"score":{:.6},"sources":[{}],"features":{{"age_h":{:.4},"engagement":{},"affinity":{}}},"terms":{{"recency":{:.6},"engagement":{:.6},"affinity":{:.6}}}}}"#,
        post.post,
        post.author,
        post.rank_before,
        post.score,
        names.join(","),
        post.age_h,
        post.engagement,
        post.affinity,
        terms[0],
        terms[1],
        terms[2],
    )
}
