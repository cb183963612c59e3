//! The parts that handlers need, grouped by their purpose.

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

/// Everything that a request passes and that answers it.
pub struct Edge {
    pub clock: Clock,
    pub auth: Auth,
    pub gate: Gate,
    pub serving: Arc<Serving>,
    pub intake: Arc<Intake>,
    pub control: Arc<Control>,
    pub watch: Watch,
    /// The data that consoles show.
    pub console: ConsoleBoard,
    /// The tracer, if requests are sent to a collector.
    pub tracer: Option<Arc<Tracer>>,
    /// The control of a server for tests, set only there.
    pub testing: Option<Arc<dyn Testing>>,
}

/// Feeds, trending and suggestions: the data that is read from memory, and readers' feedback about it.
pub struct Serving {
    pub clock: Clock,
    pub state: Arc<RwLock<State>>,
    pub feeds: Arc<Snapshots>,
    pub trending: Arc<Board>,
    pub rising: Arc<Rising>,
    pub shown: Arc<Shown>,
    pub dismissals: Arc<Dismissals>,
    pub streams: Streams,
    /// The key for the MACs of cursors.
    pub cursor_key: [u8; 32],
    /// The cache from which other services read these lists, if there is one.
    pub shared_cache: Option<Arc<SharedCache>>,
    /// The runner of jobs, which is woken if a read finds something missing.
    pub runner: Arc<Runner>,
    pub durable: Durable,
    /// Set in a server for tests, which gets a copy of every page.
    pub testing: Option<Arc<dyn Testing>>,
}

impl Serving {
    /// Forgets the snapshots of users, here and in the copies for other readers.
    pub(super) fn forget_feeds(&self, users: &[Id]) {
        users.iter().for_each(|user| self.feeds.invalidate(*user));
        self.end_copies(Kind::Feed, users);
    }

    /// Reports to a server for tests what was served to whom. Only there the answer is made with its reasons.
    pub(super) fn told_page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: impl FnOnce() -> String) {
        if let Some(testing) = &self.testing {
            testing.page(at_ms, what, user, answer());
        }
    }

    /// Requests that the copies of users are deleted as soon as the job can do it.
    pub(super) fn end_copies(&self, kind: Kind, users: &[Id]) {
        if let Some(shared) = &self.shared_cache {
            users.iter().for_each(|user| shared.copies.end(kind, *user));
            self.runner.wake(CACHE_PUBLISH);
        }
    }
}

/// The log that makes client events durable.
pub enum Log {
    Local(LocalHandle),
    Kafka(Producer),
}

/// The intake of client events.
pub struct Intake {
    pub clock: Clock,
    pub log: Log,
    /// Set in a server for tests: it takes records with their own offsets.
    pub captures: Option<CaptureHandle>,
    /// The prefix of the tables' topics.
    pub prefix: String,
    /// The state, which knows the posts.
    pub state: Arc<RwLock<State>>,
    /// Whether the outbox takes more is read here.
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    /// The answers to requests with an idempotency key.
    pub answers: Answers,
    /// The tracer, if commits are sent to a collector.
    pub tracer: Option<Arc<Tracer>>,
    pub durable: Durable,
}

/// The data and decisions for people with the role admin.
pub struct Control {
    pub clock: Clock,
    pub reads: Box<dyn Reads>,
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    pub revocations: Arc<Revocations>,
    /// Set if changes come from PostgreSQL directly.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// The lock that a change of the revocations holds from its read to its commit, so that no change loses another.
    pub(super) changes: Arc<tokio::sync::Mutex<()>>,
    /// Recently refused admin requests.
    pub(super) refusals: Mutex<Refusals>,
    /// The configuration by section and key, without secrets.
    pub config: serde_json::Value,
    /// When the node began to serve, epoch milliseconds.
    pub started_ms: i64,
    /// The long answers that are being sent.
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

/// The other threads' states that readiness and metrics show.
pub struct Watch {
    pub clock: Clock,
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    pub jobs: Jobs,
    /// The counts of dead letters that were retried.
    pub retries: Arc<Counts>,
    /// The source of the schemas of Avro records.
    pub schemas: Arc<dyn Schemas>,
    /// Set if records come from Kafka.
    pub kafka: Option<Arc<KafkaStatus>>,
    /// Set if Connect can be asked about the connector.
    pub connector: Option<Arc<ConnectorStatus>>,
    /// Set if changes come from PostgreSQL directly.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// Set if rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
    /// Set if rows go to ClickHouse: the differences between its counts and nova's.
    pub drift: Option<Arc<Mutex<Found>>>,
    /// Set in a server for tests, which may pretend that the source is behind.
    pub testing: Option<Arc<dyn Testing>>,
    /// Set if Redis clients are served.
    pub port: Option<Arc<PortWatch>>,
}
