//! The Redis port for clients that speak RESP: feeds, suggestions and trending under the keys of `docs/cache.md`, made
//! at the read, and an embedded cache under every other key.
//!
//! `server` accepts connections, and `session` serves one: `protocol` parses, `commands` has the commands and who may
//! use them, and `reply` writes. `computed` makes the values of nova's own keys. Commands that came together are
//! answered with one write.
//!
//! The port reads the same data as HTTP and by the same rules. The token is checked again for every batch of commands,
//! so a token that ended or was revoked has no effect. Pages take from the same quota as HTTP's pages.

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
