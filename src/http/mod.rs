//! The edge: hyper, one route table, bearer tokens, limits, problem details. It reads memory and appends to a log; it
//! never opens a transaction.
//!
//! `server` takes connections, `workers` serve them (`connection`), in the short `lane` or by hyper, `request` brings a request to its handler and its answer back, `route` says what there
//! is and who may. `auth`, `limit`, `idempotency`, `cors`, `trace` and `encoding` each know one thing of a request;
//! `durable` waits for the writer, `upkeep` forgets what has expired.

mod admin;
pub mod auth;
mod body;
mod connection;
mod cors;
mod dismiss;
mod durable;
mod encoding;
mod error;
mod events;
mod feed_metrics;
mod gate;
mod host;
pub mod idempotency;
mod lag;
mod lane;
pub mod limit;
mod metrics;
mod openapi;
mod overrides;
mod patience;
mod percent;
mod places;
mod read;
mod ready;
mod request;
mod route;
mod server;
mod settings;
mod shared;
pub mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod upkeep;
mod workers;

use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};

use crate::clock::Clock;
use crate::decode::Schemas;
use crate::discover::dismissals::Dismissals;
use crate::discover::rising::Rising;
use crate::discover::shown::Shown;
use crate::event::Id;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::publish::Board;
use crate::jobs::Jobs;
use crate::jobs::analytics::Found;
use crate::jobs::copies::{CACHE_PUBLISH, Kind, SharedCache};
use crate::jobs::retry::Counts;
use crate::pipeline::progress::Shared;
use crate::pipeline::writer::Message;
use crate::source::kafka::{KafkaStatus, Producer};
use crate::source::local::LocalHandle;
use crate::source::postgres::status::PostgresStatus;
use crate::state::State;
use crate::warehouse::status::Status as WarehouseStatus;

pub use self::auth::{Auth, KeyError};
pub use self::stream::Streams;

pub use self::gate::{BackupMade, BackupTimes, Gate, Reads};
pub use self::metrics::Observed;
pub use self::server::{Server, bind, bind_admin, runtime};
pub use self::settings::{EdgeSettings, KeySettings};

/// A body: whole, or events as they come.
pub type Body = http_body_util::Either<http_body_util::Full<bytes::Bytes>, stream::Events>;

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
    pub dismissals: Arc<Dismissals>,
    /// Set where other services read what is served here.
    pub shared_cache: Option<Arc<SharedCache>>,
    /// Set when rows go to ClickHouse: how its counts differ from nova's.
    pub drift: Option<Arc<Mutex<Found>>>,
    /// Where the schemas of Avro records come from.
    pub schemas: Arc<dyn Schemas>,
    /// Dead letters that were tried again.
    pub retries: Arc<Counts>,
    /// For what must be durable besides events.
    pub writer: Sender<Message>,
    /// Set when rows go to ClickHouse.
    pub warehouse: Option<Arc<WarehouseStatus>>,
    /// Set when records come from Kafka.
    pub kafka: Option<Arc<KafkaStatus>>,
    /// Set when changes come from PostgreSQL itself.
    pub postgres: Option<Arc<PostgresStatus>>,
    pub gate: Gate,
}

impl Edge {
    /// Forgets the snapshots of users, here and for those who read copies.
    fn forget_feeds(&self, users: &[Id]) {
        users.iter().for_each(|user| self.feeds.invalidate(*user));
        self.end_copies(Kind::Feed, users);
    }

    /// Has copies of users deleted as soon as the job can.
    fn end_copies(&self, kind: Kind, users: &[Id]) {
        if let Some(shared) = &self.shared_cache {
            users.iter().for_each(|user| shared.copies.end(kind, *user));
            self.jobs.runner.wake(CACHE_PUBLISH);
        }
    }
}
