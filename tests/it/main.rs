//! All tests of nova that use only its public interface. All tests of this directory are one binary, so that the binary
//! is linked only once.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test ends with what it finds"
)]

mod api;
mod commands;
mod compare;
mod connector;
mod console;
mod damage;
mod documented;
mod jobs;
mod kafka;
mod layers;
mod pipeline;
mod postgres;
mod process;
mod redis_port;
mod running;
mod serving;
mod sim;
mod stack;
mod stores;
mod support;
mod testing;
mod tls;
mod traces;
mod warehouse;
