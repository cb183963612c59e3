//! Limits how much each caller may request, and how many requests nova accepts in all.
//!
//! The limits use the generic cell rate algorithm (ITU-T I.371). A cell is the theoretical arrival time of the caller's
//! next request. Each request moves the cell by one interval. nova refuses a request if the cell is further ahead of
//! now than the burst allows. Each caller has two cells. The cell of the quota runs at the configured rate, and a
//! request that exceeds this rate gets 429. The cell of health runs at the configured rate times the health factor, and
//! a request that exceeds this lower rate gets 503.

pub mod client;
pub mod health;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::RwLock;

use crate::event::Id;

use self::health::Health;

/// The number of shards of the map of callers.
const SHARDS: usize = 64;
/// The most callers that nova remembers at the same time, at about 64 bytes each. If a shard is full, its further
/// callers share a cell.
pub const CALLERS_MAX: usize = 262_144;
/// The length of a burst in seconds: a burst is the number of requests that the rate allows in this time.
const BURST_S: u32 = 2;
/// The rate of the roles `service` and `admin` is this many times the rate of a user, because these roles act for many
/// users.
const SERVICE_FACTOR: u32 = 20;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A class of requests that share one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Feed,
    Trending,
    Suggestions,
    Events,
    Admin,
    /// Requests that anybody may make: metrics, the key set, the description of the API.
    Public,
    /// Requests for the health of the node.
    Probes,
    /// Requests without a valid token, limited by address.
    Refused,
}

impl Class {
    pub const ALL: [Class; 8] = [
        Class::Feed,
        Class::Trending,
        Class::Suggestions,
        Class::Events,
        Class::Admin,
        Class::Public,
        Class::Probes,
        Class::Refused,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Class::Feed => "feed",
            Class::Trending => "trending",
            Class::Suggestions => "suggestions",
            Class::Events => "events",
            Class::Admin => "admin",
            Class::Public => "public",
            Class::Probes => "probes",
            Class::Refused => "refused",
        }
    }
}

/// The number of requests per second that a caller may make, for each class of requests. The last two settings are the
/// limits of lag and disk beyond which the node is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    pub enabled: bool,
    pub feed_per_s: u32,
    pub trending_per_s: u32,
    pub suggestions_per_s: u32,
    pub events_per_s: u32,
    pub admin_per_s: u32,
    pub public_per_s: u32,
    pub probes_per_s: u32,
    pub refused_per_s: u32,
    /// The longest delay behind the source, in seconds, with which the node is ready.
    pub lag_max_s: u32,
    /// The smallest free space on the store's disk, in MiB, with which the node is ready.
    pub disk_min_mib: u32,
}

impl Default for LimitSettings {
    fn default() -> LimitSettings {
        LimitSettings {
            enabled: true,
            feed_per_s: 100,
            // The limit of trending is high, because trending lists are made in advance and need no token, and many
            // clients may share an address.
            trending_per_s: 1_000,
            suggestions_per_s: 50,
            events_per_s: 50,
            admin_per_s: 20,
            // Prometheus and programs that generate client code make few requests.
            public_per_s: 50,
            // The limit of probes is high, because probes are cheap, and a load balancer that gets 429 takes the node
            // out of service.
            probes_per_s: 1_000,
            refused_per_s: 50,
            lag_max_s: 300,
            disk_min_mib: 512,
        }
    }
}

impl LimitSettings {
    /// The requests that one caller may make in a second.
    pub fn per_s(&self, class: Class) -> u32 {
        match class {
            Class::Feed => self.feed_per_s,
            Class::Trending => self.trending_per_s,
            Class::Suggestions => self.suggestions_per_s,
            Class::Events => self.events_per_s,
            Class::Admin => self.admin_per_s,
            Class::Public => self.public_per_s,
            Class::Probes => self.probes_per_s,
            Class::Refused => self.refused_per_s,
        }
    }
}

/// The caller to whom a limit applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    User {
        id: Id,
        service: bool,
    },
    /// A caller without a token: one IPv4 address, or one IPv6 network of 64 bits, which is what one customer has.
    Address(IpAddr),
}

impl Caller {
    pub fn address(address: IpAddr) -> Caller {
        Caller::Address(client::network(address))
    }
}

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The interval between two requests at the full rate.
    interval_us: u64,
    burst: u64,
}

impl Quota {
    /// The quota for a rate from one to a million requests a second.
    pub fn per_s(rate: u32) -> Quota {
        let rate = u64::from(rate.clamp(1, 1_000_000));
        // The interval is rounded up, so that callers never exceed the rate.
        Quota { interval_us: 1_000_000_u64.div_ceil(rate), burst: rate * u64::from(BURST_S) }
    }

    /// The longest time by which a cell may be ahead of now when nova grants a request.
    fn tolerance_us(self) -> u64 {
        self.interval_us * (self.burst - 1)
    }

    /// Takes one request from a cell at `now_us`, and moves the cell by `interval_us`. `interval_us` is at least the
    /// interval of the quota.
    fn take(self, cell: &AtomicU64, now_us: u64, interval_us: u64) -> Result<u64, u64> {
        let mut seen = cell.load(Ordering::Relaxed);
        loop {
            let ahead_us = seen.saturating_sub(now_us);
            if ahead_us > self.tolerance_us() {
                return Err(ahead_us - self.tolerance_us());
            }
            let next = seen.max(now_us) + interval_us;
            match cell.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(next - now_us),
                Err(found) => seen = found,
            }
        }
    }

    /// The number of requests that a cell still allows at once if the cell is `ahead_us` ahead of now.
    fn remaining(self, ahead_us: u64, interval_us: u64) -> u64 {
        match self.tolerance_us().checked_sub(ahead_us) {
            Some(room_us) => room_us / interval_us + 1,
            None => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Cells {
    quota: AtomicU64,
    health: AtomicU64,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Granted,
    /// The caller has used up the quota.
    OverQuota {
        retry_after_us: u64,
    },
    /// The node is not healthy enough to answer the request.
    Shed {
        retry_after_us: u64,
    },
}

/// The decision about a request, and the values of the answer's rate limit headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub decision: Decision,
    class: Class,
    quota: Quota,
    remaining: u64,
    /// The time until the whole burst is available again.
    reset_us: u64,
}

impl Verdict {
    pub fn granted(&self) -> bool {
        self.decision == Decision::Granted
    }

    /// Writes the headers `RateLimit-Policy` and `RateLimit` as in draft-ietf-httpapi-ratelimit-headers-10: `q`
    /// requests in `w` seconds, of which `r` are left for the next `t` seconds.
    pub fn write(&self, headers: &mut HeaderMap) {
        let name = self.class.name();
        let policy = format!("\"{name}\";q={};w={BURST_S}", self.quota.burst);
        let limit = format!("\"{name}\";r={};t={}", self.remaining, self.reset_us.div_ceil(1_000_000));
        for (header, value) in [(POLICY, policy), (LIMIT, limit)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header, value);
            }
        }
    }
}

/// The number of decisions by class: granted, over quota, shed.
#[derive(Debug, Default)]
pub struct Decisions([[AtomicU64; 3]; Class::ALL.len()]);

impl Decisions {
    const NAMES: [&'static str; 3] = ["granted", "over_quota", "shed"];

    fn count(&self, class: Class, decision: Decision) {
        let place = match decision {
            Decision::Granted => 0,
            Decision::OverQuota { .. } => 1,
            Decision::Shed { .. } => 2,
        };
        self.0[class as usize][place].fetch_add(1, Ordering::Relaxed);
    }

    /// Triples of class, decision and count for `rate_limit_total{class,decision}`.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        Class::ALL.into_iter().flat_map(move |class| {
            let counts = Decisions::NAMES.into_iter().zip(self.of(class));
            counts.map(move |(name, count)| (class.name(), name, count))
        })
    }

    /// The numbers of a class's requests that nova granted, refused because of the quota, and shed.
    pub fn of(&self, class: Class) -> [u64; 3] {
        self.0[class as usize].each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

type Shard = RwLock<HashMap<(Class, Caller), Cells>>;

/// The configured limits, and the cells of all callers.
pub struct Limiter {
    settings: LimitSettings,
    pub health: std::sync::Arc<Health>,
    started: Instant,
    hasher: RandomState,
    shards: Vec<(Shard, [Cells; Class::ALL.len()])>,
    pub decisions: Decisions,
}

impl Limiter {
    pub fn new(settings: LimitSettings, health: std::sync::Arc<Health>) -> Limiter {
        let shards = (0..SHARDS).map(|_| Default::default()).collect();
        #[expect(clippy::disallowed_methods, reason = "limits know no other room than their own")]
        let (started, hasher) = (Instant::now(), RandomState::new());
        Limiter { settings, health, started, hasher, shards, decisions: Decisions::default() }
    }

    /// The time on the monotonic clock of the cells, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Takes one request of a class from a caller's quota, or returns `None` if limits are off.
    pub fn check(&self, class: Class, caller: Caller, now_us: u64) -> Option<Verdict> {
        if !self.settings.enabled {
            return None;
        }
        let service = matches!(caller, Caller::User { service: true, .. }) && class != Class::Admin;
        let rate = self.settings.per_s(class).saturating_mul(if service { SERVICE_FACTOR } else { 1 });
        let quota = Quota::per_s(rate);
        let verdict = self.with_cells(class, caller, now_us, |cells| self.decide(class, quota, cells, now_us));
        self.decisions.count(class, verdict.decision);
        Some(verdict)
    }

    fn decide(&self, class: Class, quota: Quota, cells: &Cells, now_us: u64) -> Verdict {
        let taken = quota.take(&cells.quota, now_us, quota.interval_us);
        let verdict = |decision, remaining, reset_us| Verdict { decision, class, quota, remaining, reset_us };
        let ahead_us = match taken {
            Err(retry_after_us) => {
                let reset_us = retry_after_us + quota.tolerance_us();
                return verdict(Decision::OverQuota { retry_after_us }, 0, reset_us);
            }
            Ok(ahead_us) => ahead_us,
        };
        let remaining = quota.remaining(ahead_us, quota.interval_us);
        let factor = self.health.factor();
        if factor >= 1.0 && cells.health.load(Ordering::Relaxed) <= now_us {
            return verdict(Decision::Granted, remaining, ahead_us);
        }
        let weight_us = (quota.interval_us as f64 / factor).ceil() as u64;
        match quota.take(&cells.health, now_us, weight_us) {
            Ok(health_us) => {
                let remaining = remaining.min(quota.remaining(health_us, weight_us));
                verdict(Decision::Granted, remaining, ahead_us.max(health_us))
            }
            Err(retry_after_us) => {
                let reset_us = retry_after_us + quota.tolerance_us();
                verdict(Decision::Shed { retry_after_us }, 0, reset_us)
            }
        }
    }

    fn with_cells<T>(&self, class: Class, caller: Caller, now_us: u64, use_cells: impl FnOnce(&Cells) -> T) -> T {
        let key = (class, caller);
        let (shard, overflow) = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        if let Some(cells) = shard.read().get(&key) {
            return use_cells(cells);
        }
        let mut callers = shard.write();
        if callers.len() >= CALLERS_MAX / SHARDS && !callers.contains_key(&key) {
            sweep(&mut callers, now_us);
            if callers.len() >= CALLERS_MAX / SHARDS {
                return use_cells(&overflow[class as usize]);
            }
        }
        use_cells(callers.entry(key).or_default())
    }

    /// Forgets callers whose whole burst is available again. A caller with a whole burst needs no memory, so the sweep
    /// changes no decision.
    pub fn sweep(&self, now_us: u64) {
        self.shards.iter().for_each(|(shard, _)| sweep(&mut shard.write(), now_us));
    }

    /// The number of remembered callers.
    pub fn callers(&self) -> usize {
        self.shards.iter().map(|(shard, _)| shard.read().len()).sum()
    }
}

fn sweep(callers: &mut HashMap<(Class, Caller), Cells>, now_us: u64) {
    let busy = |cell: &mut AtomicU64| *cell.get_mut() > now_us;
    callers.retain(|_, cells| busy(&mut cells.quota) || busy(&mut cells.health));
}

#[cfg(test)]
mod tests;
