//! A nova node that a test drives step by step, connected to the double of the PostgreSQL server. The node has the real
//! follower, ingest and writer, and its disk can lose what was not synced.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use crossbeam_channel::Receiver;
use nova::app::{self, Opened, Setup};
use nova::decode::{Decoder, NoSchemas, Topics};
use nova::event::{ChangeBody, Decoded, Origin, OriginKind, Outcome, Record, Table, Tables, TopicPartition};
use nova::pipeline::QUEUE_MAX_MESSAGES;
use nova::pipeline::ingest::Ingest;
use nova::pipeline::progress::PartitionStatus;
use nova::pipeline::writer::{Command, Message};
use nova::source::postgres::PostgresSource;
use nova::source::postgres::follower::{FollowSettings, Follower};
use nova::source::postgres::link::{self, Link};
use nova::source::postgres::position::Position;
use nova::source::postgres::status::{PostgresStatus, State, View};
use nova::source::{Cookie, Fault, PollLimits, Polled, Progress as _, Source, SourceError};
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::double::Double;
use super::pgoutput::{self, relation};
use super::walsender::{EPOCH_MS, Pg};
use crate::support::{dump, store_over};

pub const SLOT: &str = "nova";

/// The time by which one step advances the clocks.
pub const STEP: Duration = Duration::from_millis(100);

pub fn settings() -> FollowSettings {
    FollowSettings { slot: SLOT.to_owned(), publication: SLOT.to_owned(), resnapshot: false, max_held_wal_mib: 0 }
}

pub fn setup() -> Setup {
    let mut setup = Setup::new("unused", Topics::default(), Arc::new(NoSchemas));
    setup.clock = nova::clock::Clock::manual(EPOCH_MS);
    setup.settings.truncate = nova::pipeline::TruncatePolicy::Apply;
    setup
}

/// A source whose polls never wait, because the test advances the clock.
struct AtOnce(PostgresSource);

impl Source for AtOnce {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        self.0.poll(&PollLimits { wait: Duration::ZERO, ..*limits }, out)
    }
    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        self.0.pause(partition)
    }
    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.0.resume(partition, from)
    }
    fn take_faults(&mut self) -> Vec<Fault> {
        self.0.take_faults()
    }
    fn take_cookies(&mut self) -> Vec<Cookie> {
        self.0.take_cookies()
    }
    fn renumber(&mut self, partition: &TopicPartition, next: i64) -> Result<bool, SourceError> {
        self.0.renumber(partition, next)
    }
}

/// One run of the nova process.
pub struct Node {
    pub opened: Opened,
    pub pg: Arc<Mutex<Pg>>,
    pub status: Arc<PostgresStatus>,
    link: Arc<Link>,
    ingest: Ingest,
    inbox: Receiver<Message>,
    follower: Pin<Box<dyn Future<Output = ()>>>,
    ended: bool,
    clock: nova::clock::Clock,
}

impl Node {
    pub fn boot(disk: &Recorder, pg: &Arc<Mutex<Pg>>, settings: FollowSettings) -> Node {
        Node::boot_with(&setup(), disk, pg, settings)
    }

    pub fn boot_with(setup: &Setup, disk: &Recorder, pg: &Arc<Mutex<Pg>>, settings: FollowSettings) -> Node {
        let opened = app::open_store(setup, store_over(disk.clone())).unwrap();
        let (link, status) = (Arc::<Link>::default(), Arc::new(PostgresStatus::new(SLOT)));
        let source = AtOnce(PostgresSource::new(Arc::clone(&link), SLOT));
        let (out, inbox) = crossbeam_channel::bounded(QUEUE_MAX_MESSAGES);
        let ingest = Ingest::new(Box::new(source), setup.decoder(), Arc::clone(&opened.shared), out);
        let server = Double(Arc::clone(pg));
        let follower =
            Follower::new(server, Arc::clone(&link), Arc::clone(&opened.shared) as _, settings, Arc::clone(&status));
        let (pg, clock) = (Arc::clone(pg), setup.clock.clone());
        Node { opened, pg, status, link, ingest, inbox, follower: Box::pin(follower.run()), ended: false, clock }
    }

    pub fn follow(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        if !self.ended {
            self.ended = self.follower.as_mut().poll(&mut context).is_ready();
        }
    }

    pub fn ingest(&mut self) {
        if self.inbox.len() < QUEUE_MAX_MESSAGES {
            self.ingest.step().unwrap();
        }
    }

    pub fn write(&mut self, more: Option<Message>) {
        let mut queue: Vec<_> = self.inbox.try_iter().chain(more).collect();
        self.opened.writer.process(&mut queue).unwrap();
        self.check();
    }

    /// Ends the process after its last commit; before that, the follower reports the position of this commit to the
    /// server.
    pub fn close(&mut self) {
        self.link.end(Duration::ZERO);
        for _ in 0..1_000 {
            self.follow();
            if self.ended {
                return;
            }
            self.pg.lock().now += STEP;
        }
        panic!("the session does not end: {:?}", self.view().state);
    }

    /// Makes one step of the server's clock, the follower, ingest and the writer.
    pub fn step(&mut self) {
        let now_ms = {
            let mut pg = self.pg.lock();
            pg.now += STEP;
            pg.now_us() / 1_000
        };
        self.clock.set(now_ms);
        self.follow();
        self.ingest();
        self.write(None);
    }

    pub fn steps(&mut self, count: usize) {
        (0..count).for_each(|_| self.step());
    }

    /// Makes steps until `done` returns true, for at most ten minutes of the double's time.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Node) -> bool) {
        for _ in 0..6_000 {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("waited in vain for {what}: {:?}, held: {:?}", self.view().state, self.partition().hold);
    }

    /// Makes steps until everything that the server has is committed and acknowledged.
    pub fn catch_up(&mut self) {
        self.until("the end of the log", |node| {
            let end_lsn = node.pg.lock().log.last().map_or(0, |last| last.end_lsn);
            let caught = node.position().is_some_and(|position| position.end_lsn >= end_lsn);
            node.view().state == State::Streaming && caught
        });
        // The additional steps give sweeps and acknowledgements time to finish.
        self.steps(20);
    }

    pub fn view(&self) -> View {
        self.status.view()
    }

    pub fn name() -> TopicPartition {
        link::partition(SLOT)
    }

    pub fn partition(&self) -> PartitionStatus {
        self.opened.shared.partitions().into_iter().find(|one| one.name == Node::name()).expect("the slot's partition")
    }

    pub fn position(&self) -> Option<Position> {
        Some(Position::decode(&self.opened.shared.cookie(&Node::name())?).unwrap())
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.partition().row.outcomes[outcome as usize]
    }

    /// Runs `nova cdc resnapshot` for the given tables on the node.
    pub fn resnapshot(&mut self, tables: Tables) {
        let (actor, reply) = ("test".to_owned(), Box::new(|()| {}));
        self.write(Some(Message::Command(Command::Resnapshot { partition: Node::name(), tables, actor, reply })));
    }

    /// Returns the code of the finding that stopped the follower.
    pub fn stopped(&self) -> Option<&'static str> {
        match self.view().state {
            State::Stopped(finding) => Some(finding.code.name()),
            _ => None,
        }
    }

    /// Checks that nova has acknowledged only what the store has.
    pub fn check(&self) {
        let pg = self.pg.lock();
        let Some(slot) = &pg.slot else { return };
        // The check holds only for a slot that a session reads. A slot without a session may belong to a different
        // server, or somebody may have moved it.
        if slot.active.is_none() {
            return;
        }
        let committed = self.position().map_or(0, |position| position.end_lsn);
        assert!(slot.confirmed <= committed, "the slot is at {:x}, the store at {committed:x}", slot.confirmed);
    }

    /// Checks that nova's rows equal the rows of the server.
    pub fn check_equal(&self) {
        let ours = dump(&self.opened);
        let theirs = expected(&self.pg.lock());
        for (table, (ours, theirs)) in Table::ALL.iter().zip(ours.iter().zip(&theirs)) {
            assert_eq!(ours, theirs, "{table}");
        }
    }
}

/// Returns the rows of the server as `nova dump` prints them.
pub fn expected(pg: &Pg) -> Vec<Vec<String>> {
    let mut decoder = Decoder::new(Topics::default(), Arc::new(NoSchemas));
    let mut all = Vec::new();
    for table in Table::ALL {
        let kind = OriginKind::Copied(Arc::new(relation(table)));
        let origin = Arc::new(Origin { kind, commit_us: 0, base_lsn: 0 });
        let mut rows = BTreeMap::new();
        for (key, values) in &pg.tables[table as usize] {
            let record = record(&origin, 0, pgoutput::line(values));
            match decoder.decode(&record) {
                Decoded::Change(change) => match change.body {
                    ChangeBody::Upsert(row) => drop(rows.insert(key.clone(), nova::cli::rows::json(table, &row))),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        all.push(rows.into_values().collect());
    }
    all
}

pub fn record(origin: &Arc<Origin>, offset: i64, value: Vec<u8>) -> Record {
    Record {
        topic: format!("pg.{SLOT}").into(),
        partition: 0,
        offset,
        timestamp_ms: EPOCH_MS,
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: Some(Arc::clone(origin)),
        lsn_delta: 0,
    }
}
