//! nova keeps a social app's feeds alive: it follows PostgreSQL through Debezium, takes client events, and serves
//! feeds, trending posts and suggestions from memory, with everything durable in one redb file.
//!
//! As a crate it has two things for others: [`Server`], nova within another program, and [`testing::TestNova`], a
//! server for tests. Everything else is nova's own, and changes without notice.
//!
//! The modules, in the order of the data:
//!
//! `event` is the vocabulary. A `source` delivers records, `decode` makes changes and events of them, `arrival` says
//! when they came, and the `pipeline` commits everything that a batch causes in one transaction and then applies the
//! effects to `state`. `feed` and `discover` read the state, and `jobs` keep their results fresh. `http` serves the
//! results to programs and, with `console`, to people. The `warehouse` delivers every row to ClickHouse. `cache` speaks
//! Redis, in the process or to a server. `redis_port` shows the cache in the process, and what `http` serves, to
//! clients of Redis. `app` connects all modules, and `cli` has the commands. All modules use `config`, `clock`,
//! `breaker`, `files`, `schema`, `tls` and `version`. `data_dir` knows which files stand beside the store, and `otlp`
//! sends traces. `testing` is a node without a disk, whose clock a test moves, and `mutant` holds the faults that tests
//! switch on.

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
