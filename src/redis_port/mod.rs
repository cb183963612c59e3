//! The Redis port: feeds, suggestions and trending under the keys of `docs/cache.md`, made at the read, and an embedded cache
//! under every other key, for whoever speaks RESP.
//!
//! `server` takes connections, `session` serves one: `protocol` parses, `commands` has what there is and who may, `reply`
//! writes. `computed` makes what a key of nova's own holds. Commands that came together are answered with one write.
//!
//! It reads what HTTP reads and by the same rules: the token is looked at again for every batch of commands, so that one
//! which ended or was revoked opens nothing; pages take from the quota of HTTP's pages.

mod budget;
mod client;
mod commands;
mod computed;
mod fault;
mod group;
mod port;
mod protocol;
mod queue;
mod reply;
mod server;
mod session;

pub use self::port::Strangers;
pub use self::server::{BindError, Replacer, Reserved, Server, listen};
