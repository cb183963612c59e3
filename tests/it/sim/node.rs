//! One run of the nova process, which the test drives step by step: the real ingest, writer and delivery, with a disk
//! that can lose what was not synced.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use nova::app::{self, Opened, Setup};
use nova::event::TopicPartition;
use nova::pipeline::QUEUE_MAX_MESSAGES;
use nova::pipeline::ingest::Ingest;
use nova::pipeline::progress::Shared;
use nova::pipeline::writer::{Message, WriterError};
use nova::source::Progress as _;
use nova::source::local::{LOCAL_PARTITION, LocalHandle, LocalSource};
use nova::warehouse::clickhouse::ClickHouse;
use nova::warehouse::outbox::Report;
use nova::warehouse::sender::{SenderParts, deliver};
use nova::warehouse::status::Status;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::broker::{Broker, SimSource};
use super::network::Server;
use crate::support::{state_bytes, store_over};

pub const EVENTS: &str = "events";

pub struct Node {
    pub opened: Opened,
    pub shared: Arc<Shared>,
    pub status: Arc<Status>,
    pub local: Option<LocalHandle>,
    ingest: Ingest,
    inbox: Receiver<Message>,
    delivered: Arc<Mutex<VecDeque<Report>>>,
    tasks: LocalSet,
    _stop: watch::Sender<bool>,
}

impl Node {
    /// Opens the disk and starts ingest, the writer and the delivery. With `with_log`, client events come over the
    /// local log.
    pub fn boot(
        setup: &Setup,
        disk: &Recorder,
        server: &Server,
        broker: &Arc<Mutex<Broker>>,
        seed: u64,
        with_log: bool,
    ) -> Node {
        let mut opened = app::open_store(setup, store_over(disk.clone())).unwrap();
        let (shared, status) = (Arc::clone(&opened.shared), Arc::clone(opened.warehouse.as_ref().unwrap()));
        let (mut source, mut local) = (None, None);
        if with_log {
            let known = Arc::clone(&shared);
            let next = move |topic: &str| known.next_offset(&TopicPartition::new(topic, LOCAL_PARTITION)).unwrap_or(0);
            let (log, handle, acks) = LocalSource::new(EVENTS, Box::new(next));
            opened.writer.set_local(acks);
            (source, local) = (Some(log), Some(handle));
        }
        broker.lock().restart();
        let source = SimSource::new(Arc::clone(broker), Arc::clone(&shared), seed, source);
        let (out, inbox) = crossbeam_channel::bounded(QUEUE_MAX_MESSAGES);
        let ingest = Ingest::new(Box::new(source), setup.decoder(), Arc::clone(&shared), out);
        let delivered = Arc::<Mutex<VecDeque<Report>>>::default();
        let reported = Arc::clone(&delivered);
        let parts = SenderParts {
            store: Arc::clone(&opened.store),
            clickhouse: ClickHouse::over(server.client(), setup.clickhouse.as_ref().unwrap()),
            status: Arc::clone(&status),
            clock: setup.clock.clone(),
            pace: setup.pace,
            store_id: opened.writer.store_id(),
            report: Box::new(move |report| {
                reported.lock().push_back(report);
                true
            }),
        };
        let (stop, stopped) = watch::channel(false);
        let tasks = LocalSet::new();
        tasks.spawn_local(deliver(parts, stopped));
        Node { opened, shared, status, local, ingest, inbox, delivered, tasks, _stop: stop }
    }

    /// Lets the delivery work for the given time.
    pub async fn pass(&self, time: Duration) {
        self.tasks.run_until(tokio::time::sleep(time)).await;
    }

    /// Polls the source once, unless the writer's queue is full.
    pub fn ingest(&mut self) {
        if self.inbox.len() < QUEUE_MAX_MESSAGES {
            self.ingest.step().unwrap();
        }
    }

    /// Whether neither polled records nor delivered rows wait for the writer.
    pub fn idle(&self) -> bool {
        self.inbox.is_empty() && self.delivered.lock().is_empty()
    }

    /// Makes one commit with at most `most` messages of each kind, and with the additional message `more`.
    pub fn write(&mut self, most: usize, more: Option<Message>) -> Result<(), WriterError> {
        let mut queue: Vec<_> = self.inbox.try_iter().take(most).collect();
        let mut delivered = self.delivered.lock();
        let settled = delivered.len().min(most);
        queue.extend(delivered.drain(..settled).map(Message::Delivered));
        drop(delivered);
        queue.extend(more);
        self.opened.writer.process(&mut queue).map(drop)
    }

    pub fn memory(&self) -> Vec<u8> {
        state_bytes(&self.opened)
    }
}
