//! Sorted sets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops;

use bytes::Bytes;

use super::charges::MEMBER_BYTES;
use crate::cache::command::{Bound, Command, Reply, When, ZAddWhen};
use crate::cache::error::{CacheError, Outcome};

/// A sorted set: `scores` has the score of each member, and `order` has the members by score and then by their bytes.
#[derive(Debug, Default)]
pub(in crate::cache) struct Sorted {
    scores: BTreeMap<Bytes, f64>,
    order: BTreeSet<(Score, Bytes)>,
}

/// A score of a sorted set. A score is never NaN, and −0 is stored as 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score(f64);

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

pub(super) fn pair((score, member): &(Score, Bytes)) -> (Bytes, f64) {
    (member.clone(), score.0)
}

impl Sorted {
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// Inserts a member into the sorted set. Returns true if the member is new.
    pub(super) fn insert(&mut self, member: Bytes, score: f64) -> bool {
        let score = score + 0.0;
        let old = self.scores.insert(member.clone(), score);
        if let Some(old) = old {
            self.order.remove(&(Score(old), member.clone()));
        }
        self.order.insert((Score(score), member));
        old.is_none()
    }

    pub(super) fn remove(&mut self, member: &Bytes) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        self.order.remove(&(Score(score), member.clone()))
    }

    /// Returns how many members a range of ranks skips, and how many members it takes.
    fn ranks(&self, start: i64, stop: i64) -> Option<(usize, usize)> {
        let len = self.scores.len() as i64;
        let rank = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
        let (start, stop) = (rank(start).max(0), rank(stop).min(len - 1));
        (start <= stop).then(|| (start as usize, (stop - start + 1) as usize))
    }

    pub(super) fn range(&self, start: i64, stop: i64, reverse: bool) -> Vec<(Bytes, f64)> {
        let Some((skip, take)) = self.ranks(start, stop) else { return Vec::new() };
        match reverse {
            false => self.order.iter().skip(skip).take(take).map(pair).collect(),
            true => self.order.iter().rev().skip(skip).take(take).map(pair).collect(),
        }
    }

    /// Returns the members of a range of scores, lowest score first. The first member of the range is found in O(log
    /// n).
    pub(super) fn scored(&self, min: Bound, max: Bound) -> impl DoubleEndedIterator<Item = &(Score, Bytes)> {
        let least = match min {
            Bound::Included(score) | Bound::Excluded(score) => (Score(score + 0.0), Bytes::new()),
        };
        // If `end` is included, the range ends before the first member with a score above `end`. If `end` is not
        // included, the range ends before the first member with the score `end` or a higher score.
        let (end, included) = match max {
            Bound::Included(score) => (score + 0.0, true),
            Bound::Excluded(score) => (score + 0.0, false),
        };
        let above = if included { Score(next_up(end)) } else { Score(end) };
        let above = (above, Bytes::new());
        // No score is above an infinite end that is included.
        let end = match included && end == f64::INFINITY {
            true => ops::Bound::Unbounded,
            false => ops::Bound::Excluded(above),
        };
        let empty = matches!(&end, ops::Bound::Excluded(above) if *above <= least);
        let from_excluded = matches!(min, Bound::Excluded(_)).then_some(least.0);
        let range = (!empty).then(|| self.order.range((ops::Bound::Included(least), end)));
        range.into_iter().flatten().filter(move |(score, _)| from_excluded != Some(*score))
    }

    /// Returns the score of a member.
    pub(super) fn score(&self, member: &Bytes) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Returns the first `count` members at the low end or at the high end, beginning with the outermost member.
    pub(super) fn end(&self, count: usize, highest: bool) -> Vec<(Bytes, f64)> {
        match highest {
            false => self.order.iter().take(count).map(pair).collect(),
            true => self.order.iter().rev().take(count).map(pair).collect(),
        }
    }

    fn rank(&self, member: &Bytes, reverse: bool) -> Option<usize> {
        let score = *self.scores.get(member)?;
        let below = self.order.range(..(Score(score), member.clone())).count();
        Some(if reverse { self.scores.len() - 1 - below } else { below })
    }

    /// Adds members if the options NX, XX, GT and LT allow it. Returns how many members are new, how many existing
    /// members got a new score, and the bytes of the new members.
    pub(super) fn add(&mut self, when: &ZAddWhen, members: &[(f64, Bytes)]) -> (i64, i64, usize) {
        let (mut new, mut moved, mut bytes) = (0, 0, 0);
        for (score, member) in members {
            match self.scores.get(member).copied() {
                None if when.when == When::IfPresent => {}
                None => {
                    self.insert(member.clone(), *score);
                    new += 1;
                    bytes += member.len() + MEMBER_BYTES;
                }
                Some(_) if when.when == When::IfAbsent => {}
                Some(old) if (when.only_greater && *score <= old) || (when.only_less && *score >= old) => {}
                Some(old) if *score == old => {}
                Some(_) => {
                    self.insert(member.clone(), *score);
                    moved += 1;
                }
            }
        }
        (new, moved, bytes)
    }

    pub(super) fn take(&mut self, chosen: &[(Bytes, f64)], bytes: &mut usize) {
        for (member, _) in chosen {
            self.remove(member);
            *bytes = bytes.saturating_sub(member.len() + MEMBER_BYTES);
        }
    }
}

/// Returns the next higher number, and infinity for infinity.
fn next_up(score: f64) -> f64 {
    // `scored` has already replaced −0 by 0.
    score.next_up()
}

/// Answers a reading command from a sorted set. The sorted set is `None` if its key does not exist.
pub(super) fn read(sorted: Option<&Sorted>, command: &Command<'_>) -> Outcome<Reply> {
    let none = &Sorted::default();
    let sorted = sorted.unwrap_or(none);
    Ok(match command {
        Command::ZRange { start, stop, reverse, .. } => Reply::Scored(sorted.range(*start, *stop, *reverse)),
        Command::ZScore(_, member) => sorted.score(member).map_or(Reply::Nil, Reply::Score),
        Command::ZCard(_) => Reply::Int(sorted.scores.len() as i64),
        Command::ZCount(_, min, max) => Reply::Int(sorted.scored(*min, *max).count() as i64),
        Command::ZRangeByScore { min, max, reverse, skip, take, .. } => {
            let found = sorted.scored(*min, *max);
            Reply::Scored(match reverse {
                false => found.skip(*skip).take(*take).map(pair).collect(),
                true => found.rev().skip(*skip).take(*take).map(pair).collect(),
            })
        }
        Command::ZRank { member, reverse, .. } => {
            sorted.rank(member, *reverse).map_or(Reply::Nil, |rank| Reply::Int(rank as i64))
        }
        other => return Err(CacheError::Unavailable(format!("{other:?} is no reading command"))),
    })
}
