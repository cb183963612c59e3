//! The state that the connections of a Redis port share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::RwLock;

use crate::event::Id;
use crate::http::auth::{Roles, Subject};
use crate::http::{Edge, PortWatch};

use super::budget::Budget;

/// The maximum number of open connections. A connection beyond the maximum gets an error and is closed.
pub(super) const CONNECTIONS_MAX: usize = 1_024;

/// The parts of the Redis port that every connection uses.
pub(super) struct Port {
    pub(super) edge: Arc<Edge>,
    pub(super) watch: Arc<PortWatch>,
    /// The user of a connection that has not authenticated. The user is `None` if clients need a token.
    pub(super) stranger: Option<Subject>,
    /// A command holds the lock `order` for reading. EXEC holds the lock `order` for writing, so that no command of a
    /// different client runs between the commands of EXEC. A thread that takes the lock `order` holds no other lock.
    pub(super) order: RwLock<()>,
    /// The budget for the large commands and answers of all connections.
    pub(super) budget: Budget,
    /// The number of the newest connection.
    pub(super) last_id: AtomicU64,
    /// Whether nova has logged that a web page may have tried to use the port through a browser. nova logs the attempt
    /// of a web page only once, because anybody can cause such an attempt.
    pub(super) told_http: AtomicBool,
    /// An id of this process that the command INFO shows.
    pub(super) run_id: String,
}

/// Says who may use a Redis port without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nobody may use the port before `AUTH` with a token.
    Refused,
    /// Everybody may use the port without a token, and has the role service. A port without tokens is only for test
    /// servers on a local address.
    Serve,
}

impl Port {
    pub(super) fn new(edge: Arc<Edge>, watch: Arc<PortWatch>, strangers: Strangers) -> Port {
        let service = Subject { user: Id([0; 16]), roles: Roles { admin: false, service: true } };
        let stranger = (strangers == Strangers::Serve).then_some(service);
        let run_id = uuid::Uuid::new_v4().simple().to_string();
        Port {
            edge,
            watch,
            stranger,
            order: RwLock::default(),
            budget: Budget::default(),
            last_id: AtomicU64::new(0),
            told_http: AtomicBool::new(false),
            run_id,
        }
    }
}
