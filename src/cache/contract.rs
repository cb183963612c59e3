//! The trait of every cache.

use bytes::Bytes;

use super::command::{Command, Key, Reply, SetOptions, Ttl};
use super::error::{CacheError, Outcome};

/// Counts of what a cache has done since its start, and its present size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number of bytes that values, names and their bookkeeping take in this process.
    pub bytes: u64,
    /// The limit of the cache's size, `bytes`.
    pub limit_bytes: u64,
    /// The number of entries in this process. An expired entry counts until the cache removes it.
    pub entries: u64,
    /// The number of keys that a reading command (`get`, `mget`, `hget`, `zrange`, ...) found.
    pub hits: u64,
    pub misses: u64,
    /// The number of live entries that the cache evicted to stay within its limit.
    pub evictions: u64,
    /// Whether the cache stops asking the Redis server for a while and answers commands in this process.
    pub breaker_open: bool,
    /// Commands that this process answered because the cache did not ask the Redis server.
    pub fallback_commands: u64,
    /// How often the Redis server could not be reached or gave no answer.
    pub server_failures: u64,
}

/// A page of names from a scan. The caller continues the scan with `cursor`, until the cursor is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    pub cursor: u64,
    pub names: Vec<Bytes>,
}

/// A cache with Redis semantics. A command on one key is atomic. A command on several keys is atomic for each single
/// key, but not for all keys together. An entry with a time to live of n ms lives n ms. The answers contain fields and
/// members sorted by their bytes, although Redis guarantees no order.
pub trait Cache: Send + Sync {
    /// Runs one command and returns its answer.
    fn one(&self, command: &Command<'_>) -> Outcome<Reply>;

    /// Runs commands in order and returns their answers. A cache in a Redis server sends all the commands in one round
    /// trip.
    fn run(&self, commands: &[Command<'_>]) -> Vec<Outcome<Reply>> {
        commands.iter().map(|command| self.one(command)).collect()
    }

    /// Returns names of a namespace that match a glob. The namespace "" has the plain names. `count` is the number of
    /// names that the scan looks at, not the number that it returns. A name that exists during the whole scan is
    /// returned at least once.
    fn scan(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Outcome<ScanPage>;

    /// Ends every key of a namespace at once, in a time that does not depend on the number of keys.
    fn invalidate(&self, namespace: &str) -> Outcome<()>;

    fn stats(&self) -> Stats;

    fn get(&self, key: Key<'_>) -> Outcome<Option<Bytes>> {
        self.one(&Command::Get(key))?.bytes()
    }

    /// Returns one answer for each key, in order. A key whose value is not a string reads as absent.
    fn mget(&self, keys: Vec<Key<'_>>) -> Outcome<Vec<Option<Bytes>>> {
        self.one(&Command::MGet(keys))?.values()
    }

    /// Returns true if `set` has set the value. `set` ignores `options.get`, because it cannot return the previous
    /// value.
    fn set(&self, key: Key<'_>, value: Bytes, options: SetOptions) -> Outcome<bool> {
        Ok(self.one(&Command::Set(key, value, SetOptions { get: false, ..options }))? == Reply::Done)
    }

    /// Runs SET with the option GET: returns the previous value, whether or not the new value was set.
    fn set_get(&self, key: Key<'_>, value: Bytes, options: SetOptions) -> Outcome<Option<Bytes>> {
        self.one(&Command::Set(key, value, SetOptions { get: true, ..options }))?.bytes()
    }

    /// Returns how many of the keys existed.
    fn del(&self, keys: Vec<Key<'_>>) -> Outcome<i64> {
        self.one(&Command::Del(keys))?.int()
    }

    /// Returns how many of the keys exist. A key that the command names twice counts twice.
    fn exists(&self, keys: Vec<Key<'_>>) -> Outcome<i64> {
        self.one(&Command::Exists(keys))?.int()
    }

    /// Returns false if the key does not exist. A key whose new time to live is not positive is deleted.
    fn expire(&self, key: Key<'_>, ttl_ms: i64) -> Outcome<bool> {
        Ok(self.one(&Command::PExpire(key, ttl_ms))?.int()? == 1)
    }

    fn pttl(&self, key: Key<'_>) -> Outcome<Ttl> {
        Ok(Ttl::of(self.one(&Command::Pttl(key))?.int()?))
    }

    /// Returns true if the key had a time to live.
    fn persist(&self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.one(&Command::Persist(key))?.int()? == 1)
    }

    fn incrby(&self, key: Key<'_>, by: i64) -> Outcome<i64> {
        self.one(&Command::IncrBy(key, by))?.int()
    }

    /// Returns how many of the fields are new.
    fn hset(&self, key: Key<'_>, fields: Vec<(Bytes, Bytes)>) -> Outcome<i64> {
        self.one(&Command::HSet(key, fields))?.int()
    }

    fn hget(&self, key: Key<'_>, field: Bytes) -> Outcome<Option<Bytes>> {
        self.one(&Command::HGet(key, field))?.bytes()
    }

    fn hdel(&self, key: Key<'_>, fields: Vec<Bytes>) -> Outcome<i64> {
        self.one(&Command::HDel(key, fields))?.int()
    }

    fn hgetall(&self, key: Key<'_>) -> Outcome<Vec<(Bytes, Bytes)>> {
        self.one(&Command::HGetAll(key))?.pairs()
    }

    /// Returns how many of the members are new.
    fn sadd(&self, key: Key<'_>, members: Vec<Bytes>) -> Outcome<i64> {
        self.one(&Command::SAdd(key, members))?.int()
    }

    fn srem(&self, key: Key<'_>, members: Vec<Bytes>) -> Outcome<i64> {
        self.one(&Command::SRem(key, members))?.int()
    }

    fn smembers(&self, key: Key<'_>) -> Outcome<Vec<Bytes>> {
        self.one(&Command::SMembers(key))?.members()
    }

    fn sismember(&self, key: Key<'_>, member: Bytes) -> Outcome<bool> {
        Ok(self.one(&Command::SIsMember(key, member))?.int()? == 1)
    }

    /// Returns how many of the members are new.
    fn zadd(&self, key: Key<'_>, members: Vec<(f64, Bytes)>) -> Outcome<i64> {
        self.one(&Command::ZAdd(key, members))?.int()
    }

    /// Returns the member's new score.
    fn zincrby(&self, key: Key<'_>, by: f64, member: Bytes) -> Outcome<f64> {
        self.one(&Command::ZIncrBy(key, by, member))?.score()?.ok_or(CacheError::NotAFloat)
    }

    /// Returns the members from rank `start` to rank `stop`, both included, lowest score first. Negative ranks of a
    /// sorted set count from its end.
    fn zrange(&self, key: Key<'_>, start: i64, stop: i64) -> Outcome<Vec<(Bytes, f64)>> {
        self.one(&Command::ZRange { key, start, stop, reverse: false })?.scored()
    }

    /// Does the same as `zrange`, but returns the highest score first.
    fn zrevrange(&self, key: Key<'_>, start: i64, stop: i64) -> Outcome<Vec<(Bytes, f64)>> {
        self.one(&Command::ZRange { key, start, stop, reverse: true })?.scored()
    }

    fn zrem(&self, key: Key<'_>, members: Vec<Bytes>) -> Outcome<i64> {
        self.one(&Command::ZRem(key, members))?.int()
    }

    fn zscore(&self, key: Key<'_>, member: Bytes) -> Outcome<Option<f64>> {
        self.one(&Command::ZScore(key, member))?.score()
    }

    fn zcard(&self, key: Key<'_>) -> Outcome<i64> {
        self.one(&Command::ZCard(key))?.int()
    }
}
