//! Encodes commands and decodes answers in the protocol of Redis (RESP2).

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use crate::cache::command::{Bound, Command, Expiry, Key, Members, Reply, SetOptions, When};
use crate::cache::error::{CacheError, Outcome};

/// Error codes of a Redis server that answers no client for a while, because it loads its data, is a replica, or needs
/// a password.
const NOT_SERVING: [&str; 5] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY", "NOAUTH"];

/// Returns the prefix of the keys of a namespace. The prefix contains the length of the namespace's name, so two
/// different namespaces never share a prefix.
pub(super) fn prefix(generation: &str, namespace: &str) -> String {
    format!("nova:ns:{generation}:{}:{namespace}:", namespace.len())
}

/// Returns the generation and the namespace of a key, if the key begins with the prefix of a namespace.
pub(super) fn owner(name: &str) -> Option<(&str, &str)> {
    let (generation, rest) = name.strip_prefix("nova:ns:")?.split_once(':')?;
    let (len, rest) = rest.split_once(':')?;
    Some((generation, rest.get(..len.parse().ok()?)?))
}

/// Returns the name of a key on the Redis server.
fn named(prefix: Option<String>, name: &[u8]) -> Vec<u8> {
    [prefix.unwrap_or_default().as_bytes(), name].concat()
}

/// Returns a glob that matches exactly `text`.
pub(super) fn escaped(text: &str) -> String {
    let mut glob = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

pub(super) fn encode(command: &Command<'_>, generations: &BTreeMap<&str, String>) -> Cmd {
    let (name, first) = match command {
        Command::Get(_) => ("GET", None),
        Command::MGet(_) => ("MGET", None),
        Command::Set(_, value, _) => ("SET", Some(value)),
        Command::Del(_) => ("DEL", None),
        Command::Exists(_) => ("EXISTS", None),
        Command::PExpire(..) => ("PEXPIRE", None),
        Command::Pttl(_) => ("PTTL", None),
        Command::Persist(_) => ("PERSIST", None),
        Command::IncrBy(..) => ("INCRBY", None),
        Command::HSet(..) => ("HSET", None),
        Command::HGet(_, field) => ("HGET", Some(field)),
        Command::HDel(..) => ("HDEL", None),
        Command::HGetAll(_) => ("HGETALL", None),
        Command::SAdd(..) => ("SADD", None),
        Command::SRem(..) => ("SREM", None),
        Command::SMembers(_) => ("SMEMBERS", None),
        Command::SIsMember(_, member) => ("SISMEMBER", Some(member)),
        Command::ZAdd(..) => ("ZADD", None),
        Command::ZIncrBy(..) => ("ZINCRBY", None),
        Command::ZRange { reverse: false, .. } => ("ZRANGE", None),
        Command::ZRange { reverse: true, .. } => ("ZREVRANGE", None),
        Command::ZRem(..) => ("ZREM", None),
        Command::ZScore(_, member) => ("ZSCORE", Some(member)),
        Command::ZCard(_) => ("ZCARD", None),
        Command::Type(_) => ("TYPE", None),
        Command::StrLen(_) => ("STRLEN", None),
        Command::Append(_, text) => ("APPEND", Some(text)),
        Command::GetDel(_) => ("GETDEL", None),
        Command::GetEx(..) => ("GETEX", None),
        Command::PExpireAt(..) => ("PEXPIREAT", None),
        Command::HLen(_) => ("HLEN", None),
        Command::HMGet(..) => ("HMGET", None),
        Command::HSetNx(_, field, _) => ("HSETNX", Some(field)),
        Command::HIncrBy(_, field, _) => ("HINCRBY", Some(field)),
        Command::SCard(_) => ("SCARD", None),
        Command::ZAddWhen(..) => ("ZADD", None),
        Command::ZCount(..) => ("ZCOUNT", None),
        Command::ZRangeByScore { reverse: false, .. } => ("ZRANGEBYSCORE", None),
        Command::ZRangeByScore { reverse: true, .. } => ("ZREVRANGEBYSCORE", None),
        Command::ZRank { member, reverse: false, .. } => ("ZRANK", Some(member)),
        Command::ZRank { member, reverse: true, .. } => ("ZREVRANK", Some(member)),
        Command::ZPop { highest: false, .. } => ("ZPOPMIN", None),
        Command::ZPop { highest: true, .. } => ("ZPOPMAX", None),
        Command::ZRemRange(_, Members::Ranks(..)) => ("ZREMRANGEBYRANK", None),
        Command::ZRemRange(_, Members::Scores(..)) => ("ZREMRANGEBYSCORE", None),
    };
    let mut out = cmd(name);
    for Key { namespace, name } in command.keys() {
        let prefix = generations.get(namespace).map(|generation| prefix(generation, namespace));
        out.arg(named(prefix, name));
    }
    if let Some(first) = first {
        out.arg(&first[..]);
    }
    encode_rest(command, &mut out);
    out
}

fn encode_rest(command: &Command<'_>, out: &mut Cmd) {
    match command {
        Command::Set(_, _, options) => encode_options(*options, out),
        Command::PExpire(_, number) | Command::IncrBy(_, number) | Command::HIncrBy(_, _, number) => {
            out.arg(*number);
        }
        Command::HSet(_, fields) => {
            for (field, value) in fields {
                out.arg(&field[..]).arg(&value[..]);
            }
        }
        Command::HDel(_, names)
        | Command::HMGet(_, names)
        | Command::SAdd(_, names)
        | Command::SRem(_, names)
        | Command::ZRem(_, names) => {
            for name in names {
                out.arg(&name[..]);
            }
        }
        Command::ZAdd(_, members) => {
            for (score, member) in members {
                out.arg(*score).arg(&member[..]);
            }
        }
        Command::ZIncrBy(_, by, member) => {
            out.arg(*by).arg(&member[..]);
        }
        Command::ZRange { start, stop, .. } => {
            out.arg(*start).arg(*stop).arg("WITHSCORES");
        }
        _ => encode_more(command, out),
    }
}

fn encode_more(command: &Command<'_>, out: &mut Cmd) {
    match command {
        Command::GetEx(_, Expiry::Never) => {
            out.arg("PERSIST");
        }
        // GETEX has no option that keeps the time to live, but GETEX without an option does not change it.
        Command::GetEx(_, Expiry::Keep) => {}
        Command::GetEx(_, expiry) => encode_options(SetOptions { expiry: *expiry, ..SetOptions::default() }, out),
        Command::PExpireAt(_, at_ms, when) => {
            out.arg(*at_ms);
            let words =
                [(when.only_without, "NX"), (when.only_with, "XX"), (when.only_later, "GT"), (when.only_sooner, "LT")];
            for (_, word) in words.into_iter().filter(|(set, _)| *set) {
                out.arg(word);
            }
        }
        Command::HSetNx(_, _, value) => {
            out.arg(&value[..]);
        }
        Command::ZAddWhen(_, when, members) => {
            let (absent, present) = (when.when == When::IfAbsent, when.when == When::IfPresent);
            let words = [
                (absent, "NX"),
                (present, "XX"),
                (when.only_greater, "GT"),
                (when.only_less, "LT"),
                (when.changed, "CH"),
            ];
            for (_, word) in words.into_iter().filter(|(set, _)| *set) {
                out.arg(word);
            }
            for (score, member) in members {
                out.arg(*score).arg(&member[..]);
            }
        }
        Command::ZCount(_, min, max) => {
            out.arg(bound(*min)).arg(bound(*max));
        }
        Command::ZRangeByScore { min, max, reverse, skip, take, .. } => {
            let (first, last) = if *reverse { (max, min) } else { (min, max) };
            out.arg(bound(*first)).arg(bound(*last)).arg("WITHSCORES");
            out.arg("LIMIT").arg(*skip).arg(i64::try_from(*take).unwrap_or(-1));
        }
        Command::ZPop { count, .. } => {
            out.arg(*count);
        }
        Command::ZRemRange(_, Members::Ranks(start, stop)) => {
            out.arg(*start).arg(*stop);
        }
        Command::ZRemRange(_, Members::Scores(min, max)) => {
            out.arg(bound(*min)).arg(bound(*max));
        }
        _ => {}
    }
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::Included(score) => score.to_string(),
        Bound::Excluded(score) => format!("({score}"),
    }
}

fn encode_options(options: SetOptions, out: &mut Cmd) {
    match options.when {
        When::Always => {}
        When::IfAbsent => {
            out.arg("NX");
        }
        When::IfPresent => {
            out.arg("XX");
        }
    }
    match options.expiry {
        Expiry::Never => {}
        Expiry::Seconds(seconds) => {
            out.arg("EX").arg(seconds);
        }
        Expiry::Millis(millis) => {
            out.arg("PX").arg(millis);
        }
        Expiry::At(at_ms) => {
            out.arg("PXAT").arg(at_ms);
        }
        Expiry::Keep => {
            out.arg("KEEPTTL");
        }
    }
    if options.get {
        out.arg("GET");
    }
}

fn unexpected<T>(value: &Value) -> Outcome<T> {
    Err(CacheError::Unavailable(format!("it answered with another type: {value:?}")))
}

fn error(error: &redis::ServerError) -> CacheError {
    let details = error.details().unwrap_or_default();
    match error.code() {
        "WRONGTYPE" => CacheError::WrongType,
        _ if details.contains("hash value is not an integer") => CacheError::HashNotAnInteger,
        _ if details.contains("not an integer") => CacheError::NotAnInteger,
        _ if details.contains("would overflow") => CacheError::Overflow,
        _ if details.contains("not a valid float") => CacheError::NotAFloat,
        _ if details.contains("not a number") => CacheError::NotANumber,
        _ if details.contains("invalid expire") => CacheError::InvalidExpiry,
        code => CacheError::Unavailable(format!("{code} {details}")),
    }
}

/// Converts the error of a Redis server that answers but serves no client. The circuit breaker counts the answer of a
/// Redis server that serves no client as a missing answer.
pub(super) fn not_serving(value: &Value) -> Option<CacheError> {
    match value {
        Value::ServerError(server) if NOT_SERVING.contains(&server.code()) => Some(error(server)),
        _ => None,
    }
}

fn bytes(value: Value) -> Outcome<Option<Bytes>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(text) => Ok(Some(text.into())),
        Value::SimpleString(text) => Ok(Some(text.into())),
        other => unexpected(&other),
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    bytes(value).ok().flatten().and_then(|bytes| String::from_utf8(bytes.into()).ok())
}

fn list(value: Value) -> Outcome<Vec<Option<Bytes>>> {
    match value {
        Value::Array(values) => values.into_iter().map(bytes).collect(),
        other => unexpected(&other),
    }
}

fn pairs(value: Value) -> Outcome<Vec<(Bytes, Bytes)>> {
    let flat: Vec<Bytes> = list(value)?.into_iter().flatten().collect();
    Ok(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

fn score(text: &[u8]) -> Outcome<f64> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or(CacheError::Unavailable("it answered with a score that is no number".to_owned()))
}

pub(super) fn decode(command: &Command<'_>, value: Value) -> Outcome<Reply> {
    if let Value::ServerError(server) = &value {
        return Err(error(server));
    }
    match (command, value) {
        (_, Value::Nil) => Ok(Reply::Nil),
        (_, Value::Okay) => Ok(Reply::Done),
        (_, Value::Int(int)) => Ok(Reply::Int(int)),
        (Command::ZScore(..) | Command::ZIncrBy(..), value) => {
            bytes(value)?.map_or(Ok(Reply::Nil), |text| score(&text).map(Reply::Score))
        }
        (Command::MGet(_) | Command::HMGet(..), value) => Ok(Reply::Values(list(value)?)),
        (Command::SMembers(_), value) => {
            let mut members: Vec<Bytes> = list(value)?.into_iter().flatten().collect();
            members.sort_unstable();
            Ok(Reply::Members(members))
        }
        (Command::HGetAll(_), value) => {
            let mut fields = pairs(value)?;
            fields.sort_unstable();
            Ok(Reply::Pairs(fields))
        }
        (Command::ZRange { .. } | Command::ZRangeByScore { .. } | Command::ZPop { .. }, value) => {
            let scored = pairs(value)?.into_iter().map(|(member, text)| Ok((member, score(&text)?)));
            Ok(Reply::Scored(scored.collect::<Outcome<_>>()?))
        }
        (_, value) => Ok(bytes(value)?.map_or(Reply::Nil, Reply::Bytes)),
    }
}

/// Joins the answers to the two parts of a split command to a sum or to a list. If one part of the command failed, the
/// whole command failed.
pub(super) fn joined(first: Outcome<Reply>, second: Outcome<Reply>) -> Outcome<Reply> {
    match (first?, second?) {
        (Reply::Int(first), Reply::Int(second)) => Ok(Reply::Int(first + second)),
        (Reply::Values(mut first), Reply::Values(second)) => {
            first.extend(second);
            Ok(Reply::Values(first))
        }
        (first, _) => Err(CacheError::Unavailable(format!("a part was answered with another type: {first:?}"))),
    }
}

/// Returns the cursor and the names in the answer to the command SCAN.
pub(super) fn scanned(value: Option<Value>) -> Outcome<(u64, Vec<Bytes>)> {
    match value {
        Some(Value::Array(mut parts)) if parts.len() == 2 => {
            let names = list(parts.pop().unwrap_or_default())?.into_iter().flatten();
            let cursor = parts.pop().and_then(text).and_then(|text| text.parse().ok());
            cursor
                .map(|cursor| (cursor, names.collect()))
                .ok_or(CacheError::Unavailable("it answered without a cursor".to_owned()))
        }
        other => unexpected(&other.unwrap_or_default()),
    }
}

/// Returns the hits and misses of a reading command, as far as its answer shows them. An empty collection in an answer
/// counts as a miss.
pub(super) fn found(command: &Command<'_>, reply: &Reply) -> (u64, u64) {
    let found = match (command, reply) {
        (Command::MGet(_), Reply::Values(values)) => {
            let hits = values.iter().flatten().count();
            return (hits as u64, (values.len() - hits) as u64);
        }
        (Command::HMGet(..), Reply::Values(values)) => values.iter().any(Option::is_some),
        (
            Command::Get(_) | Command::GetEx(..) | Command::HGet(..) | Command::ZScore(..) | Command::ZRank { .. },
            reply,
        ) => *reply != Reply::Nil,
        (
            Command::SIsMember(..)
            | Command::SCard(_)
            | Command::HLen(_)
            | Command::StrLen(_)
            | Command::ZCount(..)
            | Command::ZCard(_),
            reply,
        ) => *reply != Reply::Int(0),
        (_, Reply::Members(members)) => !members.is_empty(),
        (_, Reply::Pairs(pairs)) => !pairs.is_empty(),
        (_, Reply::Scored(scored)) => !scored.is_empty(),
        _ => return (0, 0),
    };
    (u64::from(found), u64::from(!found))
}
