//! The Redis port for clients that speak RESP. Under the keys of `docs/cache.md`, the port has feeds, suggestions and
//! trending, which nova makes at each read. Under every key that is not in `docs/cache.md`, the port has an embedded
//! cache.
//!
//! `server` accepts connections, `session` serves one connection, `protocol` parses commands, `commands` has the
//! commands and who may use them, and `reply` writes answers. `computed` makes the values of nova's own keys. If
//! several commands arrive together, nova sends all their answers with one write.
//!
//! The Redis port reads the data that HTTP reads, by the rules of HTTP. nova checks a client's token again for every
//! batch of commands, so an expired or revoked token has no effect. Pages over the Redis port take from the same quota
//! as pages over HTTP.

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
