//! Which posts a feed may show, before ranking (`docs/feed.md`): ages and caps are those of [`State::ranking`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::state::{DAY_MS, State};

use super::trending::overrides::Overrides;
use super::trending::{self, Window};

const HOUR_MS: i64 = 3_600_000;

/// Where a candidate came from; a post may have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub followed: bool,
    pub trending: bool,
    pub affinity: bool,
}

/// What a feed is made of.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Each with its sources.
    pub posts: Vec<(u32, Sources)>,
    /// When the first post that was left out because it was seen may be shown again, epoch milliseconds.
    pub seen_until_ms: Option<i64>,
    /// Some sources were not asked: it took too long.
    pub cut: bool,
}

/// The posts that `user` may be shown: not the user's own, visible, not viewed for 24 hours. `late` is asked after each
/// source; once it says so, no further source is asked.
pub fn collect(state: &State, user: u32, now_ms: i64, trending: &[u32], late: &dyn Fn() -> bool) -> Candidates {
    let mut found: FxHashMap<u32, Sources> = FxHashMap::default();
    let feed = &state.ranking().feed;
    found.reserve((feed.followed_max + feed.affinity_max) as usize);
    for post in followed(state, user, now_ms) {
        found.entry(post).or_default().followed = true;
    }
    let mut cut = late();
    if !cut {
        for post in trending.iter().take(feed.trending_max as usize) {
            found.entry(*post).or_default().trending = true;
        }
        for post in affine(state, user, now_ms) {
            found.entry(post).or_default().affinity = true;
        }
        cut = late();
    }
    let mut out = Candidates { cut, ..Candidates::default() };
    for (post, sources) in found {
        match barred(state, user, post, now_ms) {
            Some(Barred::Hidden | Barred::Own) => {}
            Some(Barred::Seen { until_ms }) => {
                out.seen_until_ms = Some(out.seen_until_ms.map_or(until_ms, |min| min.min(until_ms)));
            }
            None => out.posts.push((post, sources)),
        }
    }
    out
}

/// Why a reader is not shown a post, wherever it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// It may not be shown to anybody; see [`State::visible`].
    Hidden,
    /// It is the reader's.
    Own,
    /// The reader viewed it; epoch milliseconds until when that keeps it out.
    Seen { until_ms: i64 },
}

/// The first of the reasons that holds.
pub fn barred(state: &State, user: u32, post: u32, now_ms: i64) -> Option<Barred> {
    if !state.visible(post) {
        return Some(Barred::Hidden);
    }
    if state.posts.author(post) == Some(user) {
        return Some(Barred::Own);
    }
    let until_ms = state.touches.seen_until_ms(user, post, now_ms)?;
    Some(Barred::Seen { until_ms })
}

/// Why a post is no candidate although nothing bars it: no source brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The reader neither follows its author nor has affinity to them, and it does not trend.
    Author,
    /// It is dated ahead of the clock.
    Ahead,
    /// It is too old for each source that knows its author, and does not trend.
    Age,
    /// As many posts of followees are newer as are candidates, or as many of authors of affinity come before it.
    Cap { followed: bool },
}

/// Why no source brings a post of which [`collect`] made no candidate.
pub fn missed(state: &State, user: u32, post: u32, now_ms: i64) -> Missed {
    let Some(row) = state.posts.row(post) else { return Missed::Author };
    let followed = state.graph.followees(user).any(|followee| followee.user == row.author);
    let affine = affine_authors(state, user, now_ms).any(|author| author == row.author);
    let feed = &state.ranking().feed;
    let dates = [(followed, feed.followed_max_age_h), (affine, feed.affinity_max_age_h)]
        .map(|(knows, max_age_h)| knows.then(|| dated(row.created_at_us, now_ms, max_age_h)));
    match dates {
        [None, None] => Missed::Author,
        [Some(Dated::Good), _] => Missed::Cap { followed: true },
        [_, Some(Dated::Good)] => Missed::Cap { followed: false },
        _ if dates.contains(&Some(Dated::Ahead)) => Missed::Ahead,
        _ => Missed::Age,
    }
}

/// The numbers of the posts of trending 24 h: the same for every user. The server takes them from the published list.
pub fn trending_posts(state: &State, now_ms: i64) -> Vec<u32> {
    let list = trending::rank(state, Window::Day, now_ms, &Overrides::default());
    list.entries.iter().filter_map(|entry| state.post_ids.number(entry.post)).collect()
}

/// How the date of a post stands to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dated {
    Ahead,
    Good,
    Old,
}

fn dated(created_at_us: i64, now_ms: i64, max_age_h: u32) -> Dated {
    let oldest_us = (now_ms - i64::from(max_age_h) * HOUR_MS) * 1_000;
    let now_us = now_ms.saturating_mul(1_000).saturating_add(999);
    match created_at_us {
        us if us > now_us => Dated::Ahead,
        us if us >= oldest_us => Dated::Good,
        _ => Dated::Old,
    }
}

/// The author's posts that are not too old, newest first.
fn recent(state: &State, author: u32, now_ms: i64, max_age_h: u32) -> impl Iterator<Item = (i64, u32)> + '_ {
    let posts = state.posts.of_author(author).iter();
    let posts = posts.filter_map(|post| Some((state.posts.row(*post)?.created_at_us, *post)));
    posts
        .skip_while(move |(created_us, _)| dated(*created_us, now_ms, max_age_h) == Dated::Ahead)
        .take_while(move |(created_us, _)| dated(*created_us, now_ms, max_age_h) == Dated::Good)
}

/// The newest posts over all followees: a merge of lists that are newest first each.
fn followed(state: &State, user: u32, now_ms: i64) -> Vec<u32> {
    let (max_age_h, most) = (state.ranking().feed.followed_max_age_h, state.ranking().feed.followed_max as usize);
    let followees = state.graph.followees(user);
    let mut lists: Vec<_> = followees.map(|followee| recent(state, followee.user, now_ms, max_age_h)).collect();
    let mut heads: BinaryHeap<(i64, Reverse<Id>, u32, usize)> = BinaryHeap::new();
    let head = |(created_us, post): (i64, u32), list| (created_us, Reverse(state.post_ids.id(post)), post, list);
    for (list, posts) in lists.iter_mut().enumerate() {
        heads.extend(posts.next().map(|post| head(post, list)));
    }
    let mut out = Vec::new();
    while out.len() < most {
        let Some((_, _, post, list)) = heads.pop() else { break };
        out.push(post);
        heads.extend(lists[list].next().map(|post| head(post, list)));
    }
    out
}

/// The authors to whom the user has affinity: highest first, then smallest id.
fn affine_authors(state: &State, user: u32, now_ms: i64) -> impl Iterator<Item = u32> + use<> {
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let mut authors = state.affinity.authors(user, today);
    authors.sort_unstable_by_key(|(author, weight)| (Reverse(*weight), state.users.id(*author)));
    authors.into_iter().map(|(author, _)| author)
}

/// Posts of the authors of highest affinity, each one's newest first.
fn affine(state: &State, user: u32, now_ms: i64) -> Vec<u32> {
    let (max_age_h, most) = (state.ranking().feed.affinity_max_age_h, state.ranking().feed.affinity_max as usize);
    let posts = affine_authors(state, user, now_ms).flat_map(|author| recent(state, author, now_ms, max_age_h));
    posts.map(|(_, post)| post).take(most).collect()
}
