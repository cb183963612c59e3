//! The state that the connections of a port share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::RwLock;

use crate::event::Id;
use crate::http::auth::{Roles, Subject};
use crate::http::{Edge, PortWatch};

use super::budget::Budget;

/// The most connections at once. A further connection gets an error and is closed.
pub(super) const CONNECTIONS_MAX: usize = 1_024;

/// The parts that every connection uses.
pub(super) struct Port {
    pub(super) edge: Arc<Edge>,
    pub(super) watch: Arc<PortWatch>,
    /// The user of a connection that has not authenticated. `None` if a token is needed.
    pub(super) stranger: Option<Subject>,
    /// A command holds this lock for reading. EXEC, whose commands run without others between them, holds it for
    /// writing. No other lock is held when this one is taken.
    pub(super) order: RwLock<()>,
    /// The budget for large commands and answers of all connections.
    pub(super) budget: Budget,
    /// The number of the newest connection.
    pub(super) last_id: AtomicU64,
    /// Whether it was logged that a page of a browser may have tried to use the port. The event is logged once, because
    /// anybody can cause it.
    pub(super) told_http: AtomicBool,
    /// An id of this process, for clients that ask.
    pub(super) run_id: String,
}

/// Who may use a port without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nobody may use it: `AUTH` with a token comes first.
    Refused,
    /// Everybody may use it, with the role service. The mode is only for test servers on a local address.
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
