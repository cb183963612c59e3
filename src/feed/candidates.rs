//! The posts that a feed may show, before ranking (`docs/feed.md`). The limits of age and number are in
//! [`State::ranking`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::event::Id;
use crate::state::{DAY_MS, PostNo, State, UserNo};

use super::trending::overrides::Overrides;
use super::trending::{self, Window};

const HOUR_MS: i64 = 3_600_000;

/// The sources that contain a candidate. A post may be in several sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub followed: bool,
    pub trending: bool,
    pub affinity: bool,
}

/// The candidates for a feed.
#[derive(Debug, Default)]
pub struct Candidates {
    /// The candidate posts, each with the sources that contain it.
    pub posts: Vec<(PostNo, Sources)>,
    /// The first time at which a post that was left out as seen may be shown again, in epoch milliseconds.
    pub seen_until_ms: Option<i64>,
    /// Whether the time limit was reached and some sources were skipped.
    pub cut: bool,
}

/// Collects the posts that `user` may be shown: visible posts that are not by `user` and that `user` has not viewed in
/// the last 24 hours. `collect` calls `late` after each source. When `late` returns true, `collect` skips the remaining
/// sources.
pub fn collect(state: &State, user: UserNo, now_ms: i64, trending: &[PostNo], late: &dyn Fn() -> bool) -> Candidates {
    let mut found: FxHashMap<PostNo, Sources> = FxHashMap::default();
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

/// The reason why a reader may not be shown a post from any source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Nobody may be shown the post (see [`State::visible`]).
    Hidden,
    /// The author of the post is the reader.
    Own,
    /// The reader has viewed the post, so feeds leave it out until this time, in epoch milliseconds.
    Seen { until_ms: i64 },
}

/// Returns the first reason that keeps the post from the reader, or `None` if no reason applies.
pub fn barred(state: &State, user: UserNo, post: PostNo, now_ms: i64) -> Option<Barred> {
    if !state.visible(post) {
        return Some(Barred::Hidden);
    }
    if state.posts.author(post) == Some(user) {
        return Some(Barred::Own);
    }
    let until_ms = state.touches.seen_until_ms(user, post, now_ms)?;
    Some(Barred::Seen { until_ms })
}

/// The reason why no source contains a post that the reader may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The reader neither follows the author nor has affinity to the author, and the post does not trend.
    Author,
    /// The post's date is later than the clock of the node.
    Ahead,
    /// The post is too old for every source that has posts of its author, and the post does not trend.
    Age,
    /// The limit of a source is reached: by newer posts of followees, or by posts of authors with higher affinity.
    Cap { followed: bool },
}

/// Returns the reason why no source contains a post that [`collect`] left out.
pub fn missed(state: &State, user: UserNo, post: PostNo, now_ms: i64) -> Missed {
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

/// Returns the numbers of the posts in the 24 h trending list. All users have the same trending list. A server takes
/// the numbers of trending posts from the published list and does not call this function.
pub fn trending_posts(state: &State, now_ms: i64) -> Vec<PostNo> {
    let list = trending::rank(state, Window::Day, now_ms, &Overrides::default());
    list.entries.iter().filter_map(|entry| state.post_ids.number(entry.post)).collect()
}

/// How the date of a post compares with the clock and the maximum age.
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

/// Returns an author's posts without the posts that are too old, newest first.
fn recent(state: &State, author: UserNo, now_ms: i64, max_age_h: u32) -> impl Iterator<Item = (i64, PostNo)> + '_ {
    let posts = state.posts.of_author(author).iter();
    let posts = posts.filter_map(|post| Some((state.posts.row(*post)?.created_at_us, *post)));
    posts
        .skip_while(move |(created_us, _)| dated(*created_us, now_ms, max_age_h) == Dated::Ahead)
        .take_while(move |(created_us, _)| dated(*created_us, now_ms, max_age_h) == Dated::Good)
}

/// Merges one list of each followee, and returns the newest posts of all followees. Each of the merged lists has the
/// newest post first.
fn followed(state: &State, user: UserNo, now_ms: i64) -> Vec<PostNo> {
    let (max_age_h, most) = (state.ranking().feed.followed_max_age_h, state.ranking().feed.followed_max as usize);
    let followees = state.graph.followees(user);
    let mut lists: Vec<_> = followees.map(|followee| recent(state, followee.user, now_ms, max_age_h)).collect();
    let mut heads: BinaryHeap<(i64, Reverse<Id>, PostNo, usize)> = BinaryHeap::new();
    let head = |(created_us, post): (i64, PostNo), list| (created_us, Reverse(state.post_ids.id(post)), post, list);
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

/// Returns the authors to whom the user has affinity, highest affinity first. Authors of equal affinity are sorted by
/// id.
fn affine_authors(state: &State, user: UserNo, now_ms: i64) -> impl Iterator<Item = UserNo> + use<> {
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let mut authors = state.affinity.authors(user, today);
    authors.sort_unstable_by_key(|(author, weight)| (Reverse(*weight), state.users.id(*author)));
    authors.into_iter().map(|(author, _)| author)
}

/// Returns the posts of the authors with the highest affinity. Each author's newest post comes first.
fn affine(state: &State, user: UserNo, now_ms: i64) -> Vec<PostNo> {
    let (max_age_h, most) = (state.ranking().feed.affinity_max_age_h, state.ranking().feed.affinity_max as usize);
    let posts = affine_authors(state, user, now_ms).flat_map(|author| recent(state, author, now_ms, max_age_h));
    posts.map(|(_, post)| post).take(most).collect()
}
