//! The cache in a Redis server that several readers share. Each namespace has a generation key, which names the prefix
//! of the namespace's keys. One SET of the generation key ends all keys of a namespace. Every round trip reads the
//! generations that it relies on. If the server does not answer, a breaker stops asking it for a while, and an embedded
//! cache answers instead.

mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redis::{Connection, Pipeline, Value};

use super::command::{Command, RESERVED, Reply};
use super::contract::{Cache, ScanPage, Stats};
use super::embedded::Embedded;
use super::error::{CacheError, MAX_NAME_BYTES, MAX_NAMESPACES, Outcome};
use crate::backoff::Backoff;
use crate::breaker::{Breaker, BreakerSettings};
use crate::clock::Clock;

/// A server in nova's network answers in a millisecond. A server that takes longer than `CONNECT_TIMEOUT` or
/// `IO_TIMEOUT` counts as out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
const IO_TIMEOUT: Duration = Duration::from_millis(500);
/// The breaker opens after this many failures in a row.
const FAILURES_TO_OPEN: u32 = 3;
/// An open breaker lets one command try the server after this time.
const REST_MS: u64 = 1_000;
const BREAKER: BreakerSettings = BreakerSettings {
    failures_to_open: FAILURES_TO_OPEN,
    failures_to_pause: FAILURES_TO_OPEN,
    pauses: Backoff::always(Duration::from_millis(REST_MS)),
};
/// The connections that are kept open. One thread at a time uses a connection.
const MAX_IDLE_CONNECTIONS: usize = 8;
/// How often a batch is repeated because a namespace was invalidated while the batch ran.
const MAX_GENERATION_RETRIES: usize = 8;

/// A new name for a namespace's generation. The name is random, so that a generation that the server lost does not come
/// back.
fn new_generation() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn generation_key(namespace: &str) -> String {
    format!("nova:gen:{namespace}")
}

/// A cache in a Redis server (7.0 or newer). The server's clock ends keys; `clock` is for the breaker and for the
/// embedded cache, which answers while the server is out of reach.
pub struct Redis {
    client: redis::Client,
    idle: Mutex<Vec<Connection>>,
    /// The last known generation of each namespace. The round trip that uses a generation also checks it.
    generations: RwLock<HashMap<String, String>>,
    /// The invalidations that the server has not confirmed: for each namespace, the number of the newest invalidation.
    /// nova sends waiting invalidations before it sends any command.
    pending: Mutex<BTreeMap<String, u64>>,
    invalidations: AtomicU64,
    breaker: Mutex<Breaker>,
    fallback: RwLock<Arc<Embedded>>,
    fallback_limit_bytes: usize,
    clock: Clock,
    hits: AtomicU64,
    misses: AtomicU64,
    fallback_commands: AtomicU64,
    server_failures: AtomicU64,
}

/// The result of a round trip: the values, the generations that the round trip assumed, and the namespaces whose
/// assumed generation was wrong.
struct Trip<'n> {
    values: Vec<Value>,
    known: BTreeMap<&'n str, String>,
    changed: BTreeSet<&'n str>,
}

impl Redis {
    /// Makes a cache in the server at `redis://[user:password@]host:port/[db]`. An embedded cache of at most
    /// `fallback_limit_bytes` answers while the server is out of reach. The function makes no connection.
    pub fn new(url: &str, fallback_limit_bytes: usize, clock: Clock) -> Outcome<Redis> {
        Ok(Redis {
            client: redis::Client::open(url).map_err(unavailable)?,
            idle: Mutex::default(),
            generations: RwLock::default(),
            pending: Mutex::default(),
            invalidations: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(BREAKER)),
            fallback: RwLock::new(Arc::new(Embedded::new(fallback_limit_bytes, clock.clone()))),
            fallback_limit_bytes,
            clock,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            fallback_commands: AtomicU64::new(0),
            server_failures: AtomicU64::new(0),
        })
    }

    /// Asks the server for its version, such as `7.0.15`.
    pub fn version(&self) -> Outcome<String> {
        let mut info = Pipeline::new();
        info.cmd("INFO").arg("server");
        let text = self.send(&info)?.pop().and_then(wire::text).unwrap_or_default();
        let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        version
            .map(|version| version.trim().to_owned())
            .ok_or(CacheError::Unavailable("it tells no version".to_owned()))
    }

    /// Deletes keys of ended generations among the next (about) `count` keys of the server. Returns the cursor for the
    /// next call; 0 means the end. Nobody reads the keys of an ended generation again, but these keys take the server's
    /// memory until they expire.
    pub fn reclaim(&self, cursor: u64, count: usize) -> Outcome<u64> {
        let mut scan = Pipeline::new();
        scan.cmd("SCAN").arg(cursor).arg("MATCH").arg("nova:ns:*").arg("COUNT").arg(count.max(1));
        let (cursor, names) = wire::scanned(self.send(&scan)?.pop())?;
        // A name that is not UTF-8 was not made by nova.
        let ours = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
        let owners: BTreeMap<&str, (&str, &str)> = ours.filter_map(|name| Some((name, wire::owner(name)?))).collect();
        let namespaces: BTreeSet<&str> = owners.values().map(|(_, namespace)| *namespace).collect();
        let mut generations = Pipeline::new();
        for namespace in &namespaces {
            generations.cmd("GET").arg(generation_key(namespace));
        }
        let current: BTreeMap<&str, Option<String>> =
            namespaces.iter().copied().zip(self.send(&generations)?.into_iter().map(wire::text)).collect();
        let ended = owners.iter().filter(|(_, (generation, namespace))| {
            current.get(namespace).is_some_and(|now| now.as_deref() != Some(generation))
        });
        let mut unlink = Pipeline::new();
        for (name, _) in ended {
            unlink.cmd("UNLINK").arg(name);
        }
        self.send(&unlink)?;
        Ok(cursor)
    }

    /// Makes one round trip. Errors of single commands are among the values.
    fn send(&self, pipeline: &Pipeline) -> Outcome<Vec<Value>> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = self.client.get_connection_with_timeout(CONNECT_TIMEOUT).map_err(unavailable)?;
                connection.set_read_timeout(Some(IO_TIMEOUT)).map_err(unavailable)?;
                connection.set_write_timeout(Some(IO_TIMEOUT)).map_err(unavailable)?;
                connection
            }
        };
        // A failed connection is dropped, because late answers may still come over it. The idle connections are
        // dropped, too, because they are as old as the failed connection.
        let values: Vec<Value> = pipeline.query(&mut connection).map_err(|error| {
            self.idle.lock().clear();
            unavailable(error)
        })?;
        if let Some(refusal) = values.iter().find_map(wire::not_serving) {
            return Err(refusal);
        }
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE_CONNECTIONS {
            idle.push(connection);
        }
        Ok(values)
    }

    /// Sends the invalidations that wait, and then the commands that `fill` adds for the generations of `namespaces`.
    fn send_in<'n>(
        &self,
        namespaces: &BTreeSet<&'n str>,
        fill: impl Fn(&mut Pipeline, &BTreeMap<&str, String>),
    ) -> Outcome<Trip<'n>> {
        let mut known = self.known(namespaces)?;
        let waiting = |(name, id): (&String, &u64)| (name.clone(), *id, new_generation());
        let pending: Vec<(String, u64, String)> = self.pending.lock().iter().map(waiting).collect();
        for (namespace, _, generation) in &pending {
            if let Some(known) = known.get_mut(namespace.as_str()) {
                known.clone_from(generation);
            }
        }
        let mut pipeline = Pipeline::new();
        pipeline.ignore_errors();
        for (namespace, _, generation) in &pending {
            pipeline.cmd("SET").arg(generation_key(namespace)).arg(generation);
        }
        for namespace in known.keys() {
            pipeline.cmd("GET").arg(generation_key(namespace));
        }
        fill(&mut pipeline, &known);
        let mut values = self.send(&pipeline)?.into_iter();
        let confirmed = values.by_ref().take(pending.len()).all(|value| matches!(value, Value::Okay));
        if !confirmed {
            return Err(CacheError::Unavailable("it refuses an invalidation".to_owned()));
        }
        for (namespace, id, generation) in pending {
            let mut waiting = self.pending.lock();
            if waiting.get(&namespace) == Some(&id) {
                waiting.remove(&namespace);
            }
            drop(waiting);
            self.remember(&namespace, Some(generation))?;
        }
        let mut changed = BTreeSet::new();
        for (namespace, thought) in &known {
            let actual = values.next().and_then(wire::text);
            if actual.as_ref() != Some(thought) {
                self.remember(namespace, actual)?;
                changed.insert(*namespace);
            }
        }
        Ok(Trip { values: values.collect(), changed, known })
    }

    fn remember(&self, namespace: &str, generation: Option<String>) -> Outcome<()> {
        let mut generations = self.generations.write();
        match generation {
            None => generations.remove(namespace),
            Some(_) if generations.len() >= MAX_NAMESPACES && !generations.contains_key(namespace) => {
                return Err(CacheError::TooManyNamespaces);
            }
            Some(generation) => generations.insert(namespace.to_owned(), generation),
        };
        Ok(())
    }

    /// The last known generation of each namespace. An unknown generation is read from the server, or made if the
    /// server has none.
    fn known<'n>(&self, namespaces: &BTreeSet<&'n str>) -> Outcome<BTreeMap<&'n str, String>> {
        let seen = |name: &&'n str| self.generations.read().get(*name).map(|generation| (*name, generation.clone()));
        let mut known: BTreeMap<&str, String> = namespaces.iter().filter_map(seen).collect();
        let unknown: Vec<&str> = namespaces.iter().copied().filter(|name| !known.contains_key(name)).collect();
        let mut pipeline = Pipeline::new();
        for namespace in &unknown {
            pipeline.cmd("SET").arg(generation_key(namespace)).arg(new_generation()).arg("NX").ignore();
            pipeline.cmd("GET").arg(generation_key(namespace));
        }
        for (namespace, value) in unknown.into_iter().zip(self.send(&pipeline)?) {
            let generation = wire::text(value).ok_or(CacheError::Unavailable("it keeps no generation".to_owned()))?;
            self.remember(namespace, Some(generation.clone()))?;
            known.insert(namespace, generation);
        }
        Ok(known)
    }

    /// Runs commands on the server. If a namespace was invalidated while its commands ran, the commands changed keys
    /// that nobody reads any more, so the commands run again in the new generation. Each part of a command is in one
    /// namespace, so only commands of an invalidated namespace run twice.
    fn ask(&self, commands: &[Command<'_>]) -> Outcome<Vec<Outcome<Reply>>> {
        let mut replies: Vec<Option<Outcome<Reply>>> = commands.iter().map(refused).collect();
        let asked = commands.iter().enumerate().filter(|(at, _)| replies[*at].is_none());
        let parts = asked.flat_map(|(at, command)| command.parts().into_iter().map(move |part| (at, part)));
        let mut open: Vec<(usize, Cow<'_, Command<'_>>)> = parts.collect();
        let mut answers: Vec<Vec<(usize, Outcome<Reply>)>> = vec![Vec::new(); commands.len()];
        let mut order: Vec<usize> = (0..open.len()).collect();
        for _ in 0..MAX_GENERATION_RETRIES {
            let namespaces = open.iter().map(|(_, part)| part.namespace()).filter(|name| !name.is_empty()).collect();
            let trip = self.send_in(&namespaces, |pipeline, known| {
                for (_, part) in &open {
                    pipeline.add_command(wire::encode(part, known));
                }
            })?;
            let (mut again, mut again_order) = (Vec::new(), Vec::new());
            for (((at, part), place), value) in open.iter().zip(order).zip(trip.values) {
                if trip.changed.contains(part.namespace()) {
                    again.push((*at, part.clone()));
                    again_order.push(place);
                } else {
                    answers[*at].push((place, wire::decode(part, value)));
                }
            }
            (open, order) = (again, again_order);
            if open.is_empty() {
                for (reply, mut parts) in replies.iter_mut().zip(answers) {
                    parts.sort_by_key(|(place, _)| *place);
                    let whole = parts.into_iter().map(|(_, answer)| answer).reduce(wire::joined);
                    *reply = reply.take().or(whole);
                }
                return Ok(replies.into_iter().flatten().collect());
            }
        }
        Err(CacheError::Unavailable("a namespace is invalidated faster than it can be asked".to_owned()))
    }

    fn scan_server(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Outcome<ScanPage> {
        let namespaces = Some(namespace).filter(|name| !name.is_empty()).into_iter().collect();
        let prefix_in = |known: &BTreeMap<&str, String>| {
            known.get(namespace).map_or(String::new(), |generation| wire::prefix(generation, namespace))
        };
        for _ in 0..MAX_GENERATION_RETRIES {
            let mut trip = self.send_in(&namespaces, |pipeline, known| {
                let matched = [wire::escaped(&prefix_in(known)).as_bytes(), pattern].concat();
                pipeline.cmd("SCAN").arg(cursor).arg("MATCH").arg(matched).arg("COUNT").arg(count.max(1));
            })?;
            if trip.changed.is_empty() {
                let prefix = prefix_in(&trip.known);
                let (cursor, names) = wire::scanned(trip.values.pop())?;
                let reserved = |name: &[u8]| RESERVED.iter().any(|start| name.starts_with(start.as_bytes()));
                let ours = |name: &&[u8]| !namespace.is_empty() || !reserved(name);
                let names = names.iter().filter_map(|name| name.strip_prefix(prefix.as_bytes())).filter(ours);
                return Ok(ScanPage { cursor, names: names.map(Bytes::copy_from_slice).collect() });
            }
        }
        Err(CacheError::Unavailable("a namespace is invalidated faster than it can be scanned".to_owned()))
    }

    /// Asks the server unless the breaker is open. Returns `None` if the embedded cache has to answer.
    fn guarded<T>(&self, ask: impl FnOnce() -> Outcome<T>) -> Option<Outcome<T>> {
        if self.breaker.lock().admit(self.clock.now_ms()) > 0 {
            return None;
        }
        match ask() {
            Err(error @ CacheError::Unavailable(_)) => {
                self.server_failures.fetch_add(1, Ordering::Relaxed);
                let mut breaker = self.breaker.lock();
                if breaker.failed(self.clock.now_ms()) {
                    // Values that the embedded cache got in an earlier outage are older than the values that the server
                    // has got since that outage.
                    *self.fallback.write() = Arc::new(Embedded::new(self.fallback_limit_bytes, self.clock.clone()));
                }
                (!breaker.is_open()).then_some(Err(error))
            }
            outcome => {
                self.breaker.lock().answered();
                Some(outcome)
            }
        }
    }

    fn stand_in(&self, commands: usize) -> Arc<Embedded> {
        self.fallback_commands.fetch_add(commands as u64, Ordering::Relaxed);
        Arc::clone(&self.fallback.read())
    }

    fn count(&self, commands: &[Command<'_>], replies: &[Outcome<Reply>]) {
        for (command, reply) in commands.iter().zip(replies) {
            let (hits, misses) = reply.as_ref().map_or((0, 0), |reply| wire::found(command, reply));
            self.hits.fetch_add(hits, Ordering::Relaxed);
            self.misses.fetch_add(misses, Ordering::Relaxed);
        }
    }
}

/// The answer to a command that need not go to the server.
fn refused(command: &Command<'_>) -> Option<Outcome<Reply>> {
    if let Some(reply) = command.empty_answer() {
        return Some(Ok(reply));
    }
    command.keys().iter().find_map(|key| key.check().err()).map(Err)
}

fn unavailable(error: redis::RedisError) -> CacheError {
    CacheError::Unavailable(error.to_string())
}

impl Cache for Redis {
    fn one(&self, command: &Command<'_>) -> Outcome<Reply> {
        let none = || Err(CacheError::Unavailable("it gave no answer".to_owned()));
        self.run(std::slice::from_ref(command)).pop().unwrap_or_else(none)
    }

    fn run(&self, commands: &[Command<'_>]) -> Vec<Outcome<Reply>> {
        match self.guarded(|| self.ask(commands)) {
            Some(Ok(replies)) => {
                self.count(commands, &replies);
                replies
            }
            Some(Err(error)) => commands.iter().map(|_| Err(error.clone())).collect(),
            None => self.stand_in(commands.len()).run(commands),
        }
    }

    fn scan(&self, namespace: &str, cursor: u64, pattern: &[u8], count: usize) -> Outcome<ScanPage> {
        let asked = self.guarded(|| self.scan_server(namespace, cursor, pattern, count));
        asked.unwrap_or_else(|| self.stand_in(1).scan(namespace, cursor, pattern, count))
    }

    /// Invalidates a namespace. The invalidation holds for this process when the call returns, and for all other
    /// processes as soon as the server has the invalidation. While the server is out of reach, the invalidation waits,
    /// and it is sent before the next command.
    fn invalidate(&self, namespace: &str) -> Outcome<()> {
        if namespace.is_empty() || namespace.len() > MAX_NAME_BYTES {
            return Err(CacheError::InvalidKey);
        }
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_NAMESPACES && !pending.contains_key(namespace) {
            return Err(CacheError::TooManyNamespaces);
        }
        pending.insert(namespace.to_owned(), self.invalidations.fetch_add(1, Ordering::Relaxed));
        drop(pending);
        self.fallback.read().invalidate(namespace)?;
        match self.guarded(|| self.send_in(&BTreeSet::new(), |_, _| {})) {
            Some(Err(error)) if !matches!(error, CacheError::Unavailable(_)) => Err(error),
            _ => Ok(()),
        }
    }

    fn stats(&self) -> Stats {
        let local = self.fallback.read().stats();
        Stats {
            hits: local.hits + self.hits.load(Ordering::Relaxed),
            misses: local.misses + self.misses.load(Ordering::Relaxed),
            breaker_open: self.breaker.lock().is_open(),
            fallback_commands: self.fallback_commands.load(Ordering::Relaxed),
            server_failures: self.server_failures.load(Ordering::Relaxed),
            ..local
        }
    }
}
