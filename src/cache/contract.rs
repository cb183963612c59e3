//! What every cache does.

use bytes::Bytes;

use super::command::{Command, Key, Reply, SetOptions, Ttl};
use super::error::{CacheError, Outcome};

/// What a cache did since it was made, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes that the values, names and their bookkeeping take in this process.
    pub bytes: u64,
    /// Most that `bytes` may become.
    pub limit_bytes: u64,
    /// Entries in this process, those included that ended and were not yet swept.
    pub entries: u64,
    /// Keys that a reading command (`get`, `mget`, `hget`, `zrange`, ...) found or did not find.
    pub hits: u64,
    pub misses: u64,
    /// Live entries that made room for others.
    pub evictions: u64,
    /// True while a server is given a rest and commands are answered in this process.
    pub breaker_open: bool,
    /// Commands answered in this process because the server was not asked.
    pub fallback_commands: u64,
    /// Times that the server could not be asked or gave no answer.
    pub server_failures: u64,
}

/// A page of a scan: ask again with `cursor` until it is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    pub cursor: u64,
    pub names: Vec<Bytes>,
}

/// Redis semantics. A command on one key is atomic; one on several keys is so for each of them. An entry with a time to
/// live of n ms lives n ms. Fields and members come sorted by their bytes, which Redis leaves open.
pub trait Cache: Send + Sync {
    /// Does one command.
    fn one(&self, command: &Command<'_>) -> Outcome<Reply>;

    /// Does commands in order; a server gets them in one round trip.
    fn run(&self, commands: &[Command<'_>]) -> Vec<Outcome<Reply>> {
        commands.iter().map(|command| self.one(command)).collect()
    }

    /// Names of a namespace (or, with "", plain names) that match a glob. `count` is how much to look at, not how many
    /// to return. What is there from first page to last is returned at least once.
    fn scan(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Outcome<ScanPage>;

    /// Ends every key of a namespace at once, in O(1) whatever their number.
    fn invalidate(&self, namespace: &str) -> Outcome<()>;

    fn stats(&self) -> Stats;

    fn get(&self, key: Key<'_>) -> Outcome<Option<Bytes>> {
        self.one(&Command::Get(key))?.bytes()
    }

    /// One answer for each key, in order; a key of another type reads as absent.
    fn mget(&self, keys: Vec<Key<'_>>) -> Outcome<Vec<Option<Bytes>>> {
        self.one(&Command::MGet(keys))?.values()
    }

    /// True if it was set. `options.get` is for `Command::Set`: this one returns no previous value.
    fn set(&self, key: Key<'_>, value: Bytes, options: SetOptions) -> Outcome<bool> {
        Ok(self.one(&Command::Set(key, value, SetOptions { get: false, ..options }))? == Reply::Done)
    }

    /// SET with GET: the value before, whether or not the new one was set.
    fn set_get(&self, key: Key<'_>, value: Bytes, options: SetOptions) -> Outcome<Option<Bytes>> {
        self.one(&Command::Set(key, value, SetOptions { get: true, ..options }))?.bytes()
    }

    /// How many keys there were.
    fn del(&self, keys: Vec<Key<'_>>) -> Outcome<i64> {
        self.one(&Command::Del(keys))?.int()
    }

    /// How many of the keys there are; a key named twice counts twice.
    fn exists(&self, keys: Vec<Key<'_>>) -> Outcome<i64> {
        self.one(&Command::Exists(keys))?.int()
    }

    /// False if there is no such key. Without time left the key is deleted.
    fn expire(&self, key: Key<'_>, ttl_ms: i64) -> Outcome<bool> {
        Ok(self.one(&Command::PExpire(key, ttl_ms))?.int()? == 1)
    }

    fn pttl(&self, key: Key<'_>) -> Outcome<Ttl> {
        Ok(Ttl::of(self.one(&Command::Pttl(key))?.int()?))
    }

    /// True if the key had a time to live.
    fn persist(&self, key: Key<'_>) -> Outcome<bool> {
        Ok(self.one(&Command::Persist(key))?.int()? == 1)
    }

    fn incrby(&self, key: Key<'_>, by: i64) -> Outcome<i64> {
        self.one(&Command::IncrBy(key, by))?.int()
    }

    /// How many fields are new.
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

    /// How many members are new.
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

    /// How many members are new.
    fn zadd(&self, key: Key<'_>, members: Vec<(f64, Bytes)>) -> Outcome<i64> {
        self.one(&Command::ZAdd(key, members))?.int()
    }

    /// The new score.
    fn zincrby(&self, key: Key<'_>, by: f64, member: Bytes) -> Outcome<f64> {
        self.one(&Command::ZIncrBy(key, by, member))?.score()?.ok_or(CacheError::NotAFloat)
    }

    /// Members from rank `start` to rank `stop`, both included, negative ones from the end; lowest score first.
    fn zrange(&self, key: Key<'_>, start: i64, stop: i64) -> Outcome<Vec<(Bytes, f64)>> {
        self.one(&Command::ZRange { key, start, stop, reverse: false })?.scored()
    }

    /// As `zrange`, highest score first.
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
