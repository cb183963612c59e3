//! The naive model of a cache: association lists and linear searches, written only from the Redis documentation.

use bytes::Bytes;

use crate::cache::{CacheError, Command, Expiry, Key, Reply, When};

type Answer = Result<Reply, CacheError>;

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Text(Bytes),
    Hash(Vec<(Bytes, Bytes)>),
    Set(Vec<Bytes>),
    Sorted(Vec<(Bytes, f64)>),
}

struct Entry {
    key: (String, String),
    data: Data,
    ends_ms: Option<i64>,
}

pub struct Model {
    entries: Vec<Entry>,
    pub now_ms: i64,
}

macro_rules! as_kind {
    ($entry:expr, $kind:ident, $empty:expr) => {
        match $entry.map(|entry| &entry.data) {
            None => $empty,
            Some(Data::$kind(inner)) => inner.clone(),
            Some(_) => return Err(CacheError::WrongType),
        }
    };
}

impl Model {
    pub fn new(now_ms: i64) -> Model {
        Model { entries: Vec::new(), now_ms }
    }

    pub fn invalidate(&mut self, namespace: &str) {
        self.entries.retain(|entry| entry.key.0 != namespace);
    }

    pub fn names(&mut self, namespace: &str) -> Vec<String> {
        self.expire();
        let mut names: Vec<String> =
            self.entries.iter().filter(|entry| entry.key.0 == namespace).map(|entry| entry.key.1.clone()).collect();
        names.sort();
        names
    }

    fn expire(&mut self) {
        let now_ms = self.now_ms;
        self.entries.retain(|entry| entry.ends_ms.is_none_or(|ends_ms| now_ms < ends_ms));
    }

    fn at(&self, key: &Key<'_>) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.0 == key.namespace && entry.key.1.as_bytes() == key.name)
    }

    fn drop(&mut self, key: &Key<'_>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.key.0 != key.namespace || entry.key.1.as_bytes() != key.name);
        self.entries.len() < before
    }

    /// Replaces the data of a key and keeps the key's deadline. A key whose collection becomes empty is removed.
    fn put(&mut self, key: &Key<'_>, data: Data) {
        let ends_ms = self.at(key).and_then(|entry| entry.ends_ms);
        self.drop(key);
        let empty = [Data::Hash(vec![]), Data::Set(vec![]), Data::Sorted(vec![])];
        if !empty.contains(&data) {
            self.entries.push(Entry {
                key: (key.namespace.into(), String::from_utf8(key.name.into()).unwrap()),
                data,
                ends_ms,
            });
        }
    }

    fn set_end(&mut self, key: &Key<'_>, ends_ms: Option<i64>) {
        let found =
            self.entries.iter_mut().find(|entry| entry.key.0 == key.namespace && entry.key.1.as_bytes() == key.name);
        found.unwrap().ends_ms = ends_ms;
        self.expire();
    }

    pub fn answer(&mut self, command: &Command<'_>) -> Answer {
        self.expire();
        use Command::*;
        match command {
            MGet(keys) => Ok(Reply::Values(
                keys.iter()
                    .map(|key| match self.at(key).map(|entry| &entry.data) {
                        Some(Data::Text(text)) => Some(text.clone()),
                        _ => None,
                    })
                    .collect(),
            )),
            Del(keys) => Ok(Reply::Int(keys.iter().filter(|key| self.drop(key)).count() as i64)),
            Exists(keys) => Ok(Reply::Int(keys.iter().filter(|key| self.at(key).is_some()).count() as i64)),
            Get(..) | Set(..) | PExpire(..) | Pttl(..) | Persist(..) | IncrBy(..) => self.text(command),
            HSet(..) | HGet(..) | HDel(..) | HGetAll(..) => self.hash(command),
            SAdd(..) | SRem(..) | SMembers(..) | SIsMember(..) => self.members(command),
            ZAdd(..) | ZIncrBy(..) | ZRange { .. } | ZRem(..) | ZScore(..) | ZCard(..) => self.sorted(command),
            // The model has only the commands that the arms above name. The conformance suite and the tests of the
            // Redis port check the commands that the model does not have.
            other => panic!("{other:?}"),
        }
    }

    fn text(&mut self, command: &Command<'_>) -> Answer {
        match command {
            Command::Get(key) => match self.at(key).map(|entry| &entry.data) {
                None => Ok(Reply::Nil),
                Some(Data::Text(text)) => Ok(Reply::Bytes(text.clone())),
                Some(_) => Err(CacheError::WrongType),
            },
            Command::Set(key, value, options) => {
                let ttl_ms = match options.expiry {
                    Expiry::Seconds(seconds) => Some(i128::from(seconds) * 1000),
                    Expiry::Millis(millis) => Some(i128::from(millis)),
                    _ => None,
                };
                if ttl_ms.is_some_and(|ttl| ttl <= 0 || ttl + i128::from(self.now_ms) > i128::from(i64::MAX)) {
                    return Err(CacheError::InvalidExpiry);
                }
                let old = if options.get { self.answer(&Command::Get(*key))? } else { Reply::Nil };
                let skipped = match options.when {
                    When::Always => false,
                    When::IfAbsent => self.at(key).is_some(),
                    When::IfPresent => self.at(key).is_none(),
                };
                if skipped {
                    return Ok(old);
                }
                self.put(key, Data::Text(value.clone()));
                if options.expiry != Expiry::Keep {
                    self.set_end(key, ttl_ms.map(|ttl| self.now_ms + ttl as i64));
                }
                Ok(if options.get { old } else { Reply::Done })
            }
            Command::PExpire(key, ttl_ms) => {
                let ends_ms = self.now_ms.checked_add(*ttl_ms).ok_or(CacheError::InvalidExpiry)?;
                let found = self.at(key).is_some();
                if found {
                    self.set_end(key, Some(ends_ms));
                }
                Ok(Reply::Int(found.into()))
            }
            Command::Pttl(key) => Ok(Reply::Int(match self.at(key) {
                None => -2,
                Some(entry) => entry.ends_ms.map_or(-1, |ends_ms| ends_ms - self.now_ms),
            })),
            Command::Persist(key) => {
                let had = self.at(key).is_some_and(|entry| entry.ends_ms.is_some());
                if had {
                    self.set_end(key, None);
                }
                Ok(Reply::Int(had.into()))
            }
            Command::IncrBy(key, by) => {
                let text = self.answer(&Command::Get(*key))?;
                let old: i64 = match text {
                    Reply::Bytes(text) => {
                        let text = String::from_utf8(text.into()).map_err(|_| CacheError::NotAnInteger)?;
                        let int: i64 = text.parse().map_err(|_| CacheError::NotAnInteger)?;
                        if int.to_string() != text {
                            return Err(CacheError::NotAnInteger);
                        }
                        int
                    }
                    _ => 0,
                };
                let new = old.checked_add(*by).ok_or(CacheError::Overflow)?;
                self.put(key, Data::Text(new.to_string().into()));
                Ok(Reply::Int(new))
            }
            other => panic!("{other:?}"),
        }
    }

    fn hash(&mut self, command: &Command<'_>) -> Answer {
        let key = &command_key(command);
        let mut hash = as_kind!(self.at(key), Hash, vec![]);
        let before = hash.len();
        match command {
            Command::HGet(_, field) => {
                let found = hash.into_iter().find(|(name, _)| name == field);
                return Ok(found.map_or(Reply::Nil, |(_, value)| Reply::Bytes(value)));
            }
            Command::HGetAll(_) => {
                hash.sort();
                return Ok(Reply::Pairs(hash));
            }
            Command::HSet(_, fields) => {
                for (field, value) in fields {
                    match hash.iter_mut().find(|(name, _)| name == field) {
                        Some(found) => found.1 = value.clone(),
                        None => hash.push((field.clone(), value.clone())),
                    }
                }
            }
            Command::HDel(_, fields) => hash.retain(|(name, _)| !fields.contains(name)),
            other => panic!("{other:?}"),
        }
        let changed = hash.len().abs_diff(before) as i64;
        self.put(key, Data::Hash(hash));
        Ok(Reply::Int(changed))
    }

    fn members(&mut self, command: &Command<'_>) -> Answer {
        let key = &command_key(command);
        let mut set = as_kind!(self.at(key), Set, vec![]);
        let before = set.len();
        match command {
            Command::SIsMember(_, member) => return Ok(Reply::Int(set.contains(member).into())),
            Command::SMembers(_) => {
                set.sort();
                return Ok(Reply::Members(set));
            }
            Command::SAdd(_, members) => {
                for member in members {
                    if !set.contains(member) {
                        set.push(member.clone());
                    }
                }
            }
            Command::SRem(_, members) => set.retain(|member| !members.contains(member)),
            other => panic!("{other:?}"),
        }
        let changed = set.len().abs_diff(before) as i64;
        self.put(key, Data::Set(set));
        Ok(Reply::Int(changed))
    }

    fn sorted(&mut self, command: &Command<'_>) -> Answer {
        let not_a_float = match command {
            Command::ZAdd(_, members) => members.iter().any(|(score, _)| score.is_nan()),
            Command::ZIncrBy(_, by, _) => by.is_nan(),
            _ => false,
        };
        if not_a_float {
            return Err(CacheError::NotAFloat);
        }
        let key = &command_key(command);
        let mut sorted = as_kind!(self.at(key), Sorted, vec![]);
        let before = sorted.len();
        let put = |sorted: &mut Vec<(Bytes, f64)>, member: &Bytes, score: f64| {
            sorted.retain(|(name, _)| name != member);
            sorted.push((member.clone(), score));
        };
        let score_of = |sorted: &Vec<(Bytes, f64)>, member: &Bytes| {
            sorted.iter().find(|(name, _)| name == member).map(|(_, score)| *score)
        };
        match command {
            Command::ZCard(_) => return Ok(Reply::Int(before as i64)),
            Command::ZScore(_, member) => return Ok(score_of(&sorted, member).map_or(Reply::Nil, Reply::Score)),
            Command::ZRange { start, stop, reverse, .. } => {
                sorted.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then(a.0.cmp(&b.0)));
                if *reverse {
                    sorted.reverse();
                }
                let from_end = |rank: i64| if rank < 0 { rank + before as i64 } else { rank };
                let ranks = from_end(*start)..=from_end(*stop);
                let ranked = sorted.into_iter().enumerate().filter(|(rank, _)| ranks.contains(&(*rank as i64)));
                return Ok(Reply::Scored(ranked.map(|(_, pair)| pair).collect()));
            }
            Command::ZIncrBy(_, by, member) => {
                let score = score_of(&sorted, member).unwrap_or(0.0) + by;
                if score.is_nan() {
                    return Err(CacheError::NotANumber);
                }
                put(&mut sorted, member, score);
                self.put(key, Data::Sorted(sorted));
                return Ok(Reply::Score(score));
            }
            Command::ZAdd(_, members) => members.iter().for_each(|(score, member)| put(&mut sorted, member, *score)),
            Command::ZRem(_, members) => sorted.retain(|(name, _)| !members.contains(name)),
            other => panic!("{other:?}"),
        }
        let changed = sorted.len().abs_diff(before) as i64;
        self.put(key, Data::Sorted(sorted));
        Ok(Reply::Int(changed))
    }
}

fn command_key<'a>(command: &Command<'a>) -> Key<'a> {
    use Command::*;
    match command {
        HSet(key, _)
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
        | ZCard(key) => *key,
        other => panic!("{other:?}"),
    }
}
