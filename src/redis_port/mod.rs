//! The Redis port: feeds, suggestions and trending under the keys of `docs/cache.md`, made at the read, and an embedded cache
//! under every other key, for whoever speaks RESP.
//!
//! `server` takes connections, `session` serves one: `protocol` parses, `commands` has what there is and who may, `reply`
//! writes. `computed` makes what a key of nova's own holds. Commands that came together are answered with one write.
//!
//! It reads what HTTP reads and by the same rules: the token is looked at again for every batch of commands, so that one
//! which ended or was revoked opens nothing; pages take from the quota of HTTP's pages.

mod budget;
mod commands;
mod computed;
mod protocol;
mod reply;
mod server;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::RwLock;

use crate::http::auth::{Roles, Subject};
use crate::http::{Edge, PortWatch};

use self::budget::Budget;

pub use self::server::{BindError, Replacer, Reserved, Server, listen};

/// What every connection works with.
pub(super) struct Port {
    edge: Arc<Edge>,
    watch: Arc<PortWatch>,
    /// Whom a connection speaks for that has not said who it is; `None` where a token is needed.
    stranger: Option<Subject>,
    /// Whoever does a command reads it; EXEC, whose commands are done without others between them, writes. No other lock
    /// is held when this one is taken.
    order: RwLock<()>,
    /// Large commands and answers of all connections.
    budget: Budget,
    /// The number of the last connection.
    last_id: AtomicU64,
    /// It was said that a page of a browser may have tried to use the port: once is enough, and anybody can cause it.
    told_http: AtomicBool,
    /// Names this process, for clients that ask.
    run_id: String,
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
    fn new(edge: Arc<Edge>, watch: Arc<PortWatch>, strangers: Strangers) -> Port {
        let service = Subject { user: crate::event::Id([0; 16]), roles: Roles { admin: false, service: true } };
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
