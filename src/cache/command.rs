//! Commands of the cache and their answers. Commands are values, so one place can check, pipeline, redirect or compare
//! them.

use bytes::Bytes;

use super::error::{CacheError, MAX_NAME_BYTES, Outcome};

/// Plain names must not begin with these prefixes, because a Redis server could not distinguish such a name from a name
/// in a namespace.
pub(super) const RESERVED: [&str; 2] = ["nova:ns:", "nova:gen:"];

/// A key of the cache: a plain name, which is the same for every reader (`feed:v1:{user}`), or a name in a namespace.
/// The name of a key consists of bytes, as in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key<'a> {
    /// The namespace of the key, or "" for a plain name.
    pub namespace: &'a str,
    pub name: &'a [u8],
}

impl<'a> Key<'a> {
    pub fn plain(name: &'a str) -> Key<'a> {
        Key::bytes(name.as_bytes())
    }

    pub fn bytes(name: &'a [u8]) -> Key<'a> {
        Key { namespace: "", name }
    }

    pub fn of(namespace: &'a str, name: &'a str) -> Key<'a> {
        Key { namespace, name: name.as_bytes() }
    }

    pub(super) fn check(&self) -> Outcome<()> {
        let reserved =
            self.namespace.is_empty() && RESERVED.iter().any(|prefix| self.name.starts_with(prefix.as_bytes()));
        if reserved || self.name.len() > MAX_NAME_BYTES || self.namespace.len() > MAX_NAME_BYTES {
            return Err(CacheError::InvalidKey);
        }
        Ok(())
    }
}

/// The options NX and XX of the command SET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    #[default]
    Always,
    IfAbsent,
    IfPresent,
}

/// The options EX, PX, PXAT and KEEPTTL of the command SET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    #[default]
    Never,
    Seconds(i64),
    Millis(i64),
    /// The key ends at this time of the cache's clock, in epoch milliseconds. A deadline in the past ends the key at
    /// once.
    At(i64),
    Keep,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    pub when: When,
    pub expiry: Expiry,
    /// The option GET of the command SET: the answer is the previous value, and not whether the value was set.
    pub get: bool,
}

impl SetOptions {
    /// Makes options that always set the value and let it live for `ttl_ms`.
    pub fn millis(ttl_ms: i64) -> SetOptions {
        SetOptions { expiry: Expiry::Millis(ttl_ms), ..SetOptions::default() }
    }
}

/// The answer of the command PTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Missing,
    Forever,
    Millis(i64),
}

impl Ttl {
    pub(super) fn of(answer: i64) -> Ttl {
        match answer {
            -2 => Ttl::Missing,
            -1 => Ttl::Forever,
            left_ms => Ttl::Millis(left_ms),
        }
    }
}

/// The options NX, XX, GT and LT of the command PEXPIREAT. A key without a time to live counts as a key that lives for
/// ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireWhen {
    pub only_without: bool,
    pub only_with: bool,
    pub only_later: bool,
    pub only_sooner: bool,
}

impl ExpireWhen {
    /// Whether the deadline `new_ms` may replace `old_ms`. `i64::MAX` is the deadline that never comes, so it is later
    /// than every real deadline.
    pub(super) fn allows(self, old_ms: i64, new_ms: i64) -> bool {
        let had_none = old_ms == i64::MAX;
        !(self.only_without && !had_none
            || self.only_with && had_none
            || self.only_later && new_ms <= old_ms
            || self.only_sooner && new_ms >= old_ms)
    }
}

/// The options NX, XX, GT, LT and CH of the command ZADD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZAddWhen {
    pub when: When,
    pub only_greater: bool,
    pub only_less: bool,
    /// The option CH of the command ZADD: the answer counts members that are new or get a new score, and not only new
    /// members.
    pub changed: bool,
}

/// One end of a range of scores in a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Included(f64),
    Excluded(f64),
}

/// The members of a sorted set that a command selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Members {
    /// The members from the first rank to the second rank, both ranks included. Negative ranks of a sorted set count
    /// from its end.
    Ranks(i64, i64),
    Scores(Bound, Bound),
}

/// A command of the cache. In a command of the cache, times are in milliseconds, and ranks begin at 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    Get(Key<'a>),
    MGet(Vec<Key<'a>>),
    Set(Key<'a>, Bytes, SetOptions),
    Del(Vec<Key<'a>>),
    Exists(Vec<Key<'a>>),
    PExpire(Key<'a>, i64),
    Pttl(Key<'a>),
    Persist(Key<'a>),
    IncrBy(Key<'a>, i64),
    HSet(Key<'a>, Vec<(Bytes, Bytes)>),
    HGet(Key<'a>, Bytes),
    HDel(Key<'a>, Vec<Bytes>),
    HGetAll(Key<'a>),
    SAdd(Key<'a>, Vec<Bytes>),
    SRem(Key<'a>, Vec<Bytes>),
    SMembers(Key<'a>),
    SIsMember(Key<'a>, Bytes),
    ZAdd(Key<'a>, Vec<(f64, Bytes)>),
    ZIncrBy(Key<'a>, f64, Bytes),
    ZRange {
        key: Key<'a>,
        start: i64,
        stop: i64,
        reverse: bool,
    },
    ZRem(Key<'a>, Vec<Bytes>),
    ZScore(Key<'a>, Bytes),
    ZCard(Key<'a>),
    Type(Key<'a>),
    StrLen(Key<'a>),
    Append(Key<'a>, Bytes),
    GetDel(Key<'a>),
    /// The command GETEX. The option PERSIST of GETEX is `Expiry::Never`, and `Expiry::Keep` does not change the time
    /// to live.
    GetEx(Key<'a>, Expiry),
    /// The command PEXPIREAT. The deadline is a time of the cache's clock, in epoch milliseconds.
    PExpireAt(Key<'a>, i64, ExpireWhen),
    HLen(Key<'a>),
    HMGet(Key<'a>, Vec<Bytes>),
    HSetNx(Key<'a>, Bytes, Bytes),
    HIncrBy(Key<'a>, Bytes, i64),
    SCard(Key<'a>),
    /// The command ZADD with the options NX, XX, GT, LT or CH.
    ZAddWhen(Key<'a>, ZAddWhen, Vec<(f64, Bytes)>),
    ZCount(Key<'a>, Bound, Bound),
    /// The command ZRANGE with BYSCORE and LIMIT. The range begins at the lowest score, or at the highest score if
    /// `reverse` is set.
    ZRangeByScore {
        key: Key<'a>,
        min: Bound,
        max: Bound,
        reverse: bool,
        skip: usize,
        take: usize,
    },
    ZRank {
        key: Key<'a>,
        member: Bytes,
        reverse: bool,
    },
    /// The command ZPOPMIN, or ZPOPMAX if `highest` is set.
    ZPop {
        key: Key<'a>,
        count: usize,
        highest: bool,
    },
    ZRemRange(Key<'a>, Members),
}

impl<'a> Command<'a> {
    /// Returns the answer to a command that names no key or no member. Redis refuses commands without a key or without
    /// a member.
    pub(super) fn empty_answer(&self) -> Option<Reply> {
        use Command::*;
        let nothing = match self {
            MGet(keys) if keys.is_empty() => return Some(Reply::Values(Vec::new())),
            Del(keys) | Exists(keys) => keys.is_empty(),
            HSet(_, fields) => fields.is_empty(),
            HDel(_, members) | SAdd(_, members) | SRem(_, members) | ZRem(_, members) => members.is_empty(),
            ZAdd(_, members) | ZAddWhen(_, _, members) => members.is_empty(),
            HMGet(_, fields) if fields.is_empty() => return Some(Reply::Values(Vec::new())),
            _ => false,
        };
        nothing.then_some(Reply::Int(0))
    }
}

/// The properties of a command that a cache in a Redis server needs.
#[cfg(feature = "redis-cache")]
impl<'a> Command<'a> {
    pub(super) fn keys(&self) -> &[Key<'a>] {
        use Command::*;
        match self {
            MGet(keys) | Del(keys) | Exists(keys) => keys,
            Get(key)
            | Set(key, ..)
            | PExpire(key, _)
            | Pttl(key)
            | Persist(key)
            | IncrBy(key, _)
            | HSet(key, _)
            | HGet(key, _)
            | HDel(key, _)
            | HGetAll(key)
            | SAdd(key, _)
            | SRem(key, _)
            | SMembers(key)
            | SIsMember(key, _)
            | ZAdd(key, _)
            | ZIncrBy(key, ..)
            | ZRange { key, .. }
            | ZRem(key, _)
            | ZScore(key, _)
            | ZCard(key)
            | Type(key)
            | StrLen(key)
            | Append(key, _)
            | GetDel(key)
            | GetEx(key, _)
            | PExpireAt(key, ..)
            | HLen(key)
            | HMGet(key, _)
            | HSetNx(key, ..)
            | HIncrBy(key, ..)
            | SCard(key)
            | ZAddWhen(key, ..)
            | ZCount(key, ..)
            | ZRangeByScore { key, .. }
            | ZRank { key, .. }
            | ZPop { key, .. }
            | ZRemRange(key, _) => std::slice::from_ref(key),
        }
    }

    /// Returns the namespace of the command's first key.
    pub(super) fn namespace(&self) -> &'a str {
        self.keys().first().map_or("", |key| key.namespace)
    }

    /// Splits the command into commands of one namespace each, in order. The parts together have the result of the
    /// whole command.
    pub(super) fn parts(&self) -> Vec<std::borrow::Cow<'_, Command<'a>>> {
        use std::borrow::Cow::{Borrowed, Owned};
        let part = match self {
            Command::MGet(_) => Command::MGet,
            Command::Del(_) => Command::Del,
            Command::Exists(_) => Command::Exists,
            _ => return vec![Borrowed(self)],
        };
        let runs = self.keys().chunk_by(|one, next| one.namespace == next.namespace);
        runs.map(|keys| Owned(part(keys.to_vec()))).collect()
    }
}

/// An answer. The methods of the trait `Cache` show which answer belongs to which command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Nil,
    Done,
    Int(i64),
    Bytes(Bytes),
    Values(Vec<Option<Bytes>>),
    Members(Vec<Bytes>),
    Pairs(Vec<(Bytes, Bytes)>),
    Score(f64),
    Scored(Vec<(Bytes, f64)>),
}

impl Reply {
    fn unexpected<T>(self) -> Outcome<T> {
        Err(CacheError::Unavailable(format!("it answered with another type: {self:?}")))
    }

    pub fn bytes(self) -> Outcome<Option<Bytes>> {
        match self {
            Reply::Nil => Ok(None),
            Reply::Bytes(bytes) => Ok(Some(bytes)),
            other => other.unexpected(),
        }
    }

    pub fn int(self) -> Outcome<i64> {
        match self {
            Reply::Int(int) => Ok(int),
            other => other.unexpected(),
        }
    }

    pub fn values(self) -> Outcome<Vec<Option<Bytes>>> {
        match self {
            Reply::Values(values) => Ok(values),
            other => other.unexpected(),
        }
    }

    pub fn members(self) -> Outcome<Vec<Bytes>> {
        match self {
            Reply::Members(members) => Ok(members),
            other => other.unexpected(),
        }
    }

    pub fn pairs(self) -> Outcome<Vec<(Bytes, Bytes)>> {
        match self {
            Reply::Pairs(pairs) => Ok(pairs),
            other => other.unexpected(),
        }
    }

    pub fn score(self) -> Outcome<Option<f64>> {
        match self {
            Reply::Nil => Ok(None),
            Reply::Score(score) => Ok(Some(score)),
            other => other.unexpected(),
        }
    }

    pub fn scored(self) -> Outcome<Vec<(Bytes, f64)>> {
        match self {
            Reply::Scored(scored) => Ok(scored),
            other => other.unexpected(),
        }
    }
}
