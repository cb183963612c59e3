//! The edge: hyper, one route table, bearer tokens, limits, problem details. It reads memory and appends to a log; it
//! never opens a transaction.
//!
//! `server` takes connections, `request` brings a request to its handler and its answer back, `route` says what there
//! is and who may. `auth`, `limit`, `idempotency`, `cors`, `trace` and `encoding` each know one thing of a request;
//! `durable` waits for the writer, `upkeep` forgets what has expired.

mod admin;
pub mod auth;
mod cors;
mod dismiss;
mod durable;
mod encoding;
mod error;
mod events;
mod feed_metrics;
mod gate;
pub mod idempotency;
pub mod limit;
mod metrics;
mod openapi;
mod overrides;
mod patience;
mod read;
mod request;
mod route;
mod server;
mod settings;
mod stream;
mod tls;
mod trace;
mod upkeep;

use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::decode::Schemas;
use crate::discover::dismissals::Dismissals;
use crate::discover::rising::Rising;
use crate::discover::shown::Shown;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::publish::Board;
use crate::jobs::Jobs;
use crate::pipeline::progress::Shared;
use crate::pipeline::writer::Message;
use crate::source::kafka::{KafkaStatus, Producer};
use crate::source::local::LocalHandle;
use crate::state::State;
use crate::warehouse::status::Status as WarehouseStatus;

pub use self::auth::{Auth, KeyError};
pub use self::stream::Streams;

pub use self::gate::{Gate, Reads};
pub use self::metrics::Observed;
pub use self::server::{Server, bind, bind_admin, runtime};
pub use self::settings::{EdgeSettings, KeySettings};

/// A body: whole, or events as they come.
pub type Body =
    http_body_util::Either<http_body_util::Full<bytes::Bytes>, http_body_util::channel::Channel<bytes::Bytes>>;

/// Where client events are made durable.
pub enum Log {
    Local(LocalHandle),
    Kafka(Producer),
}
/// What the routes work with.
pub struct Edge {
    pub clock: Clock,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub log: Log,
    pub auth: Auth,
    pub observed: Arc<Observed>,
    pub feeds: Arc<Snapshots>,
    pub trending: Arc<Board>,
    pub rising: Arc<Rising>,
    pub shown: Arc<Shown>,
    pub streams: Streams,
    pub jobs: Jobs,
    /// Makes the MACs of cursors.
    pub cursor_key: [u8; 32],
    pub dismissals: Dismissals,
    /// For what must be durable besides events.
    pub writer: Sender<Message>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
    /// Set when records come from Kafka.
    pub kafka: Option<Arc<KafkaStatus>>,
    /// Where schemas of Avro records come from.
    pub schemas: Arc<dyn Schemas>,
    pub gate: Gate,
}
