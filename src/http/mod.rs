//! The edge answers HTTP clients. The edge uses hyper, one route table, bearer tokens, limits and problem details. The
//! edge reads memory and appends to a log. The edge never opens a transaction of the store.
//!
//! `server` accepts connections, and `workers` serve them (`connection`), in the short `lane` or by hyper. `request`
//! finds the handler of a request, calls it, and returns the answer. `site` has the data for answers. `route` has the
//! operations and their access rules. A handler gets a `call` and makes the answer with `answers`. `auth`, `limit`,
//! `idempotency`, `cors`, `trace` and `encoding` each handle one aspect of a request. `durable` waits for the writer,
//! and `upkeep` removes expired data.
//!
//! The files of this folder name each other and never `http/mod.rs`, which only exports the items that files outside of
//! this folder use.

mod admin;
mod answers;
mod audit;
pub mod auth;
mod body;
mod call;
mod canonical;
pub mod commands;
pub(crate) mod connection;
pub mod console;
mod cors;
mod crowd;
mod dismiss;
mod documents;
mod durable;
mod edge;
mod encoding;
mod error;
mod events;
pub mod explained;
mod feed_metrics;
mod gate;
mod head;
mod host;
pub mod idempotency;
mod lag;
mod lane;
pub mod limit;
pub mod lists;
mod metrics;
mod openapi;
mod overrides;
pub(crate) mod patience;
mod percent;
mod pieces;
pub(crate) mod places;
mod pumped;
mod query;
mod read;
mod ready;
mod request;
mod request_id;
mod route;
pub mod rows;
pub(crate) mod server;
mod settings;
pub mod shapes;
mod shared;
mod site;
mod sites;
mod status;
pub mod stream;
mod tap;
pub mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod upkeep;
pub(crate) mod workers;

pub use self::auth::{Auth, KeyError};
pub use self::durable::Durable;
pub use self::edge::{Control, Edge, Intake, Log, Serving, Watch};
pub use self::gate::{BackupFailed, BackupMade, BackupTimes, Cause, Gate, ReadFailed, Reads, Stored};
pub use self::limit::{Caller, Class, Decision};
pub use self::metrics::{Observed, PORT_GROUPS, PortCounts, PortWatch};
pub use self::pieces::Body;
pub use self::server::{BindError, Reserved, Server, check_tls, listen, listen_replaceable, runtime};
pub use self::settings::{ConsoleMode, EdgeSettings, KeySettings};
pub use self::shapes::{CheckState, StoreChecked};
pub use self::sites::Replacer;
pub use self::stream::Streams;
pub use self::upkeep::sweep;

/// Puts the read of an admin into the audit, if the data are not the admin's own. Returns false if nova cannot write
/// the audit now.
pub(crate) async fn looked(edge: &Edge, subject: &auth::Subject, action: &'static str, at: String) -> bool {
    audit::looked(&edge.serving.durable, subject, action, at).await.is_ok()
}
