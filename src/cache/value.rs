//! What a key holds and what commands do to it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::command::{Command, Reply};
use super::{CacheError, Outcome};

/// Upper bound of what a field or member takes beside its own bytes: its places in (half-full) B-tree nodes, twice for a
/// sorted set, and two allocations for each `Bytes`, a buffer and its count of references.
pub(super) const MEMBER_BYTES: usize = 320;
/// What a collection takes for its first members, however few: a leaf of 11 places, two for a sorted set.
const COLLECTION_BYTES: usize = 960;
/// Longest text of an integer.
const INTEGER_BYTES: usize = 20;

#[derive(Debug)]
pub(super) enum Value {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    Sorted(Sorted),
}

/// A sorted set: scores by member, and members by score and then by their bytes.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    scores: BTreeMap<Bytes, f64>,
    order: BTreeSet<(Score, Bytes)>,
}

/// A score that is a number; −0 is 0.
#[derive(Clone, Copy, Debug)]
struct Score(f64);

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

impl Sorted {
    /// True if the member is new.
    fn insert(&mut self, member: Bytes, score: f64) -> bool {
        let score = score + 0.0;
        let old = self.scores.insert(member.clone(), score);
        if let Some(old) = old {
            self.order.remove(&(Score(old), member.clone()));
        }
        self.order.insert((Score(score), member));
        old.is_none()
    }

    fn remove(&mut self, member: &Bytes) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        self.order.remove(&(Score(score), member.clone()))
    }

    fn range(&self, start: i64, stop: i64, reverse: bool) -> Vec<(Bytes, f64)> {
        let len = self.scores.len() as i64;
        let rank = |rank: i64| if rank < 0 { rank.saturating_add(len) } else { rank };
        let (start, stop) = (rank(start).max(0), rank(stop).min(len - 1));
        if start > stop {
            return Vec::new();
        }
        let (skip, take) = (start as usize, (stop - start + 1) as usize);
        let pair = |(score, member): &(Score, Bytes)| (member.clone(), score.0);
        match reverse {
            false => self.order.iter().skip(skip).take(take).map(pair).collect(),
            true => self.order.iter().rev().skip(skip).take(take).map(pair).collect(),
        }
    }
}

/// Takes the contents of one type out of an absent or present value.
macro_rules! read_as {
    ($value:expr, $kind:ident, $absent:expr, $present:expr) => {
        match $value {
            None => Ok($absent),
            Some(Value::$kind(inner)) => Ok($present(inner)),
            Some(_) => Err(CacheError::WrongType),
        }
    };
}

/// Answers a reading command; `None` is a key that there is not.
pub(super) fn read(value: Option<&Value>, command: &Command<'_>) -> Outcome<Reply> {
    let text = |text: Option<&Bytes>| text.map_or(Reply::Nil, |text| Reply::Bytes(text.clone()));
    match command {
        Command::Get(_) => read_as!(value, Text, Reply::Nil, |bytes| text(Some(bytes))),
        Command::HGet(_, field) => {
            read_as!(value, Hash, Reply::Nil, |hash: &BTreeMap<Bytes, Bytes>| text(hash.get(field)))
        }
        Command::HGetAll(_) => read_as!(value, Hash, Reply::Pairs(Vec::new()), |hash: &BTreeMap<Bytes, Bytes>| {
            Reply::Pairs(hash.iter().map(|(field, value)| (field.clone(), value.clone())).collect())
        }),
        Command::SMembers(_) => read_as!(value, Set, Reply::Members(Vec::new()), |set: &BTreeSet<Bytes>| {
            Reply::Members(set.iter().cloned().collect())
        }),
        Command::SIsMember(_, member) => {
            read_as!(value, Set, Reply::Int(0), |set: &BTreeSet<Bytes>| Reply::Int(set.contains(member).into()))
        }
        Command::ZRange { start, stop, reverse, .. } => {
            read_as!(value, Sorted, Reply::Scored(Vec::new()), |sorted: &Sorted| {
                Reply::Scored(sorted.range(*start, *stop, *reverse))
            })
        }
        Command::ZScore(_, member) => read_as!(value, Sorted, Reply::Nil, |sorted: &Sorted| {
            sorted.scores.get(member).map_or(Reply::Nil, |score| Reply::Score(*score))
        }),
        Command::ZCard(_) => {
            read_as!(value, Sorted, Reply::Int(0), |sorted: &Sorted| Reply::Int(sorted.scores.len() as i64))
        }
        other => Err(CacheError::Unavailable(format!("{other:?} is no reading command"))),
    }
}

/// Most bytes that a changing command adds to a value that is there or not.
pub(super) fn growth_bytes(command: &Command<'_>) -> usize {
    let members_bytes: usize = match command {
        Command::IncrBy(..) => return INTEGER_BYTES,
        Command::HSet(_, fields) => fields.iter().map(|(field, value)| field.len() + value.len() + MEMBER_BYTES).sum(),
        Command::SAdd(_, members) => members.iter().map(|member| member.len() + MEMBER_BYTES).sum(),
        Command::ZAdd(_, members) => members.iter().map(|(_, member)| member.len() + MEMBER_BYTES).sum(),
        Command::ZIncrBy(_, _, member) => member.len() + MEMBER_BYTES,
        _ => return 0,
    };
    COLLECTION_BYTES + members_bytes
}

/// Does a changing command and keeps `bytes`, what the value takes. An error changes nothing; a collection that becomes
/// empty becomes `None`.
pub(super) fn change(value: &mut Option<Value>, bytes: &mut usize, command: &Command<'_>) -> Outcome<Reply> {
    match command {
        Command::IncrBy(_, by) => increment(value, bytes, *by),
        Command::HSet(_, fields) => hash_set(value, bytes, fields),
        Command::HDel(_, fields) => read_as!(value, Hash, Reply::Int(0), |hash: &mut BTreeMap<Bytes, Bytes>| {
            remove_each(fields, bytes, |field| hash.remove(field).map(|value| value.len()))
        }),
        Command::SAdd(_, members) => {
            let Value::Set(set) = collection(value, bytes, || Value::Set(BTreeSet::new())) else {
                return Err(CacheError::WrongType);
            };
            let added: Vec<&Bytes> = members.iter().filter(|member| set.insert((*member).clone())).collect();
            *bytes += added.iter().map(|member| member.len() + MEMBER_BYTES).sum::<usize>();
            Ok(Reply::Int(added.len() as i64))
        }
        Command::SRem(_, members) => read_as!(value, Set, Reply::Int(0), |set: &mut BTreeSet<Bytes>| {
            remove_each(members, bytes, |member| set.remove(member).then_some(0))
        }),
        Command::ZAdd(_, members) => {
            if members.iter().any(|(score, _)| score.is_nan()) {
                return Err(CacheError::NotAFloat);
            }
            let sorted = sorted(value, bytes)?;
            let added = members.iter().filter(|(score, member)| sorted.insert(member.clone(), *score));
            let lens: Vec<usize> = added.map(|(_, member)| member.len() + MEMBER_BYTES).collect();
            *bytes += lens.iter().sum::<usize>();
            Ok(Reply::Int(lens.len() as i64))
        }
        Command::ZIncrBy(_, by, member) => {
            if by.is_nan() {
                return Err(CacheError::NotAFloat);
            }
            let sorted = sorted(value, bytes)?;
            let score = sorted.scores.get(member).unwrap_or(&0.0) + by;
            if score.is_nan() {
                return Err(CacheError::NotANumber);
            }
            if sorted.insert(member.clone(), score) {
                *bytes += member.len() + MEMBER_BYTES;
            }
            Ok(Reply::Score(score))
        }
        Command::ZRem(_, members) => read_as!(value, Sorted, Reply::Int(0), |sorted: &mut Sorted| {
            remove_each(members, bytes, |member| sorted.remove(member).then_some(0))
        }),
        other => Err(CacheError::Unavailable(format!("{other:?} is no changing command"))),
    }
}

/// Whether a value is a collection without members, which Redis never keeps.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(_) => false,
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::Sorted(sorted) => sorted.scores.is_empty(),
    }
}

/// The collection that is there, or a new one, which is charged for.
fn collection<'v>(value: &'v mut Option<Value>, bytes: &mut usize, new: impl FnOnce() -> Value) -> &'v mut Value {
    value.get_or_insert_with(|| {
        *bytes += COLLECTION_BYTES;
        new()
    })
}

fn sorted<'v>(value: &'v mut Option<Value>, bytes: &mut usize) -> Outcome<&'v mut Sorted> {
    match collection(value, bytes, || Value::Sorted(Sorted::default())) {
        Value::Sorted(sorted) => Ok(sorted),
        _ => Err(CacheError::WrongType),
    }
}

/// Counts and discharges what `remove` finds; it returns the bytes beside the name's.
fn remove_each(names: &[Bytes], bytes: &mut usize, mut remove: impl FnMut(&Bytes) -> Option<usize>) -> Reply {
    let mut removed = 0;
    for name in names {
        if let Some(more) = remove(name) {
            *bytes = bytes.saturating_sub(name.len() + more + MEMBER_BYTES);
            removed += 1;
        }
    }
    Reply::Int(removed)
}

fn hash_set(value: &mut Option<Value>, bytes: &mut usize, fields: &[(Bytes, Bytes)]) -> Outcome<Reply> {
    let Value::Hash(hash) = collection(value, bytes, || Value::Hash(BTreeMap::new())) else {
        return Err(CacheError::WrongType);
    };
    let mut added = 0;
    for (field, value) in fields {
        *bytes += value.len();
        match hash.insert(field.clone(), value.clone()) {
            Some(old) => *bytes = bytes.saturating_sub(old.len()),
            None => {
                *bytes += field.len() + MEMBER_BYTES;
                added += 1;
            }
        }
    }
    Ok(Reply::Int(added))
}

/// INCRBY: the text must be just as an integer is written (no sign +, no zeros before, no spaces), as in `string2ll`.
fn increment(value: &mut Option<Value>, bytes: &mut usize, by: i64) -> Outcome<Reply> {
    let old = match value {
        None => 0,
        Some(Value::Text(text)) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok().filter(|int| itoa::Buffer::new().format(*int) == text))
            .ok_or(CacheError::NotAnInteger)?,
        Some(_) => return Err(CacheError::WrongType),
    };
    let new = old.checked_add(by).ok_or(CacheError::Overflow)?;
    let text = Bytes::copy_from_slice(itoa::Buffer::new().format(new).as_bytes());
    *bytes = text.len();
    *value = Some(Value::Text(text));
    Ok(Reply::Int(new))
}
