//! The Redis port for clients that speak RESP. The port has feeds, suggestions and trending under the keys of
//! `docs/cache.md`, whose values are made at the read, and an embedded cache under every other key.
//!
//! `server` accepts connections, `session` serves one connection, `protocol` parses commands, `commands` has the
//! commands and who may use them, and `reply` writes answers. `computed` makes the values of nova's own keys. nova
//! answers the commands that arrive together with one write.
//!
//! The Redis port reads the same data as HTTP, by the same rules. nova checks a client's token again for every batch of
//! commands, so an expired or revoked token has no effect. Pages over the Redis port take from the same quota as pages
//! over HTTP.

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
