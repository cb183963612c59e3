//! Scores and spaces posts: turns candidates into the list that a feed shows, with the reasons for each place.

use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::state::ranking::FeedNumbers;
use crate::state::{DAY_MS, PostNo, State, UserNo};

use super::candidates::{Barred, Candidates, Missed, Sources, barred, collect, missed};
use super::shown::{self, Shown};

/// A ranked post, and the reasons for its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub post: Id,
    pub author: Id,
    /// The post's number in the state.
    pub number: PostNo,
    pub author_number: UserNo,
    pub sources: Sources,
    pub age_h: f64,
    pub engagement: f64,
    pub affinity: f64,
    /// The post's place in the order of scores before spacing, counted from 1.
    pub rank_before: u32,
}

impl Ranked {
    /// Returns the three terms of the post's score.
    pub fn terms(&self, scoring: &Scoring) -> [f64; 3] {
        scoring.terms(self.age_h, self.engagement, self.affinity)
    }
}

/// A feed, with facts about how it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    pub posts: Vec<Ranked>,
    /// The weights that gave the posts their scores.
    pub scoring: Scoring,
    /// The first time at which a post that was left out as seen may be shown again (see
    /// [`super::candidates::Candidates::seen_until_ms`]).
    pub seen_until_ms: Option<i64>,
    /// Whether the time limit was reached, so that the feed has only posts of followees, newest first.
    pub cut: bool,
    /// The number of places that were filled against the rules of spacing, because no post fitted.
    pub relaxed: u32,
}

/// The inputs from which a feed is made.
pub struct Making<'a> {
    pub now_ms: i64,
    /// The numbers of the posts in the 24 h trending list.
    pub trending: &'a [PostNo],
    /// Whether the best remaining post takes a place that no post fits. If `relaxed` is false, the list ends at the
    /// first place that no post fits.
    pub relaxed: bool,
    /// The posts that the reader was already shown, which the feed leaves out.
    pub shown: &'a Shown,
    /// Returns whether the time limit is reached. `late` is called between the sources of candidates.
    pub late: &'a dyn Fn() -> bool,
}

impl<'a> Making<'a> {
    /// Returns inputs for a feed that follows all rules of spacing and has no time limit.
    pub fn strict(now_ms: i64, trending: &'a [PostNo]) -> Making<'a> {
        Making { now_ms, trending, relaxed: false, shown: &shown::NOTHING, late: &|| false }
    }
}

/// The weights on which a score depends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    recency: f64,
    decay: f64,
    engagement: f64,
    affinity: f64,
}

impl Scoring {
    pub fn of(numbers: &FeedNumbers) -> Scoring {
        Scoring {
            recency: numbers.recency_weight.get(),
            decay: numbers.recency_decay.get(),
            engagement: numbers.engagement_weight.get(),
            affinity: numbers.affinity_weight.get(),
        }
    }

    /// Returns the weighted terms for recency, engagement and affinity. By default the terms are
    /// `0.30·exp(−0.1·age_h)`, `0.40·ln(1+engagement)` and `0.30·ln(1+affinity)`.
    pub fn terms(&self, age_h: f64, engagement: f64, affinity: f64) -> [f64; 3] {
        let recency = self.recency * (-self.decay * age_h).exp();
        [recency, self.engagement * engagement.ln_1p(), self.affinity * affinity.ln_1p()]
    }
}

fn age_h(now_ms: i64, created_at_us: i64) -> f64 {
    now_ms.saturating_mul(1_000).saturating_sub(created_at_us).max(0) as f64 / 3.6e9
}

/// A candidate with its score. `Scored` is small, because nova sorts and moves hundreds of scored candidates for each
/// feed.
struct Scored {
    score: f64,
    post: Id,
    number: PostNo,
    author: UserNo,
    sources: Sources,
    engagement: f64,
    affinity: f64,
}

/// Makes the feed of a user: sorts the candidates by score and then by smallest id, and spaces them.
pub fn feed(state: &State, user: UserNo, making: &Making<'_>) -> Feed {
    let numbers = &state.ranking().feed;
    let scoring = Scoring::of(numbers);
    let candidates = candidates(state, user, making);
    let seen_until_ms = candidates.seen_until_ms;
    if candidates.cut {
        let posts = newest(state, making.now_ms, &candidates.posts);
        return Feed { posts, scoring, seen_until_ms, cut: true, relaxed: 0 };
    }
    let scored = score(state, user, making.now_ms, candidates.posts);
    let authors: Vec<UserNo> = scored.iter().map(|post| post.author).collect();
    let Spaced { placed, forced, .. } = space(&authors, numbers, making.relaxed);
    let posts = placed.into_iter().map(|at| ranked(state, making.now_ms, &scored, at)).collect();
    Feed { posts, scoring, seen_until_ms, cut: false, relaxed: forced }
}

/// Returns the candidates without the posts that the reader was already shown.
fn candidates(state: &State, user: UserNo, making: &Making<'_>) -> Candidates {
    let mut candidates = collect(state, user, making.now_ms, making.trending, making.late);
    leave_out(state, &mut candidates, making.shown);
    candidates
}

/// Scores the candidates and sorts them: highest score first, and smallest id first among equal scores.
fn score(state: &State, user: UserNo, now_ms: i64, candidates: Vec<(PostNo, Sources)>) -> Vec<Scored> {
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let affinities: FxHashMap<UserNo, i64> = state.affinity.authors(user, today).into_iter().collect();
    let scoring = Scoring::of(&state.ranking().feed);
    let mut scored = Vec::with_capacity(candidates.len());
    for (number, sources) in candidates {
        let Some(row) = state.posts.row(number) else { continue };
        let affinity = affinities.get(&row.author).copied().unwrap_or(0) as f64 / 10.0;
        let engagement = state.engagement(number).max(0) as f64 / 10.0;
        let score = scoring.terms(age_h(now_ms, row.created_at_us), engagement, affinity).iter().sum();
        let (post, author) = (state.post_ids.id(number), row.author);
        scored.push(Scored { score, post, number, author, sources, engagement, affinity });
    }
    scored.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.post.cmp(&b.post)));
    scored
}

/// Returns the scored post at index `at`, with the reasons for its place. The index `at` is the post's place in the
/// order of scores before spacing, counted from 0.
fn ranked(state: &State, now_ms: i64, scored: &[Scored], at: u32) -> Ranked {
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
}

/// The reason why a post is in a feed, or the first rule that keeps it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Explained {
    Barred(Barred),
    Missed(Missed),
    /// The reader was already shown the post.
    Shown,
    /// The time limit was reached, so the feed has only posts of followees, and this post is not among them.
    Cut,
    /// The post is at this place of the feed, counted from 1.
    Placed {
        place: u32,
        post: Ranked,
    },
    /// The list ended at a place that no remaining post fitted. The post did not fit the place because of the rules
    /// about several posts of one author.
    Spaced {
        place: u32,
        clash: Clash,
        post: Ranked,
    },
    /// The posts that rank before this post fill the feed.
    Full {
        post: Ranked,
    },
}

/// Explains why [`feed`] shows a known post at its place, or why it does not show the post. `explain` takes the same
/// steps as [`feed`].
pub fn explain(state: &State, user: UserNo, number: PostNo, making: &Making<'_>) -> Explained {
    if let Some(barred) = barred(state, user, number, making.now_ms) {
        return Explained::Barred(barred);
    }
    let shown = making.shown.contains(state.post_ids.id(number));
    let candidates = candidates(state, user, making);
    let is_one = candidates.posts.iter().any(|(candidate, _)| *candidate == number);
    match (is_one, shown, candidates.cut) {
        (_, true, _) => return Explained::Shown,
        (_, _, true) => return Explained::Cut,
        (false, ..) => return Explained::Missed(missed(state, user, number, making.now_ms)),
        _ => {}
    }
    let scored = score(state, user, making.now_ms, candidates.posts);
    let authors: Vec<UserNo> = scored.iter().map(|post| post.author).collect();
    let numbers = &state.ranking().feed;
    let spaced = space(&authors, numbers, making.relaxed);
    let at = scored.iter().position(|post| post.number == number).unwrap_or_default();
    let post = ranked(state, making.now_ms, &scored, at as u32);
    let next = spaced.placed.len() as u32 + 1;
    match spaced.placed.iter().zip(1..).find(|(placed, _)| **placed as usize == at) {
        Some((_, place)) => Explained::Placed { place, post },
        None => match spaced.clash(at) {
            Some(clash) if spaced.placed.len() < numbers.length as usize => {
                Explained::Spaced { place: next, clash, post }
            }
            _ => Explained::Full { post },
        },
    }
}

/// Makes the feed for `algo=time` from posts of followees, and leaves out posts that are too old. The newest post comes
/// first; among posts of the same time, the smallest id comes first.
pub fn by_time(state: &State, user: UserNo, now_ms: i64, shown: &Shown) -> Feed {
    let mut candidates = collect(state, user, now_ms, &[], &|| false);
    leave_out(state, &mut candidates, shown);
    let posts = newest(state, now_ms, &candidates.posts);
    let scoring = Scoring::of(&state.ranking().feed);
    Feed { posts, scoring, seen_until_ms: candidates.seen_until_ms, cut: false, relaxed: 0 }
}

fn leave_out(state: &State, candidates: &mut Candidates, shown: &Shown) {
    if !shown.is_empty() {
        candidates.posts.retain(|(number, _)| !shown.contains(state.post_ids.id(*number)));
    }
}

fn newest(state: &State, now_ms: i64, candidates: &[(PostNo, Sources)]) -> Vec<Ranked> {
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
    let mut list: Vec<_> = dated.into_iter().map(|(_, post)| post).take(state.ranking().feed.length as usize).collect();
    list.iter_mut().zip(1..).for_each(|(post, rank)| post.rank_before = rank);
    list
}

/// The rule of spacing that a post would break at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// Another post of the same author is nearer than [`FeedNumbers::author_distance`].
    Near,
    /// The author already has a post in the first [`FeedNumbers::top_places`] places.
    Top,
    /// The author already has [`FeedNumbers::head_per_author`] posts in the first [`FeedNumbers::head_places`] places.
    Head,
}

/// The places of a feed while they are filled. `authors` has the author of each scored post, and the index of the
/// author identifies the post.
struct Spaced<'a> {
    authors: &'a [UserNo],
    numbers: &'a FeedNumbers,
    /// Indexes of the placed posts in `authors`, in the order of the places.
    placed: Vec<u32>,
    /// The number of posts of each author in the first places of the feed, up to the last place that a rule counts.
    in_head: FxHashMap<UserNo, u32>,
    /// The number of places that were filled against the rules of spacing.
    forced: u32,
}

impl Spaced<'_> {
    /// Returns the first rule that a post would break at the next place.
    fn clash(&self, at: usize) -> Option<Clash> {
        let FeedNumbers { top_places, head_places, head_per_author, author_distance, .. } = *self.numbers;
        let (author, place) = (self.authors[at], self.placed.len());
        let near = &self.placed[place.saturating_sub(author_distance as usize - 1)..];
        if near.iter().any(|other| self.authors[*other as usize] == author) {
            return Some(Clash::Near);
        }
        let (in_top, in_head) = (place < top_places as usize, place < head_places as usize);
        if !in_top && !in_head {
            return None;
        }
        let before = self.in_head.get(&author).copied().unwrap_or(0);
        match before {
            1.. if in_top => Some(Clash::Top),
            _ if in_head && before >= head_per_author => Some(Clash::Head),
            _ => None,
        }
    }
}

/// Fills each place with the best remaining post whose author fits. If no post fits a place, the list ends there. If
/// `relaxed` is set, the best remaining post takes a place that no post fits.
fn space<'a>(authors: &'a [UserNo], numbers: &'a FeedNumbers, relaxed: bool) -> Spaced<'a> {
    let length = numbers.length as usize;
    let counted = numbers.top_places.max(numbers.head_places) as usize;
    let placed = Vec::with_capacity(authors.len().min(length));
    let mut spaced = Spaced { authors, numbers, placed, in_head: FxHashMap::default(), forced: 0 };
    let mut taken = vec![false; authors.len()];
    // All posts before this index have a place.
    let mut first = 0;
    while spaced.placed.len() < length {
        let mut free = (first..authors.len()).filter(|at| !taken[*at]);
        let at = match free.clone().find(|at| spaced.clash(*at).is_none()) {
            Some(at) => at,
            None => match free.next().filter(|_| relaxed) {
                Some(at) => {
                    spaced.forced += 1;
                    at
                }
                None => break,
            },
        };
        taken[at] = true;
        while taken.get(first) == Some(&true) {
            first += 1;
        }
        if spaced.placed.len() < counted {
            *spaced.in_head.entry(authors[at]).or_default() += 1;
        }
        spaced.placed.push(at as u32);
    }
    spaced
}

/// Returns one post with its reasons as a JSON object. `rank` is the post's place in the feed, counted from 1.
pub fn item_json(post: &Ranked, scoring: &Scoring, rank: usize) -> String {
    let (sources, terms) = (post.sources, post.terms(scoring));
    let names = [(sources.followed, "followed"), (sources.trending, "trending"), (sources.affinity, "affinity")];
    let names: Vec<_> = names.iter().filter(|(is, _)| *is).map(|(_, name)| format!("\"{name}\"")).collect();
    format!(
        r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"rank_before_spacing":{},"score":{:.6},"sources":[{}],"features":{{"age_h":{:.4},"engagement":{},"affinity":{}}},"terms":{{"recency":{:.6},"engagement":{:.6},"affinity":{:.6}}}}}"#,
        post.post,
        post.author,
        post.rank_before,
        terms.iter().sum::<f64>(),
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
mod tests;
