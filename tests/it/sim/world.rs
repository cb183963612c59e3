//! A run. One run of the simulation: the seed chooses the properties of the world, and what happens in each step. At
//! the end of a run the faults stop, and everything must heal without help. If a halt needs a person, the simulation
//! acts as the person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nova::app::Setup;
use nova::clock::Clock;
use nova::decode::{KeepUnknown, client};
use nova::event::{ClientEvent, Table, TopicPartition};
use nova::pipeline::meta::Meta;
use nova::pipeline::writer::{Command, Message};
use nova::source::local::Settled;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::broker::{Broker, Content};
use super::choices::Choices;
use super::clients::{Clients, Fate, refused};
use super::network::{Server, Weather};
use super::node::{EVENTS, Node};
use super::product::{Message as Change, Product, key_json};
use crate::support::events::Rng;
use crate::support::{setup, state_bytes, store_over};

/// The time at which every run begins, in epoch milliseconds: 22:00 on the last day of a month.
pub const BEGIN_MS: i64 = 1_796_076_000_000;
const STEPS: u64 = 160;
/// The number of steps without a fault within which everything must heal.
const HEALED_WITHIN: u64 = 3_000;

/// The required outcomes of the records of a partition.
#[derive(Default)]
pub struct Expected {
    /// The number of records with each required outcome.
    pub fates: [u64; 4],
    /// The number of events whose outcome must be accepted or late.
    pub either: u64,
    /// The offsets of records that must be dead letters (`poison`), and of records that may be dead letters. A record
    /// that may be a dead letter is a conflict that somebody may have replayed.
    pub poison: Vec<i64>,
    pub conflicts: Vec<i64>,
}

/// A request to the local log that has no answer yet.
pub struct Request {
    pub user: u64,
    pub events: Vec<ClientEvent>,
    arrival_ms: i64,
    pub answer: Option<oneshot::Receiver<Vec<Settled>>>,
}

pub struct World {
    pub told: bool,
    pub rng: Rng,
    pub setup: Setup,
    pub disk: Recorder,
    pub server: Server,
    pub broker: Arc<Mutex<Broker>>,
    pub product: Product,
    pub clients: Clients,
    pub node: Node,
    pub expected: BTreeMap<TopicPartition, Expected>,
    pub requests: Vec<Request>,
    pub replayed: bool,
    /// The number of batches of which the materialised view may lack rows, summed over all processes that have ended.
    pub uncertain: u64,
    pub choices: Choices,
    /// Whether the constraint on client events was changed during the run.
    pub repaired: bool,
    /// The number of inserts that [`World::check_server`] has checked, and the ids of their events.
    pub seen: (usize, std::collections::BTreeSet<super::clients::Key>),
    began: Instant,
    pub skew_ms: i64,
    pub trace: xxhash_rust::xxh3::Xxh3,
    pub lives: u64,
}

impl World {
    /// Makes a world in a tokio runtime with paused time. With `told`, the world prints its events to standard error.
    pub fn new(seed: u64, choices: Choices, told: bool) -> World {
        let mut rng = Rng(seed ^ 0x5eed);
        let mut setup = setup("envelope.jsonl");
        setup.clock = Clock::manual(BEGIN_MS);
        setup.settings = choices.settings.clone();
        // Every table has the column `lang`, which nova keeps although it does not know the column.
        setup.keep_unknown = KeepUnknown::parse(&Table::ALL.map(|table| table.name().to_owned())).unwrap();
        setup.clickhouse = Some(nova::warehouse::clickhouse::ClickHouseSettings {
            url: "http://clickhouse".to_owned(),
            database: "nova".to_owned(),
            user: None,
            password: None,
            ca_file: None,
            layout: Default::default(),
            timeout: Duration::from_secs(30),
        });
        // A proxy is left out of runs in which ClickHouse refuses rows, as docs/testing.md says.
        let proxy_ms = if choices.poison_rows && !choices.kinds.held_pieces { 0 } else { 10 * 60_000 };
        if proxy_ms == 0 {
            // No proxy holds inserts back in the run, so nova need not wait for a proxy.
            setup.pace.held_max_ms = 0;
            setup.pace.overtaken_max = 2 + seed % 7;
        }
        let server = Server::start(rng.next(), choices.window_ms, (choices.slowest_ms, proxy_ms), told);
        if proxy_ms == 0 {
            // The server remembers few tokens: those of the inserts that may come between two attempts of a batch, and
            // some of inserts that began earlier and still run.
            server.tables.lock().window_max = 2 * setup.pace.overtaken_max as usize + 4;
        }
        server.tables.lock().refuses = choices.poison_rows.then_some(refused as fn(&[u8]) -> bool);
        let ordered = choices.partitions[..5] == [1; 5];
        let product = Product::new(rng.next(), choices.style, choices.kinds, ordered);
        let clients = Clients::new(rng.next());
        let (disk, broker) = (Recorder::new(), Arc::<Mutex<Broker>>::default());
        name_store(&disk, seed);
        let node = Node::boot(&setup, &disk, &server, &broker, rng.next(), choices.with_log);
        let mut world = World {
            told,
            rng,
            setup,
            disk,
            server,
            broker,
            product,
            clients,
            node,
            expected: BTreeMap::new(),
            requests: Vec::new(),
            replayed: false,
            uncertain: 0,
            choices,
            repaired: false,
            seen: Default::default(),
            began: Instant::now(),
            skew_ms: 0,
            trace: xxhash_rust::xxh3::Xxh3::new(),
            lives: 1,
        };
        let choices = format!("{:?}", world.choices);
        world.tell(|| choices.clone());
        world
    }

    pub fn tell(&mut self, what: impl Fn() -> String) {
        let what = what();
        self.trace.update(what.as_bytes());
        if self.told {
            eprintln!("{:>12} ms  {what}", self.began.elapsed().as_millis());
        }
    }

    pub fn now_ms(&self) -> i64 {
        BEGIN_MS + self.began.elapsed().as_millis() as i64
    }

    /// Makes the whole run of the simulation. The oracle checks the run after every commit and at the end.
    pub async fn run(&mut self) {
        for _ in 0..STEPS {
            self.step().await;
        }
        self.heal().await;
        self.check_end();
    }

    async fn step(&mut self) {
        match self.rng.below(100) {
            0..12 => self.change(),
            12..27 => self.events(),
            27..47 => self.node.ingest(),
            47..67 => self.write(None),
            67..69 => self.write(Some(Message::Seal)),
            69..80 => self.wait(1, 200).await,
            80..85 => self.wait(1_000, 40_000).await,
            85 => self.wait_long().await,
            86..89 => self.weather(),
            89..91 => self.die(None),
            91..93 => self.die_in_a_commit(),
            93 => self.bad_disk(),
            94..96 => self.rebalance(),
            96 => self.repeat(),
            97 => self.oddity(),
            98 => self.operator(),
            _ => self.jump(),
        }
    }

    async fn wait(&mut self, least_ms: u64, more_ms: u64) {
        let ms = least_ms + self.rng.below(more_ms);
        self.pass(ms).await;
    }

    /// Lets time pass for the delivery, the server and the clocks.
    pub async fn pass(&mut self, ms: u64) {
        self.tell(|| format!("{ms} ms pass"));
        let mut left = ms;
        while left > 0 {
            let piece = left.min(if ms > 60_000 { 5_000 } else { 500 });
            self.node.pass(Duration::from_millis(piece)).await;
            self.setup.clock.set(self.now_ms() + self.skew_ms);
            left -= piece;
        }
        self.check_server();
    }

    async fn wait_long(&mut self) {
        let ms = match self.rng.below(8) {
            0 if !self.choices.with_log => 3_600_000 * (1 + self.rng.below(26)),
            _ => 60_000 * (1 + self.rng.below(90)),
        };
        self.pass(ms).await;
        self.end_first_snapshot();
    }

    /// Runs the job that ends a first snapshot when every log is read to its end. Returns whether every log was read to
    /// its end.
    fn end_first_snapshot(&mut self) -> bool {
        let read = self.unread().is_none();
        if read {
            let command = Command::EndFirstSnapshot { reply: Box::new(|_| ()) };
            self.write(Some(Message::Command(command)));
        }
        read
    }

    /// Runs transactions of the product, and sends their messages to the topics.
    fn change(&mut self) {
        let now_us = self.now_ms() * 1_000;
        let messages = self.product.change(now_us);
        self.tell(|| format!("{} changes", messages.len()));
        self.append(messages);
    }

    pub fn append(&mut self, messages: Vec<Change>) {
        for Change { table, key, value, headers } in messages {
            let partitions = self.choices.partitions[table as usize];
            let key = key.map(key_json);
            let number = match &key {
                Some(key) => xxhash_rust::xxh3::xxh3_64(key) % partitions,
                None => self.rng.below(partitions),
            };
            let name = TopicPartition::new(format!("cdc.{table}"), number as i32);
            self.put(&name, Content { key: key.map(Into::into), value: value.map(Into::into), headers });
        }
    }

    pub fn put(&mut self, name: &TopicPartition, content: Content) -> i64 {
        let stamp_ms = self.stamp();
        self.put_at(name, stamp_ms, content)
    }

    /// Returns the time of the broker, or the time of a producer whose clock is ahead.
    fn stamp(&mut self) -> i64 {
        let ahead = self.choices.kinds.stamps && self.rng.below(200) == 0;
        self.now_ms() + if ahead { self.ahead_ms() } else { 0 }
    }

    /// Draws a time from an hour to half a century, in milliseconds.
    fn ahead_ms(&mut self) -> i64 {
        (3_600_000 * (1 + self.rng.below(24) as i64)) << self.rng.below(15)
    }

    fn put_at(&mut self, name: &TopicPartition, stamp_ms: i64, content: Content) -> i64 {
        let gap = if self.rng.below(12) == 0 { 1 + self.rng.below(4) as i64 } else { 0 };
        self.expected.entry(name.clone()).or_default();
        self.broker.lock().append(name, stamp_ms, content, gap)
    }

    /// Sends client events to the topic, or to the local log in a request.
    fn events(&mut self) {
        let (user, count) = (self.clients.pick_user(), 1 + self.rng.below(8));
        if self.choices.with_log && self.requests.iter().any(|request| request.user == user) {
            return self.answers();
        }
        let now_ms = self.now_ms();
        let events: Vec<_> = (0..count)
            .map(|_| {
                let post = self.product.some(Table::Posts);
                self.clients.event(user, post, now_ms, (self.choices.poison_rows, self.choices.with_log))
            })
            .collect();
        self.tell(|| format!("{count} events of user {user}"));
        if self.choices.with_log {
            self.requests.push(Request { user, events, arrival_ms: now_ms, answer: None });
            return self.answers();
        }
        let name = TopicPartition::new(EVENTS, (user % self.choices.partitions[5]) as i32);
        if self.choices.kinds.stamps && self.rng.below(20) == 0 {
            self.event_ahead(&name, user);
        }
        for event in events {
            let offset = self.put_at(&name, now_ms, Content::of(client::encode(&event)));
            let fate = self.clients.consumed(&event, now_ms);
            let expected = self.expected.get_mut(&name).unwrap();
            expected.fates[fate as usize] += 1;
            if fate == Fate::Conflict {
                expected.conflicts.push(offset);
            }
            // If the answer is lost, the client sends the event again.
            if self.rng.below(15) == 0 {
                self.put_at(&name, now_ms, Content::of(client::encode(&event)));
                let fate = self.clients.consumed(&event, now_ms);
                let expected = self.expected.get_mut(&name).unwrap();
                expected.fates[fate as usize] += 1;
                if fate == Fate::Conflict {
                    let last = self.broker.lock().logs[&name].last().unwrap().offset;
                    self.expected.get_mut(&name).unwrap().conflicts.push(last);
                }
            }
        }
    }

    /// Sends an event from a producer whose clock is ahead. The outcome of the event must be accepted or late,
    /// depending on nova's clock when nova reads the event.
    fn event_ahead(&mut self, name: &TopicPartition, user: u64) {
        let post = self.product.some(Table::Posts);
        let (now_ms, ahead_ms) = (self.now_ms(), self.ahead_ms());
        let event = self.clients.event_ahead(user, post, now_ms, ahead_ms);
        self.put_at(name, now_ms + ahead_ms, Content::of(client::encode(&event)));
        self.expected.get_mut(name).unwrap().either += 1;
    }

    /// Repeats the requests that have no answer, and takes the answers that have come.
    pub fn answers(&mut self) {
        let now_ms = self.now_ms();
        let mut left = Vec::new();
        for mut request in std::mem::take(&mut self.requests) {
            match request.answer.as_mut().map(oneshot::Receiver::try_recv) {
                Some(Ok(settled)) => {
                    assert_eq!(settled.len(), request.events.len());
                    for event in &request.events {
                        self.clients.consumed(event, request.arrival_ms);
                    }
                    continue;
                }
                Some(Err(oneshot::error::TryRecvError::Empty)) => {}
                Some(Err(oneshot::error::TryRecvError::Closed)) | None => {
                    let values = request.events.iter().map(|event| client::encode(event).into()).collect();
                    request.answer = self.node.local.as_ref().unwrap().append(values, now_ms).ok();
                }
            }
            left.push(request);
        }
        self.requests = left;
    }

    /// Makes one commit, and checks the properties that must hold after it.
    pub fn write(&mut self, more: Option<Message>) {
        let most = 1 + self.rng.below(4) as usize;
        self.node.write(most, more).unwrap();
        if self.choices.with_log {
            self.answers();
        }
        self.check_commit();
    }

    /// Ends all faults of the simulated run. Everything that still waits must be done in bounded time.
    pub async fn heal(&mut self) {
        self.tell(|| "no more faults".to_owned());
        self.server.set(Weather::Fair);
        let now_us = self.now_ms() * 1_000;
        let messages = self.product.finish(now_us);
        self.append(messages);
        let mut ended = false;
        for step in 0..HEALED_WITHIN {
            self.node.ingest();
            self.write((step % 8 == 0).then_some(Message::Seal));
            self.release();
            if self.settled() && std::mem::replace(&mut ended, self.end_first_snapshot()) && self.settled() {
                return;
            }
            self.pass(if step % 16 < 12 { 20 } else { 30_000 }).await;
        }
        panic!("liveness: not settled without faults: {:?}", self.unsettled());
    }

    fn settled(&self) -> bool {
        self.unsettled().is_none()
    }

    fn unread(&self) -> Option<String> {
        let broker = self.broker.lock();
        for (name, log) in &broker.logs {
            let end = log.last().map_or(0, |last| last.offset + 1);
            let next = nova::source::Progress::next_offset(&*self.node.shared, name).unwrap_or(0);
            if next < end {
                return Some(format!("{name} is at {next} of {end}"));
            }
        }
        None
    }

    fn unsettled(&self) -> Option<String> {
        let unread = self.unread();
        if unread.is_some() {
            return unread;
        }
        let targets = self.node.status.targets();
        (!self.node.idle() || !self.requests.is_empty() || self.server.haunted() || self.node.status.waiting_rows() > 0)
            .then(|| format!("{} requests, {targets:?}", self.requests.len()))
    }
}

/// Gives the store a random id that depends only on the seed, so that a run is repeatable.
fn name_store(disk: &Recorder, seed: u64) {
    let store = store_over(disk.clone());
    let write = store.write().unwrap();
    let meta = Meta { store_id: seed, dedup_floor_ms: i64::MIN, ..Meta::default() };
    meta.save(&write).unwrap();
    write.commit().unwrap();
}

impl World {
    /// Returns a hash of the run: of what happened, and of what nova has served, stored and delivered.
    pub fn digest(&mut self) -> u128 {
        self.trace.update(&state_bytes(&self.node.opened));
        for stored in &self.server.tables.lock().stored {
            self.trace.update(stored.token.as_bytes());
            stored.rows.iter().for_each(|row| self.trace.update(row));
        }
        self.trace.update(&self.disk.syncs().to_le_bytes());
        self.trace.digest128()
    }
}
