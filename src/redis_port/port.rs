//! What the connections of a port share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::RwLock;

use crate::event::Id;
use crate::http::auth::{Roles, Subject};
use crate::http::{Edge, PortWatch};

use super::budget::Budget;

/// Connections at once; more are told so and closed.
pub(super) const CONNECTIONS_MAX: usize = 1_024;

/// What every connection works with.
pub(super) struct Port {
    pub(super) edge: Arc<Edge>,
    pub(super) watch: Arc<PortWatch>,
    /// Whom a connection speaks for that has not said who it is; `None` where a token is needed.
    pub(super) stranger: Option<Subject>,
    /// Whoever does a command reads it; EXEC, whose commands are done without others between them, writes. No other lock
    /// is held when this one is taken.
    pub(super) order: RwLock<()>,
    /// Large commands and answers of all connections.
    pub(super) budget: Budget,
    /// The number of the last connection.
    pub(super) last_id: AtomicU64,
    /// It was said that a page of a browser may have tried to use the port: once is enough, and anybody can cause it.
    pub(super) told_http: AtomicBool,
    /// Names this process, for clients that ask.
    pub(super) run_id: String,
}

/// Who may use a port before they say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nobody: `AUTH` with a token comes first.
    Refused,
    /// Everybody, as the role service. For test servers alone, on an address of the machine's own.
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
