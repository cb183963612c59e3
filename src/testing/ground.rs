//! The server for tests: a node over a store in memory, behind a listener that stays when the node is replaced. A reset
//! to a snapshot starts a new node over the snapshot's image of the store, so the new node contains nothing of the
//! previous test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use nova_storage::memory::{Image, Memory};
use nova_storage::{Options, Store};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use crate::app::{self, AppError, Node, PortSetup, Setup, TestSetup};
use crate::clock::{Clock, monotonic_now, rfc3339};
use crate::config::Config;
use crate::decode::Schemas;
use crate::event::{Id, Record};
use crate::http::testing::{ClockTold, Fault, PartitionCounted, Refused, Settled, SnapshotTold, TestLog, Testing};
use crate::http::{self, Edge, Replacer};
use crate::pipeline::progress::PartitionStatus;
use crate::pipeline::writer::Message;
use crate::redis_port;
use crate::state::State;

use super::counted;
use super::log::Log;
use super::retired::Retired;
use super::stand_in::{self, StandIn};
use super::waits::{barrier, delivered, hand_over, limit, prepared};

/// The clock moves in steps of an hour, so that jobs run for each hour that passes. If a movement of the clock would
/// take more than `STEPS_MAX` steps of an hour, the steps are longer.
const STEP_MS: i64 = 3_600_000;
const STEPS_MAX: i64 = 48;
/// The maximum number of snapshots that a server keeps.
const SNAPSHOTS_MAX: usize = 64;
/// The size of redb's page cache in bytes. The page cache is small, because the file of the store is already in memory.
const CACHE_BYTES: usize = 1 << 20;
/// The limit of the cache behind the Redis port, in bytes.
const PORT_CACHE_BYTES: usize = 32 << 20;
/// The name of the snapshot that a server has from its start.
pub(super) const SEED: &str = "seed";
/// A path below a device, where no file can be made. A write to the data directory `NO_DIR` fails.
const NO_DIR: &str = "/dev/null/nova-test";

/// The settings of a server for tests.
pub(crate) struct Ways {
    /// The configuration of the server, with the ranking parameters and the limits. The server ignores the
    /// configuration's sources and targets of records.
    pub config: Config,
    /// The time at the start of the server, in epoch milliseconds. The default of the start time is the present time.
    pub now_ms: Option<i64>,
    /// Whether the clock moves only when a test moves it.
    pub manual: bool,
    /// Whether requests need no token.
    pub anyone: bool,
    /// Whether the server has a stand-in for ClickHouse that gets the rows.
    pub clickhouse: bool,
    /// The schemas of the records in seeds.
    pub schemas: Arc<dyn Schemas>,
    pub listen: SocketAddr,
}

#[derive(Clone)]
struct Snapshot {
    image: Image,
    /// The state in memory at the time of the snapshot.
    state: Arc<State>,
    now_ms: i64,
}

/// The current node with its memory and its listeners.
struct Place {
    node: Node,
    memory: Memory,
    listening: Option<Listening>,
}

/// The listeners whose edge a reset replaces.
pub(crate) struct Listening {
    pub http: Replacer,
    pub redis: Option<redis_port::Replacer>,
}

/// The server for tests.
pub(crate) struct Ground {
    ways: Ways,
    clock: Clock,
    key: Arc<[u8]>,
    runtime: Handle,
    /// Each call that changes the server for tests holds this lock, so that one call ends before the next call begins.
    turn: Mutex<()>,
    /// The current node of the server. A thread holds the lock of the current node only for a moment.
    place: Mutex<Option<Place>>,
    snapshots: Mutex<BTreeMap<String, Snapshot>>,
    log: Arc<Log>,
    /// The number of nodes that were started, from which each node gets its own number.
    nodes: AtomicU64,
    slow_commit_ms: AtomicU64,
    behind_ms: AtomicI64,
    stand_in: Option<Arc<StandIn>>,
    retired: Retired,
}

impl Ground {
    /// Makes the server with an empty store, and without a listener.
    pub fn open(ways: Ways, runtime: Handle) -> Result<Arc<Ground>, AppError> {
        let now_ms = ways.now_ms.unwrap_or_else(|| Clock::System.now_ms());
        let clock = match (ways.manual, ways.now_ms) {
            (true, _) => Clock::manual(now_ms),
            (false, Some(_)) => Clock::shifted_to(now_ms),
            (false, None) => Clock::System,
        };
        let key = http::auth::new_key().map_err(|source| http::KeyError::Io { path: "(memory)".to_owned(), source })?;
        let stand_in = ways.clickhouse.then(Arc::<StandIn>::default);
        let ground = Arc::new(Ground {
            ways,
            clock,
            key: key.as_bytes().into(),
            runtime,
            turn: Mutex::default(),
            place: Mutex::default(),
            snapshots: Mutex::default(),
            log: Arc::default(),
            nodes: AtomicU64::new(0),
            slow_commit_ms: AtomicU64::new(0),
            behind_ms: AtomicI64::new(0),
            stand_in,
            retired: Retired::start()?,
        });
        let image = clean(&Image::default())?;
        let state = Arc::new(State::new(ground.setup(0).state));
        let seed = Snapshot { image, state, now_ms };
        let (node, memory) = ground.node(&seed)?;
        *ground.place.lock() = Some(Place { node, memory, listening: None });
        ground.snapshots.lock().insert(SEED.to_owned(), seed);
        Ok(ground)
    }

    /// Returns the edge with which a listener begins.
    pub fn edge(&self) -> Result<Arc<Edge>, Refused> {
        self.at_hand().map(|(edge, _)| edge)
    }

    /// Whether the current node of the server runs.
    pub fn alive(&self) -> bool {
        self.place.lock().as_ref().is_some_and(|place| place.node.running.alive())
    }

    /// Sets the listeners whose edge each later reset replaces.
    pub fn listens(&self, listening: Listening) {
        if let Some(place) = self.place.lock().as_mut() {
            place.listening = Some(listening);
        }
    }

    /// Ends the current node. Returns the problems of all nodes as texts.
    pub fn end(&self) -> Vec<String> {
        let _turn = self.turn.lock();
        let place = self.place.lock().take();
        if let Some(Place { node, listening, .. }) = place {
            drop(listening);
            self.retired.put(node);
        }
        self.retired.end()
    }

    /// Returns the setup of the node with this number.
    fn setup(self: &Arc<Ground>, number: u64) -> Setup {
        let mut setup = Setup::configured(&self.ways.config, Arc::clone(&self.ways.schemas));
        setup.data_dir = NO_DIR.into();
        setup.clock = self.clock.clone();
        setup.topics.last_part = true;
        (setup.clickhouse, setup.redis_url, setup.replica) = (None, None, false);
        (setup.pace, setup.drain) = (stand_in::PACE, stand_in::DRAIN);
        setup.port = Some(PortSetup { listen: (Ipv4Addr::LOCALHOST, 0).into(), cache_bytes: PORT_CACHE_BYTES });
        setup.testing = Some(TestSetup {
            control: Arc::new(Arc::clone(self)),
            key: Arc::clone(&self.key),
            anyone: self.ways.anyone,
            by_hand: self.ways.manual,
            clickhouse: self.stand_in.as_ref().map(|stand_in| stand_in.client(number)),
        });
        setup
    }

    /// Makes a node from a copy of a snapshot.
    fn node(self: &Arc<Ground>, snapshot: &Snapshot) -> Result<(Node, Memory), AppError> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        let (setup, memory) = (self.setup(number), Memory::of(&snapshot.image));
        memory.slow_syncs(self.slow_commit_ms.load(Ordering::Relaxed));
        let opened =
            app::open_store_at(&setup, Store::open_backend(memory.clone(), &options())?, Some(snapshot.state.copy()))?;
        let (log, clock) = (Arc::clone(&self.log), self.clock.clone());
        self.log.begin(number);
        self.stand_in.iter().for_each(|stand_in| stand_in.begin(number));
        opened.shared.tap.keep(Box::new(move |records, more| log.records(number, clock.now_ms(), records, more)));
        Ok((app::start_node(&setup, opened, Duration::ZERO)?, memory))
    }

    fn at_hand(&self) -> Result<(Arc<Edge>, Sender<Message>), Refused> {
        let place = self.place.lock();
        let place = place.as_ref().ok_or_else(|| Refused::Late("the server ends".to_owned()))?;
        Ok((Arc::clone(&place.node.edge), place.node.running.inbox.clone()))
    }

    fn takes_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Waits until the node has applied everything that it accepted and jobs have run at the present time.
    fn settled(&self) -> Result<(), Refused> {
        let limit = limit();
        self.applied(limit)?;
        self.jobs_ran()?;
        // The barrier waits until the writer has committed what the jobs sent.
        let (edge, inbox) = self.at_hand()?;
        barrier(&inbox, Message::Barrier, limit)?;
        self.stand_in.as_ref().map_or(Ok(()), |stand_in| delivered(stand_in, &edge, &inbox, limit))
    }

    /// Waits until the node has applied everything that it accepted.
    fn applied(&self, limit: Instant) -> Result<(), Refused> {
        let (edge, inbox) = self.at_hand()?;
        hand_over(&edge, Vec::new(), limit)?;
        barrier(&inbox, Message::Barrier, limit)
    }

    /// Runs all jobs and everything else that is due at the clock's time.
    fn jobs_ran(&self) -> Result<(), Refused> {
        let (edge, _) = self.at_hand()?;
        let ran = self.runtime.block_on(async {
            http::sweep(&edge).await;
            edge.watch.jobs.runner.refresh_all(self.clock.now_ms()).await
        });
        ran.map_err(Refused::Late)
    }

    fn told(&self) -> Result<Settled, Refused> {
        let (edge, _) = self.at_hand()?;
        let partitions = edge.watch.shared.partitions();
        Ok(Settled {
            now_ms: self.clock.now_ms(),
            records: partitions.iter().map(|status| status.row.consumed).sum(),
            dead_letters: edge.watch.shared.dead_letters(),
            last_dead: partitions
                .iter()
                .filter_map(|status| {
                    let dead = status.last_dead.as_ref()?;
                    Some(format!("{}: offset {}: {}: {}", status.name, dead.offset, dead.reason, dead.detail))
                })
                .collect(),
            balanced: partitions.iter().all(|status| status.row.balanced()),
        })
    }

    /// Makes a snapshot of the present store. The journal of a new snapshot is empty.
    fn taken(&self) -> Result<Snapshot, Refused> {
        self.settled()?;
        let (edge, inbox) = self.at_hand()?;
        barrier(&inbox, Message::Checkpoint, limit())?;
        // The state is copied before the image of the store. If a commit happens after the state was copied and before
        // the image is made, the image's journal contains the commit, and the state is then recovered from the image.
        let state = Arc::new(edge.serving.state.read().copy());
        let raw = self.place.lock().as_ref().map(|place| place.memory.image());
        let raw = raw.ok_or_else(|| Refused::Late("the server ends".to_owned()))?;
        let image = clean(&raw).map_err(|error| Refused::No(error.to_string()))?;
        Ok(Snapshot { image, state, now_ms: self.clock.now_ms() })
    }

    fn statuses(&self) -> Result<Vec<PartitionStatus>, Refused> {
        Ok(self.at_hand()?.0.watch.shared.partitions())
    }
}

fn options() -> Options {
    Options { cache_bytes: CACHE_BYTES, ..Options::default() }
}

/// Returns the image of a store that was closed cleanly, so that opening the store needs no repair.
fn clean(image: &Image) -> Result<Image, AppError> {
    let memory = Memory::of(image);
    drop(Store::open_backend(memory.clone(), &options())?);
    Ok(memory.image())
}

impl Testing for Arc<Ground> {
    fn clock(&self) -> ClockTold {
        let (now_ms, clock) = (self.clock.now_ms(), if self.ways.manual { "manual" } else { "real" });
        ClockTold { now: rfc3339(now_ms.saturating_mul(1_000)), now_ms, clock }
    }

    fn move_clock(&self, to_ms: i64) -> Result<(), Refused> {
        if !self.ways.manual {
            let why = "the clock is real and goes by itself: start the server with --clock manual to move it";
            return Err(Refused::No(why.to_owned()));
        }
        let _turn = self.takes_turn();
        let from_ms = self.clock.now_ms();
        let far_ms = to_ms.saturating_sub(from_ms).max(0);
        let steps = (far_ms / STEP_MS).clamp(1, STEPS_MAX);
        // Records that the node accepted before the clock moves belong to the earlier time.
        self.applied(limit())?;
        for step in 1..steps {
            self.clock.set(from_ms + far_ms / steps * step);
            self.jobs_ran()?;
        }
        self.clock.set(to_ms);
        self.settled()
    }

    fn settle(&self) -> Result<Settled, Refused> {
        let _turn = self.takes_turn();
        self.settled()?;
        self.told()
    }

    fn captures(&self, records: Vec<Record>) -> Result<Vec<PartitionCounted>, Refused> {
        let _turn = self.takes_turn();
        let (before, limit) = (self.statuses()?, limit());
        let (edge, inbox) = self.at_hand()?;
        hand_over(&edge, records, limit)?;
        barrier(&inbox, Message::Barrier, limit)?;
        Ok(counted::between(&before, &self.statuses()?))
    }

    fn snapshot(&self, name: &str) -> Result<SnapshotTold, Refused> {
        let (_turn, began) = (self.takes_turn(), monotonic_now());
        let taken = self.taken()?;
        let now_ms = taken.now_ms;
        let mut snapshots = self.snapshots.lock();
        if snapshots.len() >= SNAPSHOTS_MAX && !snapshots.contains_key(name) {
            return Err(Refused::No(format!(
                "{SNAPSHOTS_MAX} snapshots are kept; make this one under a name that is there"
            )));
        }
        snapshots.insert(name.to_owned(), taken);
        Ok(SnapshotTold { name: name.to_owned(), now_ms, took_ms: took_ms(began) })
    }

    fn reset(&self, name: Option<&str>) -> Result<SnapshotTold, Refused> {
        let (_turn, began) = (self.takes_turn(), monotonic_now());
        let name = name.unwrap_or(SEED);
        let snapshot = {
            let snapshots = self.snapshots.lock();
            let known = snapshots.get(name).ok_or_else(|| {
                let names: Vec<_> = snapshots.keys().map(String::as_str).collect();
                Refused::NoSnapshot(format!("name: there is no snapshot {name}; there are: {}", names.join(", ")))
            })?;
            known.clone()
        };
        let now_ms = snapshot.now_ms;
        self.slow_commit_ms.store(0, Ordering::Relaxed);
        self.behind_ms.store(0, Ordering::Relaxed);
        self.clock.set(now_ms);
        let (node, memory) = self.node(&snapshot).map_err(|error| Refused::No(error.to_string()))?;
        let before = {
            let mut place = self.place.lock();
            let place = place.as_mut().ok_or_else(|| Refused::Late("the server ends".to_owned()))?;
            if let Some(Listening { http, redis }) = &place.listening {
                http.replace(Arc::clone(&node.edge));
                redis.iter().for_each(|redis| redis.replace(&node.edge));
            }
            place.memory = memory;
            std::mem::replace(&mut place.node, node)
        };
        self.retired.put(before);
        Ok(SnapshotTold { name: name.to_owned(), now_ms, took_ms: took_ms(began) })
    }

    fn log(&self, since: u64, limit: usize) -> TestLog {
        self.log.since(since, limit)
    }

    fn fault(&self, fault: &Fault) -> Result<(), Refused> {
        let _turn = self.takes_turn();
        if fault.clickhouse.is_some() {
            prepared(&self.at_hand()?.0)?;
        }
        stand_in::put(self.stand_in.as_deref(), fault.clickhouse.as_ref())?;
        self.slow_commit_ms.store(fault.slow_commit_ms.unwrap_or(0), Ordering::Relaxed);
        self.behind_ms.store(fault.source_lag_ms.unwrap_or(0), Ordering::Relaxed);
        if let Some(place) = self.place.lock().as_ref() {
            place.memory.slow_syncs(fault.slow_commit_ms.unwrap_or(0));
        }
        Ok(())
    }

    fn page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: String) {
        self.log.page(at_ms, what, user, answer);
    }

    fn behind_ms(&self) -> i64 {
        self.behind_ms.load(Ordering::Relaxed)
    }
}

fn took_ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
