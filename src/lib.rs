//! nova keeps a social app's feeds alive: it follows PostgreSQL through Debezium, takes client events, and serves
//! feeds, trending posts and suggestions from memory, with everything durable in one redb file.
//!
//! The modules, in the order that data takes:
//!
//! `event` is the vocabulary. A `source` delivers records, `decode` types them, `arrival` says when they came, the `pipeline` commits everything a
//! batch causes in one transaction and then applies its effects to `state`. `feed` and `discover` read the state, `jobs`
//! keep what they make fresh, `http` serves it, the `warehouse` delivers every row to ClickHouse. `cache` speaks Redis, in
//! the process or to a server, and `redis_port` shows the one in the process, and what `http` serves, to clients of Redis. `app` wires it all, `cli` is what a person types, `config`, `clock`, `breaker`, `files`,
//! `schema`, `tls` and `version` serve all; `otlp` tells traces; `mutant` holds the faults that tests put in.

pub mod app;
pub mod arrival;
pub mod ask;
pub mod bounded;
pub mod breaker;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod discover;
pub mod event;
pub mod feed;
pub mod files;
pub mod http;
pub mod jobs;
pub mod mutant;
pub mod otlp;
pub mod pipeline;
pub mod redis_port;
pub mod schema;
pub mod source;
pub mod state;
pub mod tls;
pub mod version;
pub mod warehouse;
