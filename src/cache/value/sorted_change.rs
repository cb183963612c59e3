//! The commands that change sorted sets.

use bytes::Bytes;

use super::charges::{MEMBER_BYTES, remove_each};
use super::held::{Value, collection};
use super::sorted::{Sorted, pair};
use crate::cache::command::{Command, Members, Reply, ZAddWhen};
use crate::cache::error::{CacheError, Outcome};

/// Runs a command that changes a sorted set, and updates `bytes`, the size of the value. A command that fails adds no
/// member and removes none.
pub(super) fn change(value: &mut Option<Value>, bytes: &mut usize, command: &Command<'_>) -> Outcome<Reply> {
    let plain = ZAddWhen::default();
    match command {
        Command::ZAdd(_, members) => add(value, bytes, &plain, members),
        Command::ZAddWhen(_, when, members) => add(value, bytes, when, members),
        Command::ZIncrBy(_, by, member) => {
            if by.is_nan() {
                return Err(CacheError::NotAFloat);
            }
            let sorted = present_or_new(value, bytes)?;
            let score = sorted.score(member).unwrap_or(0.0) + by;
            if score.is_nan() {
                return Err(CacheError::NotANumber);
            }
            if sorted.insert(member.clone(), score) {
                *bytes += member.len() + MEMBER_BYTES;
            }
            Ok(Reply::Score(score))
        }
        Command::ZRem(_, members) => {
            let Some(sorted) = present(value)? else { return Ok(Reply::Int(0)) };
            Ok(remove_each(members, bytes, |member| sorted.remove(member).then_some(0)))
        }
        Command::ZPop { count, highest, .. } => {
            let Some(sorted) = present(value)? else { return Ok(Reply::Scored(Vec::new())) };
            let chosen = sorted.end(*count, *highest);
            sorted.take(&chosen, bytes);
            Ok(Reply::Scored(chosen))
        }
        Command::ZRemRange(_, members) => {
            let Some(sorted) = present(value)? else { return Ok(Reply::Int(0)) };
            let chosen: Vec<_> = match members {
                Members::Ranks(start, stop) => sorted.range(*start, *stop, false),
                Members::Scores(min, max) => sorted.scored(*min, *max).map(pair).collect(),
            };
            sorted.take(&chosen, bytes);
            Ok(Reply::Int(chosen.len() as i64))
        }
        other => Err(CacheError::Unavailable(format!("{other:?} is no changing command"))),
    }
}

fn add(value: &mut Option<Value>, bytes: &mut usize, when: &ZAddWhen, members: &[(f64, Bytes)]) -> Outcome<Reply> {
    if members.iter().any(|(score, _)| score.is_nan()) {
        return Err(CacheError::NotAFloat);
    }
    let sorted = present_or_new(value, bytes)?;
    let (new, moved, more_bytes) = sorted.add(when, members);
    *bytes += more_bytes;
    Ok(Reply::Int(new + if when.changed { moved } else { 0 }))
}

fn present(value: &mut Option<Value>) -> Outcome<Option<&mut Sorted>> {
    match value {
        None => Ok(None),
        Some(Value::Sorted(sorted)) => Ok(Some(sorted)),
        Some(_) => Err(CacheError::WrongType),
    }
}

fn present_or_new<'v>(value: &'v mut Option<Value>, bytes: &mut usize) -> Outcome<&'v mut Sorted> {
    match collection(value, bytes, || Value::Sorted(Sorted::default())) {
        Value::Sorted(sorted) => Ok(sorted),
        _ => Err(CacheError::WrongType),
    }
}
