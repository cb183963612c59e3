//! The cache in this process: shards behind locks, with a limit in bytes. Entries expire by the clock that the caller
//! gives to the cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::command::{Command, Expiry, Key, Reply, SetOptions, When};
use super::contract::{Cache, ScanPage, Stats};
use super::error::{CacheError, MAX_NAME_BYTES, MAX_NAMESPACES, Outcome};
use super::glob;
use super::shard::{NEVER_MS, Namespace, Place, Shard};
use super::value::{self, Value};
use crate::clock::Clock;

/// The limit of the cache in bytes, if the configuration sets no limit.
pub const DEFAULT_LIMIT_BYTES: usize = 128 << 20;
/// The number of shards of a large cache. The number of shards is higher than the number of threads that use the cache
/// at the same time.
const MAX_SHARDS: usize = 16;
/// The minimum size of a shard in bytes. A shard below the minimum size could not hold large values.
const MIN_SHARD_BYTES: usize = 4 << 20;

/// A bounded cache with Redis semantics. `docs/cache.md` describes the limit and the choice of the entries that are
/// evicted.
pub struct Embedded {
    shards: Box<[Mutex<Shard>]>,
    plain: Arc<Namespace>,
    namespaces: RwLock<HashMap<Box<str>, Arc<Namespace>>>,
    clock: Clock,
    limit_bytes: usize,
    /// The seed of the hash of names. Users choose names, and a secret seed keeps them from choosing names whose hashes
    /// collide.
    seed: u64,
}

impl Embedded {
    /// Makes a cache that takes at most `limit_bytes`, including its bookkeeping. A value may be nearly as large as a
    /// shard: a sixteenth of the cache, but at least 4 MiB.
    pub fn new(limit_bytes: usize, clock: Clock) -> Embedded {
        let count = (limit_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
        Embedded {
            shards: (0..count).map(|_| Mutex::new(Shard::new(limit_bytes / count))).collect(),
            plain: Arc::new(Namespace { id: 0, generation: AtomicU64::new(0) }),
            namespaces: RwLock::default(),
            clock,
            limit_bytes,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        }
    }

    /// Removes entries that have expired or whose namespace was invalidated, and returns the number of removed entries.
    /// One call looks at no more than `slots` slots of each shard. Each write also removes some expired entries; a job
    /// that calls `sweep` removes expired entries sooner than the writes do.
    pub fn sweep(&self, slots: usize) -> usize {
        let now_ms = self.clock.now_ms();
        self.shards.iter().map(|shard| shard.lock().sweep(slots, now_ms)).sum()
    }

    fn namespace(&self, name: &str) -> Outcome<Arc<Namespace>> {
        if name.is_empty() {
            return Ok(Arc::clone(&self.plain));
        }
        if let Some(namespace) = self.namespaces.read().get(name) {
            return Ok(Arc::clone(namespace));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(CacheError::InvalidKey);
        }
        let mut namespaces = self.namespaces.write();
        let id = namespaces.len() as u64 + 1;
        if !namespaces.contains_key(name) && namespaces.len() >= MAX_NAMESPACES {
            return Err(CacheError::TooManyNamespaces);
        }
        let new = || Arc::new(Namespace { id, generation: AtomicU64::new(0) });
        Ok(Arc::clone(namespaces.entry(name.into()).or_insert_with(new)))
    }

    /// Calls `act` with a key's place in its shard and with a time that is read while the shard is locked.
    fn at<T>(&self, key: Key<'_>, act: impl FnOnce(&mut Shard, &Place<'_>, i64) -> T) -> Outcome<T> {
        key.check()?;
        let namespace = self.namespace(key.namespace)?;
        let hash = xxh3_64_with_seed(key.name, self.seed ^ namespace.id);
        let place = Place { hash, namespace: &namespace, name: key.name };
        // The hash table of a shard uses the low bits of the hash, so the cache chooses the shard by higher bits.
        let mut shard = self.shards[(hash >> 40) as usize % self.shards.len()].lock();
        Ok(act(&mut shard, &place, self.clock.now_ms()))
    }

    fn read(&self, key: Key<'_>, command: &Command<'_>) -> Outcome<Reply> {
        self.at(key, |shard, place, now_ms| {
            let found = shard.find_to_read(place, now_ms);
            value::read(found.and_then(|index| shard.slot(index)).map(|slot| &slot.value), command)
        })?
    }

    /// Calls `act` on each key that exists, and counts these keys.
    fn count(&self, keys: &[Key<'_>], act: impl Fn(&mut Shard, u32)) -> Outcome<Reply> {
        let mut count = 0;
        for key in keys {
            count += self.at(*key, |shard, place, now_ms| {
                shard.find(place, now_ms).map_or(0, |index| {
                    act(shard, index);
                    1
                })
            })?;
        }
        Ok(Reply::Int(count))
    }

    fn mget(&self, keys: &[Key<'_>]) -> Outcome<Reply> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(match self.read(*key, &Command::Get(*key)) {
                Ok(reply) => reply.bytes()?,
                Err(CacheError::WrongType) => None,
                Err(error) => return Err(error),
            });
        }
        Ok(Reply::Values(values))
    }

    /// Makes every plain key invisible at once. The cache removes the invisible entries little by little.
    pub fn clear_plain(&self) {
        self.plain.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of live plain keys. `count_plain` looks at every entry, and locks only one shard at a time.
    pub fn count_plain(&self) -> usize {
        let now_ms = self.clock.now_ms();
        self.shards.iter().map(|shard| shard.lock().count(self.plain.id, now_ms)).sum()
    }

    /// Runs the commands about a live entry's deadline: PEXPIRE, PEXPIREAT, PTTL and PERSIST.
    fn deadline(&self, key: Key<'_>, command: &Command<'_>) -> Outcome<Reply> {
        self.at(key, |shard, place, now_ms| {
            let deadline_ms = match command {
                Command::PExpire(_, ttl_ms) => Some(now_ms.checked_add(*ttl_ms).ok_or(CacheError::InvalidExpiry)?),
                Command::PExpireAt(_, at_ms, _) => Some(*at_ms),
                Command::Persist(_) => Some(NEVER_MS),
                _ => None,
            };
            let Some(index) = shard.find(place, now_ms) else {
                return Ok(Reply::Int(if deadline_ms.is_some() { 0 } else { -2 }));
            };
            let Some(slot) = shard.slot_mut(index) else { return Ok(Reply::Nil) };
            let old_ms = slot.deadline_ms;
            let Some(deadline_ms) = deadline_ms else {
                return Ok(Reply::Int(if old_ms == NEVER_MS { -1 } else { old_ms - now_ms }));
            };
            if let Command::PExpireAt(_, _, when) = command
                && !when.allows(old_ms, deadline_ms)
            {
                return Ok(Reply::Int(0));
            }
            slot.deadline_ms = deadline_ms;
            if now_ms >= deadline_ms {
                shard.remove(index);
            }
            Ok(Reply::Int(i64::from(!matches!(command, Command::Persist(_)) || old_ms != NEVER_MS)))
        })?
    }

    fn get_ex(&self, key: Key<'_>, expiry: Expiry) -> Outcome<Reply> {
        self.at(key, |shard, place, now_ms| {
            let Some(index) = shard.find_to_read(place, now_ms) else { return Ok(Reply::Nil) };
            let Some(slot) = shard.slot_mut(index) else { return Ok(Reply::Nil) };
            let Value::Text(text) = &slot.value else { return Err(CacheError::WrongType) };
            let text = text.clone();
            slot.deadline_ms = deadline_ms(expiry, now_ms)?.unwrap_or(slot.deadline_ms);
            if slot.deadline_ms <= now_ms {
                shard.remove(index);
            }
            Ok(Reply::Bytes(text))
        })?
    }

    fn change(&self, key: Key<'_>, command: &Command<'_>) -> Outcome<Reply> {
        self.at(key, |shard, place, now_ms| {
            let found = shard.find(place, now_ms);
            let growth = value::growth_bytes(command);
            if growth > 0 {
                shard.make_room(growth + if found.is_none() { place.name.len() } else { 0 }, found, now_ms)?;
            }
            let slot = found.and_then(|index| shard.slot_mut(index));
            let mut bytes = slot.as_ref().map_or(0, |slot| slot.value_bytes);
            let mut value = slot.map(|slot| std::mem::replace(&mut slot.value, Value::Text(Bytes::new())));
            let outcome = value::change(&mut value, &mut bytes, command);
            let value = value.filter(|value| !value::is_empty(value));
            match (found, value) {
                (Some(index), Some(value)) => {
                    if let Some(slot) = shard.slot_mut(index) {
                        slot.value = value;
                    }
                    shard.charge(index, bytes);
                }
                (Some(index), None) => shard.remove(index),
                (None, Some(value)) => shard.insert(place, value, bytes, NEVER_MS),
                (None, None) => {}
            }
            shard.sweep_after_write(now_ms);
            outcome
        })?
    }

    fn set(&self, key: Key<'_>, new: &Bytes, options: SetOptions) -> Outcome<Reply> {
        self.at(key, |shard, place, now_ms| {
            let deadline_ms = deadline_ms(options.expiry, now_ms)?;
            let found = shard.find(place, now_ms);
            let slot = found.and_then(|index| shard.slot(index));
            let old = match slot.map(|slot| &slot.value) {
                Some(Value::Text(text)) if options.get => Reply::Bytes(text.clone()),
                Some(_) if options.get => return Err(CacheError::WrongType),
                _ => Reply::Nil,
            };
            let (skip_if_present, skip_if_absent) = (options.when == When::IfAbsent, options.when == When::IfPresent);
            if if found.is_some() { skip_if_present } else { skip_if_absent } {
                return Ok(old);
            }
            let old_deadline_ms = slot.map_or(NEVER_MS, |slot| slot.deadline_ms);
            let deadline_ms = deadline_ms.unwrap_or(old_deadline_ms);
            match found {
                Some(index) if deadline_ms <= now_ms => shard.remove(index),
                None if deadline_ms <= now_ms => {}
                Some(index) => {
                    let old_bytes = shard.slot(index).map_or(0, |slot| slot.value_bytes);
                    shard.make_room(new.len().saturating_sub(old_bytes), found, now_ms)?;
                    if let Some(slot) = shard.slot_mut(index) {
                        slot.value = Value::Text(new.clone());
                        slot.deadline_ms = deadline_ms;
                    }
                    shard.charge(index, new.len());
                }
                None => {
                    shard.make_room(place.name.len() + new.len(), None, now_ms)?;
                    shard.insert(place, Value::Text(new.clone()), new.len(), deadline_ms);
                }
            }
            shard.sweep_after_write(now_ms);
            Ok(if options.get { old } else { Reply::Done })
        })?
    }
}

/// Returns the deadline of a value that is set now. Returns `None` if the value keeps its old deadline.
fn deadline_ms(expiry: Expiry, now_ms: i64) -> Outcome<Option<i64>> {
    let ttl_ms = match expiry {
        Expiry::Never => return Ok(Some(NEVER_MS)),
        Expiry::Keep => return Ok(None),
        Expiry::At(at_ms) => return Ok(Some(at_ms)),
        Expiry::Seconds(seconds) => seconds.checked_mul(1000),
        Expiry::Millis(millis) => Some(millis),
    };
    let deadline_ms = ttl_ms.filter(|ttl_ms| *ttl_ms > 0).and_then(|ttl_ms| now_ms.checked_add(ttl_ms));
    deadline_ms.map(Some).ok_or(CacheError::InvalidExpiry)
}

impl Cache for Embedded {
    fn one(&self, command: &Command<'_>) -> Outcome<Reply> {
        if let Some(reply) = command.empty_answer() {
            return Ok(reply);
        }
        match command {
            Command::MGet(keys) => self.mget(keys),
            Command::Del(keys) => self.count(keys, Shard::remove),
            Command::Exists(keys) => self.count(keys, |_, _| {}),
            Command::Set(key, value, options) => self.set(*key, value, *options),
            Command::PExpire(key, _) | Command::PExpireAt(key, ..) | Command::Pttl(key) | Command::Persist(key) => {
                self.deadline(*key, command)
            }
            Command::GetEx(key, expiry) => self.get_ex(*key, *expiry),
            Command::Get(key)
            | Command::HGet(key, _)
            | Command::HGetAll(key)
            | Command::SMembers(key)
            | Command::SIsMember(key, _)
            | Command::ZRange { key, .. }
            | Command::ZScore(key, _)
            | Command::ZCard(key)
            | Command::Type(key)
            | Command::StrLen(key)
            | Command::HLen(key)
            | Command::HMGet(key, _)
            | Command::SCard(key)
            | Command::ZCount(key, ..)
            | Command::ZRangeByScore { key, .. }
            | Command::ZRank { key, .. } => self.read(*key, command),
            Command::IncrBy(key, _)
            | Command::HSet(key, _)
            | Command::HDel(key, _)
            | Command::SAdd(key, _)
            | Command::SRem(key, _)
            | Command::ZAdd(key, _)
            | Command::ZIncrBy(key, ..)
            | Command::ZRem(key, _)
            | Command::Append(key, _)
            | Command::GetDel(key)
            | Command::HSetNx(key, ..)
            | Command::HIncrBy(key, ..)
            | Command::ZAddWhen(key, ..)
            | Command::ZPop { key, .. }
            | Command::ZRemRange(key, _) => self.change(*key, command),
        }
    }

    /// The cursor of a scan is a shard and a slot in this shard. Entries never move to a different slot, so the scan
    /// misses no entry that stays in the cache.
    fn scan(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Outcome<ScanPage> {
        let id = self.namespace(namespace)?.id;
        let (shard, slot) = ((cursor >> 32) as usize, (cursor & u64::from(u32::MAX)) as usize);
        let Some(held) = self.shards.get(shard) else { return Ok(ScanPage::default()) };
        let held = held.lock();
        let (names, next) = held.scan(slot, count.max(1), id, self.clock.now_ms());
        let matching = names.into_iter().filter(|name| glob::matches(pattern, name));
        let cursor = match next {
            Some(slot) => (shard as u64) << 32 | slot as u64,
            None if shard + 1 < self.shards.len() => (shard as u64 + 1) << 32,
            None => 0,
        };
        Ok(ScanPage { cursor, names: matching.map(Bytes::copy_from_slice).collect() })
    }

    fn invalidate(&self, namespace: &str) -> Outcome<()> {
        if namespace.is_empty() {
            return Err(CacheError::InvalidKey);
        }
        self.namespace(namespace)?.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats { limit_bytes: self.limit_bytes as u64, ..Stats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.bytes += shard.total_bytes() as u64;
            stats.entries += shard.len() as u64;
            stats.hits += shard.hits;
            stats.misses += shard.misses;
            stats.evictions += shard.evictions;
        }
        stats
    }
}
