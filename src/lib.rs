//! nova keeps a social app's feeds alive: it follows PostgreSQL through Debezium, takes client events, and serves
//! feeds, trending posts and suggestions from memory, with everything durable in one redb file.
//!
//! The crate offers two types to programs: [`Server`], which runs nova within a program, and [`testing::TestNova`], a
//! server for tests. Everything else in the crate is internal, and changes without notice.
//!
//! The modules of the crate, in the order in which data pass them:
//!
//! `event` has the types that the modules share. A `source` delivers records, `decode` turns records into changes and
//! events, and `arrival` decides when records arrived. The `pipeline` commits everything that a batch causes in one
//! transaction, and then applies the effects to `state`. `feed` and `discover` compute results from the state, and
//! `jobs` keep the results fresh. `http` serves the results to programs and, together with `console`, to people. The
//! `warehouse` delivers every row to ClickHouse. `cache` implements Redis commands, in the process or with a Redis
//! server. `redis_port` serves the cache in the process, and the results that `http` serves, to Redis clients. `app`
//! connects all modules, and `cli` has the commands. All modules use `config`, `clock`, `files`, `schema` and
//! `version`, and modules that send requests to servers use `backoff`, `breaker`, `http_client` and `tls`. `data_dir`
//! knows the files beside the store, and `otlp` sends traces. `testing` is a node that keeps everything in memory and
//! whose clock a test moves, and `mutant` contains the faults that tests switch on.

#![deny(missing_docs)]

#[doc(hidden)]
pub mod app;
#[doc(hidden)]
pub mod arrival;
#[doc(hidden)]
pub mod backoff;
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
pub mod http_client;
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
