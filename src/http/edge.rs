//! What the handlers work with, divided by what they do.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::decode::Schemas;
use crate::discover::dismissals::Dismissals;
use crate::discover::rising::Rising;
use crate::discover::shown::Shown;
use crate::event::Id;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::publish::Board;
use crate::jobs::analytics::Found;
use crate::jobs::copies::{CACHE_PUBLISH, Kind, SharedCache};
use crate::jobs::retry::Counts;
use crate::jobs::{Jobs, Runner};
use crate::otlp::Tracer;
use crate::pipeline::progress::Shared;
use crate::source::connect::ConnectorStatus;
use crate::source::handed::CaptureHandle;
use crate::source::kafka::{KafkaStatus, Producer};
use crate::source::local::LocalHandle;
use crate::source::postgres::status::PostgresStatus;
use crate::state::State;
use crate::warehouse::status::Status as WarehouseStatus;

use super::audit::refusals::Refusals;
use super::auth::Auth;
use super::auth::revocation::Revocations;
use super::console::board::Board as ConsoleBoard;
use super::durable::Durable;
use super::gate::{Gate, Reads};
use super::idempotency::Answers;
use super::metrics::observed::Observed;
use super::metrics::port_watch::PortWatch;
use super::pumped::Pumps;
use super::stream::room::Streams;
use super::testing::control::Testing;

/// What a request passes, and what answers it.
pub struct Edge {
    pub clock: Clock,
    pub auth: Auth,
    pub gate: Gate,
    pub serving: Arc<Serving>,
    pub intake: Arc<Intake>,
    pub control: Arc<Control>,
    pub watch: Watch,
    /// What consoles are shown.
    pub console: ConsoleBoard,
    /// Set where requests are told to a collector.
    pub tracer: Option<Arc<Tracer>>,
    /// Set in a server for tests.
    pub testing: Option<Arc<dyn Testing>>,
}

/// Feeds, trending and suggestions: what is read from memory, and what readers say about it.
pub struct Serving {
    pub clock: Clock,
    pub state: Arc<RwLock<State>>,
    pub feeds: Arc<Snapshots>,
    pub trending: Arc<Board>,
    pub rising: Arc<Rising>,
    pub shown: Arc<Shown>,
    pub dismissals: Arc<Dismissals>,
    pub streams: Streams,
    /// Makes the MACs of cursors.
    pub cursor_key: [u8; 32],
    /// Set where other services read what is served here.
    pub shared_cache: Option<Arc<SharedCache>>,
    /// Woken for what a read finds missing.
    pub runner: Arc<Runner>,
    pub durable: Durable,
    /// Set in a server for tests, which is told of every page.
    pub testing: Option<Arc<dyn Testing>>,
}

impl Serving {
    /// Forgets the snapshots of users, here and for those who read copies.
    pub(super) fn forget_feeds(&self, users: &[Id]) {
        users.iter().for_each(|user| self.feeds.invalidate(*user));
        self.end_copies(Kind::Feed, users);
    }

    /// Tells a server for tests what was served to whom; the answer is made with its reasons only there.
    pub(super) fn told_page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: impl FnOnce() -> String) {
        if let Some(testing) = &self.testing {
            testing.page(at_ms, what, user, answer());
        }
    }

    /// Has copies of users deleted as soon as the job can.
    pub(super) fn end_copies(&self, kind: Kind, users: &[Id]) {
        if let Some(shared) = &self.shared_cache {
            users.iter().for_each(|user| shared.copies.end(kind, *user));
            self.runner.wake(CACHE_PUBLISH);
        }
    }
}

/// Where client events are made durable.
pub enum Log {
    Local(LocalHandle),
    Kafka(Producer),
}

/// Client events.
pub struct Intake {
    pub clock: Clock,
    pub log: Log,
    /// Set in a server for tests: takes records with offsets of their own.
    pub captures: Option<CaptureHandle>,
    /// Of the topics of tables.
    pub prefix: String,
    /// Tells which posts are known.
    pub state: Arc<RwLock<State>>,
    /// Tells whether the outbox takes more.
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    /// Of requests with an idempotency key.
    pub answers: Answers,
    /// Set where commits are told to a collector.
    pub tracer: Option<Arc<Tracer>>,
    pub durable: Durable,
}

/// What people with the role admin look at and decide.
pub struct Control {
    pub clock: Clock,
    pub reads: Box<dyn Reads>,
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    pub revocations: Arc<Revocations>,
    /// Set when changes come from PostgreSQL itself.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// Held by a change of the revocations from its reading to its commit: none forgets another.
    pub(super) changes: Arc<tokio::sync::Mutex<()>>,
    /// Admin requests that were refused lately.
    pub(super) refusals: Mutex<Refusals>,
    /// What is configured by section and key, without secrets.
    pub config: serde_json::Value,
    /// When the node began to serve, epoch milliseconds.
    pub started_ms: i64,
    /// Long answers that are being made.
    pub(super) pumps: Pumps,
    pub durable: Durable,
}

impl Control {
    pub fn new(
        clock: Clock,
        reads: Box<dyn Reads>,
        (shared, observed): (Arc<Shared>, Arc<Observed>),
        revocations: Arc<Revocations>,
        postgres: Option<Arc<PostgresStatus>>,
        durable: Durable,
    ) -> Control {
        let (changes, refusals, pumps) = (Arc::default(), Mutex::default(), Pumps::default());
        let started_ms = clock.now_ms();
        let config = serde_json::Value::Null;
        Control {
            config,
            started_ms,
            clock,
            reads,
            shared,
            observed,
            revocations,
            postgres,
            changes,
            refusals,
            pumps,
            durable,
        }
    }
}

/// What readiness and metrics tell of the other threads.
pub struct Watch {
    pub clock: Clock,
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    pub jobs: Jobs,
    /// Dead letters that were tried again.
    pub retries: Arc<Counts>,
    /// Where the schemas of Avro records come from.
    pub schemas: Arc<dyn Schemas>,
    /// Set when records come from Kafka.
    pub kafka: Option<Arc<KafkaStatus>>,
    /// Set when Connect can be asked about the connector.
    pub connector: Option<Arc<ConnectorStatus>>,
    /// Set when changes come from PostgreSQL itself.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
    /// Set when rows go to ClickHouse: how its counts differ from nova's.
    pub drift: Option<Arc<Mutex<Found>>>,
    /// Set in a server for tests, which may say that the source is behind.
    pub testing: Option<Arc<dyn Testing>>,
    /// Set where Redis clients are served.
    pub port: Option<Arc<PortWatch>>,
}
