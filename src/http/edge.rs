//! The parts of nova that handlers of requests need, grouped by their purpose.

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

/// The parts of nova that check and answer a request.
pub struct Edge {
    pub clock: Clock,
    pub auth: Auth,
    pub gate: Gate,
    pub serving: Arc<Serving>,
    pub intake: Arc<Intake>,
    pub control: Arc<Control>,
    pub watch: Watch,
    /// The data that the console shows.
    pub console: ConsoleBoard,
    /// The tracer of requests, if a collector is configured.
    pub tracer: Option<Arc<Tracer>>,
    /// The control of a server for tests, or `None` in a normal node.
    pub testing: Option<Arc<dyn Testing>>,
}

/// The parts that serve feeds, trending posts and suggestions from memory, and take readers' feedback.
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
    /// The shared Redis cache from which services outside nova read feeds and lists, if a Redis server is configured.
    pub shared_cache: Option<Arc<SharedCache>>,
    /// The runner of jobs. A read that finds missing data wakes the runner.
    pub runner: Arc<Runner>,
    pub durable: Durable,
    /// The control of a server for tests, or `None` in a normal node. The control gets a copy of every page.
    pub testing: Option<Arc<dyn Testing>>,
}

impl Serving {
    /// Forgets the feed snapshots of users, in memory and in the shared cache.
    pub(super) fn forget_feeds(&self, users: &[Id]) {
        users.iter().for_each(|user| self.feeds.invalidate(*user));
        self.end_copies(Kind::Feed, users);
    }

    /// Reports a served page and its user to the control of a server for tests. nova calls `answer` only in a server
    /// for tests.
    pub(super) fn told_page(&self, at_ms: i64, what: &'static str, user: Option<Id>, answer: impl FnOnce() -> String) {
        if let Some(testing) = &self.testing {
            testing.page(at_ms, what, user, answer());
        }
    }

    /// Asks the job `cache_publish` to delete users' copies from the shared cache as soon as it can.
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
    /// The source of a server for tests, or `None` in a normal node. This source takes records with their own offsets.
    pub captures: Option<CaptureHandle>,
    /// The prefix of the tables' topics.
    pub prefix: String,
    /// The state in memory, from which the intake learns whether nova knows a post.
    pub state: Arc<RwLock<State>>,
    /// The shared figures of the pipeline, which say whether the outbox takes more rows.
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    /// The answers to requests with an idempotency key.
    pub answers: Answers,
    /// The tracer of commits, if a collector is configured.
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
    /// The status of PostgreSQL, if changes come from PostgreSQL directly.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// The lock that a change of the revocations holds from its read to its commit, so that concurrent changes do not
    /// overwrite each other.
    pub(super) changes: Arc<tokio::sync::Mutex<()>>,
    /// Recently refused admin requests.
    pub(super) refusals: Mutex<Refusals>,
    /// The configuration by section and key, without secrets.
    pub config: serde_json::Value,
    /// When the node began to serve, in epoch milliseconds.
    pub started_ms: i64,
    /// The long answers that nova is sending.
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

/// The states of the node's threads, which readiness and metrics show.
pub struct Watch {
    pub clock: Clock,
    pub shared: Arc<Shared>,
    pub observed: Arc<Observed>,
    pub jobs: Jobs,
    /// The counts of dead letters that nova has retried.
    pub retries: Arc<Counts>,
    /// The source of the schemas of Avro records.
    pub schemas: Arc<dyn Schemas>,
    /// The status of Kafka, if records come from Kafka.
    pub kafka: Option<Arc<KafkaStatus>>,
    /// The status of the connector, if the address of Kafka Connect is configured.
    pub connector: Option<Arc<ConnectorStatus>>,
    /// The status of PostgreSQL, if changes come from PostgreSQL directly.
    pub postgres: Option<Arc<PostgresStatus>>,
    /// The status of ClickHouse, if nova sends rows to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
    /// The differences between the counts of ClickHouse and nova, if nova sends rows to ClickHouse.
    pub drift: Option<Arc<Mutex<Found>>>,
    /// The control of a server for tests, or `None` in a normal node. The control may pretend that the source is
    /// behind.
    pub testing: Option<Arc<dyn Testing>>,
    /// The state of the Redis port, if nova serves Redis clients.
    pub port: Option<Arc<PortWatch>>,
}
