//! nova keeps a social app's feeds alive: it follows PostgreSQL through Debezium, takes client events, and serves
//! feeds, trending posts and suggestions from memory, with everything durable in one redb file.
//!
//! As a crate it has two things for others: [`Server`], nova within another program, and [`testing::TestNova`], a server
//! for tests. Everything else is nova's own, and changes without notice.
//!
//! The modules, in the order that data takes:
//!
//! `event` is the vocabulary. A `source` delivers records, `decode` types them, `arrival` says when they came, the `pipeline` commits everything a
//! batch causes in one transaction and then applies its effects to `state`. `feed` and `discover` read the state, `jobs`
//! keep what they make fresh, `http` serves it, to people too (`console`), the `warehouse` delivers every row to ClickHouse. `cache` speaks Redis, in
//! the process or to a server, and `redis_port` shows the one in the process, and what `http` serves, to clients of Redis. `app` wires it all, `cli`
//! is what a person types, `config`, `clock`, `breaker`, `files`, `schema`, `tls` and `version` serve all; `data_dir` knows what stands beside the store; `otlp` tells traces; `testing` is a
//! node without a disk, whose time is moved; `mutant` holds the faults that tests put in.

#![deny(missing_docs)]

#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod arrival;
#[doc(hidden)]
pub mod ask;
#[doc(hidden)]
pub mod bounded;
#[doc(hidden)]
pub mod breaker;
#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod console;
#[doc(hidden)]
pub mod data_dir;
#[doc(hidden)]
pub mod decode;
#[doc(hidden)]
pub mod discover;
#[doc(hidden)]
pub mod event;
#[doc(hidden)]
pub mod feed;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod jobs;
#[doc(hidden)]
pub mod mutant;
#[doc(hidden)]
pub mod otlp;
#[doc(hidden)]
pub mod pipeline;
#[doc(hidden)]
pub mod redis_port;
#[doc(hidden)]
pub mod schema;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod state;
pub mod testing;
#[doc(hidden)]
pub mod tls;
#[doc(hidden)]
pub mod version;
#[doc(hidden)]
pub mod warehouse;

mod server;

pub use self::server::{Server, ServerBuilder, ServerError};
