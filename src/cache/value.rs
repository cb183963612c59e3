//! The commands that read or change the value of a key.

mod charges;
mod held;
mod sorted;
mod sorted_change;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::command::{Command, Reply};
use super::error::{CacheError, Outcome};

use self::charges::{COLLECTION_BYTES, MEMBER_BYTES, remove_each};
use self::held::{collection, kind};

pub(super) use self::held::{Value, is_empty};

/// The maximum length in bytes of the decimal text of an `i64`.
const INTEGER_BYTES: usize = 20;

/// Applies `$present` to the content of a value of the type `$kind`, or returns `$absent` if the value is absent.
macro_rules! read_as {
    ($value:expr, $kind:ident, $absent:expr, $present:expr) => {
        match $value {
            None => Ok($absent),
            Some(Value::$kind(inner)) => Ok($present(inner)),
            Some(_) => Err(CacheError::WrongType),
        }
    };
}

/// Answers a reading command from the value of its key. The value of the key is `None` if the key does not exist.
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
        Command::SCard(_) => read_as!(value, Set, Reply::Int(0), |set: &BTreeSet<Bytes>| Reply::Int(set.len() as i64)),
        Command::HLen(_) => {
            read_as!(value, Hash, Reply::Int(0), |hash: &BTreeMap<Bytes, Bytes>| Reply::Int(hash.len() as i64))
        }
        Command::HMGet(_, fields) => {
            read_as!(value, Hash, Reply::Values(vec![None; fields.len()]), |hash: &BTreeMap<Bytes, Bytes>| {
                Reply::Values(fields.iter().map(|field| hash.get(field).cloned()).collect())
            })
        }
        Command::StrLen(_) => read_as!(value, Text, Reply::Int(0), |text: &Bytes| Reply::Int(text.len() as i64)),
        Command::Type(_) => Ok(Reply::Bytes(Bytes::from_static(kind(value).as_bytes()))),
        other => match value {
            None => sorted::read(None, other),
            Some(Value::Sorted(sorted)) => sorted::read(Some(sorted), other),
            Some(_) => Err(CacheError::WrongType),
        },
    }
}

/// The maximum number of bytes that a changing command can add to a value. The value that a changing command changes
/// may be absent.
pub(super) fn growth_bytes(command: &Command<'_>) -> usize {
    let members_bytes: usize = match command {
        Command::IncrBy(..) => return INTEGER_BYTES,
        Command::HSet(_, fields) => fields.iter().map(|(field, value)| field.len() + value.len() + MEMBER_BYTES).sum(),
        Command::SAdd(_, members) => members.iter().map(|member| member.len() + MEMBER_BYTES).sum(),
        Command::ZAdd(_, members) | Command::ZAddWhen(_, _, members) => {
            members.iter().map(|(_, member)| member.len() + MEMBER_BYTES).sum()
        }
        Command::Append(_, text) => return text.len(),
        Command::HSetNx(_, field, value) => field.len() + value.len() + MEMBER_BYTES,
        Command::HIncrBy(_, field, _) => field.len() + INTEGER_BYTES + MEMBER_BYTES,
        Command::ZIncrBy(_, _, member) => member.len() + MEMBER_BYTES,
        _ => return 0,
    };
    COLLECTION_BYTES + members_bytes
}

/// Runs a changing command on a value, and updates `bytes`, the size of the value. A command that fails does not change
/// the value. A collection that becomes empty stays in `value`, and the caller removes the collection.
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
        Command::Append(_, text) => append(value, bytes, text),
        Command::GetDel(_) => {
            let text = read_as!(value.as_ref(), Text, Reply::Nil, |text: &Bytes| Reply::Bytes(text.clone()))?;
            *value = None;
            Ok(text)
        }
        Command::HSetNx(_, field, new) => match value {
            Some(Value::Hash(hash)) if hash.contains_key(field) => Ok(Reply::Int(0)),
            _ => hash_set(value, bytes, &[(field.clone(), new.clone())]),
        },
        Command::HIncrBy(_, field, by) => {
            let old = read_as!(value.as_ref(), Hash, None, |hash: &BTreeMap<Bytes, Bytes>| hash.get(field).cloned())?;
            let new = sum(old.as_ref(), *by, CacheError::HashNotAnInteger)?;
            let text = Bytes::copy_from_slice(itoa::Buffer::new().format(new).as_bytes());
            hash_set(value, bytes, &[(field.clone(), text)])?;
            Ok(Reply::Int(new))
        }
        other => sorted_change::change(value, bytes, other),
    }
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

/// Runs the command APPEND. APPEND makes a new text, so the text that a reader still holds does not change.
fn append(value: &mut Option<Value>, bytes: &mut usize, more: &Bytes) -> Outcome<Reply> {
    let text: Bytes = match value {
        None => more.clone(),
        Some(Value::Text(text)) => [&text[..], &more[..]].concat().into(),
        Some(_) => return Err(CacheError::WrongType),
    };
    *bytes = text.len();
    *value = Some(Value::Text(text));
    Ok(Reply::Int(*bytes as i64))
}

/// Runs INCRBY.
fn increment(value: &mut Option<Value>, bytes: &mut usize, by: i64) -> Outcome<Reply> {
    let old = read_as!(value.as_ref(), Text, None, Some)?;
    let new = sum(old, by, CacheError::NotAnInteger)?;
    let text = Bytes::copy_from_slice(itoa::Buffer::new().format(new).as_bytes());
    *bytes = text.len();
    *value = Some(Value::Text(text));
    Ok(Reply::Int(new))
}

/// Adds `by` to the decimal text of an integer. `sum` accepts an integer as Redis' `string2ll` does: without a plus
/// sign, without leading zeros, without spaces. A missing integer counts as 0 for INCRBY and HINCRBY.
fn sum(text: Option<&Bytes>, by: i64, otherwise: CacheError) -> Outcome<i64> {
    let Some(text) = text else { return Ok(by) };
    let old = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<i64>().ok().filter(|int| itoa::Buffer::new().format(*int) == text))
        .ok_or(otherwise)?;
    old.checked_add(by).ok_or(CacheError::Overflow)
}
