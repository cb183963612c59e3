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
mod gate;
pub mod idempotency;
pub mod limit;
mod metrics;
mod openapi;
mod patience;
mod read;
mod request;
mod route;
mod server;
mod settings;
mod tls;
mod trace;
mod upkeep;

use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::RwLock;

use crate::clock::Clock;
use crate::discover::dismissals::Dismissals;
use crate::feed::snapshot::Snapshots;
use crate::pipeline::progress::Shared;
use crate::pipeline::writer::Message;
use crate::source::local::LocalHandle;
use crate::state::State;

pub use self::auth::{Auth, KeyError};
pub use self::gate::{Gate, Reads};
pub use self::metrics::{Figures, Observed};
pub use self::server::{Server, bind, bind_admin};
pub use self::settings::{EdgeSettings, KeySettings};

/// What the routes work with.
pub struct Edge {
    pub clock: Clock,
    pub state: Arc<RwLock<State>>,
    pub shared: Arc<Shared>,
    pub log: LocalHandle,
    pub auth: Auth,
    pub observed: Arc<Observed>,
    pub feeds: Snapshots,
    /// Makes the MACs of cursors.
    pub cursor_key: [u8; 32],
    pub dismissals: Dismissals,
    /// For what must be durable besides events.
    pub writer: Sender<Message>,
    pub gate: Gate,
}
