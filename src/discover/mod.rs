//! Suggests users to follow: friends of friends, each with evidence. nova counts friends of friends when a request
//! comes. If a user has no friends of friends, nova suggests people who follow the user, and then people who gained the
//! most followers (`docs/feed.md`).

pub mod dismissals;
pub mod rising;
pub mod shown;

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Id;
use crate::state::ranking::SuggestionNumbers;
use crate::state::{DAY_MS, State, UserNo};

/// The maximum number of suggestions in one answer. [`crate::state::ranking::SuggestionNumbers`] may set a lower
/// maximum than this.
pub const SUGGESTIONS_MAX: usize = 100;

/// The reason for which nova suggests somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Some followees of the user follow this person.
    Mutual,
    FollowsYou,
    /// This person is among the people who gained the most followers lately.
    Rising,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Mutual => "mutual_followers",
            Reason::FollowsYou => "follows_you",
            Reason::Rising => "rising",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    pub user: Id,
    pub username: Box<str>,
    pub reason: Reason,
    /// The number of the user's followees that nova read and that follow this person. For [`Reason::Rising`], the score
    /// is the number of followers that the person gained.
    pub score: u32,
    pub mutual: u32,
    pub affinity: f64,
    /// The followees of the user who follow this person, in the order in which nova read them.
    pub evidence: Vec<Id>,
}

/// Returns the best suggestions for a user, at most `limit`. nova never suggests users in `dismissed`.
pub fn suggest(
    state: &State,
    user: UserNo,
    now_ms: i64,
    limit: usize,
    dismissed: &FxHashSet<UserNo>,
) -> Vec<Suggestion> {
    suggest_with(state, user, now_ms, limit, dismissed, || Arc::new(rising::count(state, now_ms)))
}

/// Does the same as `suggest`, but the caller gives the list of people who gained followers. The list of the caller is
/// the same for every user, and has everybody who gained at least one follower.
pub fn suggest_with(
    state: &State,
    user: UserNo,
    now_ms: i64,
    limit: usize,
    dismissed: &FxHashSet<UserNo>,
    rising: impl FnOnce() -> Arc<Vec<(UserNo, u32)>>,
) -> Vec<Suggestion> {
    let limit = limit.min(state.ranking().suggestions.list_max as usize);
    let allowed = |other: UserNo| {
        other != user
            && !dismissed.contains(&other)
            && state.user_row(other).is_some_and(|row| row.active)
            && !state.graph.follows(user, other)
    };
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let mut out = mutual(state, user, today, limit, &allowed);
    let mut known: FxHashSet<UserNo> = out.iter().map(|found| found.other).collect();
    let mut add = |out: &mut Vec<Found>, other, reason, score| {
        if out.len() < limit && allowed(other) && known.insert(other) {
            out.push(Found { other, reason, score, mutual: 0, evidence: Vec::new() });
        }
    };
    if out.len() < limit {
        let mut fans: Vec<_> = state.graph.followers(user).map(|other| by_followers(state, other)).collect();
        fans.sort_unstable();
        fans.into_iter().for_each(|(_, _, other)| add(&mut out, other, Reason::FollowsYou, 0));
    }
    if out.len() < limit {
        rising().iter().for_each(|(other, gained)| add(&mut out, *other, Reason::Rising, *gained));
    }
    let finish = |found: Found| Suggestion {
        user: state.users.id(found.other),
        username: state.user_row(found.other).map_or("".into(), |row| row.username.clone()),
        reason: found.reason,
        score: found.score,
        mutual: found.mutual,
        affinity: state.affinity.weight(user, found.other, today).max(0) as f64 / 10.0,
        evidence: found.evidence.into_iter().map(|followee| state.users.id(followee)).collect(),
    };
    out.into_iter().map(finish).collect()
}

/// A suggestion that names users by their numbers in the state.
struct Found {
    other: UserNo,
    reason: Reason,
    score: u32,
    mutual: u32,
    evidence: Vec<UserNo>,
}

/// Returns a sort key that puts the users with the most followers first, and among users with equally many followers
/// the user with the smallest id.
fn by_followers(state: &State, other: UserNo) -> (Reverse<usize>, Id, UserNo) {
    (Reverse(state.graph.followers_len(other)), state.users.id(other), other)
}

/// Returns the best of the people whom the user's followees follow.
fn mutual(state: &State, user: UserNo, today: i32, limit: usize, allowed: &impl Fn(UserNo) -> bool) -> Vec<Found> {
    let SuggestionNumbers { follows_max, evidence_max, .. } = state.ranking().suggestions;
    let (follows_max, evidence_max) = (follows_max as usize, evidence_max as usize);
    let read = followees_read(state, user, today);
    // Each pair has a person, and the index of a followee who follows this person. After the pairs are sorted, the
    // pairs of one person are adjacent.
    let mut pairs: Vec<(UserNo, u32)> = Vec::new();
    for (followee, place) in read.iter().zip(0..) {
        let follows = state.graph.followees(*followee);
        let count = state.graph.followees_len(*followee);
        if count <= follows_max {
            pairs.reserve(count);
            follows.for_each(|other| pairs.push((other.user, place)));
            continue;
        }
        let mut latest: Vec<_> = follows.map(|f| (Reverse(f.since_us), state.users.id(f.user), f.user)).collect();
        latest.select_nth_unstable(follows_max);
        pairs.extend(latest[..follows_max].iter().map(|(.., other)| (*other, place)));
    }
    pairs.sort_unstable();
    let mut groups: Vec<&[(UserNo, u32)]> = pairs.chunk_by(|a, b| a.0 == b.0).collect();
    groups.sort_unstable_by_key(|group| Reverse(group.len()));
    let mut out = Vec::new();
    // Most people have a low count, and nova never ranks them.
    for same in groups.chunk_by(|a, b| a.len() == b.len()) {
        let mut ranked: Vec<_> = same
            .iter()
            .filter(|group| allowed(group[0].0))
            .map(|group| {
                let (followers, id, other) = by_followers(state, group[0].0);
                (followers, id, other, *group)
            })
            .collect();
        ranked.sort_unstable();
        out.extend(ranked.into_iter().take(limit - out.len()).map(|(_, _, other, group)| {
            let evidence = group.iter().take(evidence_max).map(|(_, place)| read[*place as usize]).collect();
            let count = group.len() as u32;
            Found { other, reason: Reason::Mutual, score: count, mutual: count, evidence }
        }));
        if out.len() == limit {
            break;
        }
    }
    out
}

/// Returns the followees whose follows nova reads. Followees with the highest affinity come first. Followees with equal
/// affinity are sorted by the time of the follow, the latest first, and then by id.
fn followees_read(state: &State, user: UserNo, today: i32) -> Vec<UserNo> {
    let weights: FxHashMap<UserNo, i64> = state.affinity.authors(user, today).into_iter().collect();
    let weight = |other: UserNo| weights.get(&other).copied().unwrap_or(0);
    let keyed = state.graph.followees(user);
    let mut read: Vec<_> =
        keyed.map(|f| (Reverse(weight(f.user)), Reverse(f.since_us), state.users.id(f.user), f.user)).collect();
    read.sort_unstable();
    read.truncate(state.ranking().suggestions.followees_max as usize);
    read.into_iter().map(|(.., user)| user).collect()
}

/// Returns the answer of `GET /api/v1/discover/suggested-users`.
pub fn json(list: &[Suggestion], now_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let mut out = String::from(r#"{"users":["#);
    for (index, suggestion) in list.iter().enumerate() {
        let evidence: Vec<_> = suggestion.evidence.iter().map(|id| format!("\"{id}\"")).collect();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            r#"{}{{"user_id":"{}","username":{},"score":{},"affinity_score":{},"mutual_followers":{},"reason":"{}","evidence":[{}]}}"#,
            if index > 0 { "," } else { "" },
            suggestion.user,
            serde_json::Value::from(&*suggestion.username),
            suggestion.score,
            suggestion.affinity,
            suggestion.mutual,
            suggestion.reason.name(),
            evidence.join(","),
        );
    }
    let _ = write!(out, r#"],"total_suggestions":{},"generated_at":"{at:.3}","cache_hit":false}}"#, list.len());
    out
}
