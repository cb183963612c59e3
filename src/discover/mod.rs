//! Whom to follow: friends of friends counted on demand, with evidence; for whoever has none, those who follow the user,
//! then those who gained most followers (`docs/feed.md`).

pub mod dismissals;

use std::cmp::Reverse;
use std::fmt::Write as _;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Id;
use crate::state::{DAY_MS, State};

/// Followees that are read: those of highest affinity, then the latest followed, then the smallest id.
pub const FOLLOWEES_MAX: usize = 200;
/// Follows of each of them: the latest, then the smallest id.
pub const FOLLOWS_MAX: usize = 500;
/// Followees named as evidence.
pub const EVIDENCE_MAX: usize = 3;
/// "Gained followers" looks back so far.
pub const GAINED_MS: i64 = 7 * DAY_MS;

/// Why somebody is suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// People whom the user follows follow them.
    Mutual,
    FollowsYou,
    /// Nobody gained more followers lately.
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
    /// How many of those read follow them; for [`Reason::Rising`] the followers gained.
    pub score: u32,
    pub mutual: u32,
    pub affinity: f64,
    /// Followees who follow them, in the order in which they were read.
    pub evidence: Vec<Id>,
}

/// The best `limit` suggestions. `dismissed` are never suggested.
pub fn suggest(state: &State, user: u32, now_ms: i64, limit: usize, dismissed: &FxHashSet<u32>) -> Vec<Suggestion> {
    let allowed = |other: u32| {
        other != user
            && !dismissed.contains(&other)
            && state.user_rows[other as usize].as_ref().is_some_and(|row| row.active)
            && !state.graph.follows(user, other)
    };
    let today = now_ms.div_euclid(DAY_MS) as i32;
    let mut found = mutual(state, user, today, &allowed);
    let followers = |other: u32| state.graph.followers(other).len();
    let by_followers = |other: u32| (Reverse(followers(other)), state.users.id(other));
    found.sort_unstable_by_key(|(other, evidence)| (Reverse(evidence.0), by_followers(*other)));
    found.truncate(limit);
    let mut out: Vec<_> =
        found.into_iter().map(|(other, evidence)| (other, Reason::Mutual, evidence.0, evidence)).collect();
    if out.len() < limit {
        let known: FxHashSet<u32> = out.iter().map(|(other, ..)| *other).collect();
        let mut fans: Vec<u32> = state.graph.followers(user).to_vec();
        fans.retain(|other| allowed(*other) && !known.contains(other));
        fans.sort_unstable_by_key(|other| by_followers(*other));
        out.extend(fans.into_iter().map(|other| (other, Reason::FollowsYou, 0, Evidence::default())));
        out.truncate(limit);
    }
    if out.len() < limit {
        let known: FxHashSet<u32> = out.iter().map(|(other, ..)| *other).collect();
        let mut rising = gained(state, now_ms);
        rising.retain(|(other, _)| allowed(*other) && !known.contains(other));
        rising.sort_unstable_by_key(|(other, gained)| (Reverse(*gained), state.users.id(*other)));
        out.extend(rising.into_iter().map(|(other, gained)| (other, Reason::Rising, gained, Evidence::default())));
        out.truncate(limit);
    }
    let finish = |(other, reason, score, evidence): (u32, Reason, u32, Evidence)| Suggestion {
        user: state.users.id(other),
        username: state.user_rows[other as usize].as_ref().map_or("".into(), |row| row.username.clone()),
        reason,
        score,
        mutual: evidence.0,
        affinity: state.affinity.weight(user, other, today).max(0) as f64 / 10.0,
        evidence: evidence.1.into_iter().map(|followee| state.users.id(followee)).collect(),
    };
    out.into_iter().map(finish).collect()
}

/// How many followees follow somebody, and the first of them.
#[derive(Clone, Debug, Default)]
struct Evidence(u32, Vec<u32>);

fn mutual(state: &State, user: u32, today: i32, allowed: &impl Fn(u32) -> bool) -> Vec<(u32, Evidence)> {
    let mut read = state.graph.followees(user).to_vec();
    let weights: FxHashMap<u32, i64> = state.affinity.authors(user, today).into_iter().collect();
    let weight = |other: u32| weights.get(&other).copied().unwrap_or(0);
    read.sort_unstable_by_key(|f| (Reverse(weight(f.user)), Reverse(f.since_us), state.users.id(f.user)));
    read.truncate(FOLLOWEES_MAX);
    let mut found: FxHashMap<u32, Evidence> = FxHashMap::default();
    for followee in read {
        let mut follows = std::borrow::Cow::Borrowed(state.graph.followees(followee.user));
        if follows.len() > FOLLOWS_MAX {
            let all = follows.to_mut();
            all.sort_unstable_by_key(|f| (Reverse(f.since_us), state.users.id(f.user)));
            all.truncate(FOLLOWS_MAX);
        }
        for other in follows.iter() {
            let evidence = found.entry(other.user).or_default();
            evidence.0 += 1;
            if evidence.1.len() < EVIDENCE_MAX {
                evidence.1.push(followee.user);
            }
        }
    }
    found.into_iter().filter(|(other, _)| allowed(*other)).collect()
}

/// Followers that each user gained lately, for those who gained any.
fn gained(state: &State, now_ms: i64) -> Vec<(u32, u32)> {
    let (from_us, to_us) = ((now_ms - GAINED_MS) * 1_000, now_ms * 1_000);
    let mut gained: FxHashMap<u32, u32> = FxHashMap::default();
    for user in 0..state.users.len() as u32 {
        for followee in state.graph.followees(user) {
            if followee.since_us > from_us && followee.since_us <= to_us {
                *gained.entry(followee.user).or_default() += 1;
            }
        }
    }
    gained.into_iter().collect()
}

/// The answer of `GET /api/v1/discover/suggested-users`.
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
