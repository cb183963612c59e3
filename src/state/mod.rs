//! What is served, in memory: pure, without clock or I/O. One writer applies effects; the same effects in the same order
//! give the same state, to the byte (N13).
//!
//! `ids` makes 128-bit ids dense, `graph` holds who follows whom, `posts` what a post has counted and when, `touches`
//! what a user did to a post and when, `affinity` what a user's actions on an author weigh, `daily` what happened on
//! each day. `ranking` has the numbers by which all of it is weighed and cut. `whole` holds them all and does the effects,
//! and `save` writes it down.

pub mod affinity;
mod blocks;
mod chunks;
pub mod daily;
pub mod graph;
pub mod histogram;
pub mod ids;
mod meta;
mod minutes;
mod numbers;
mod packed;
pub mod posts;
pub mod ranking;
mod save;
mod sets;
mod settings;
mod times;
mod totals;
pub mod touches;
mod users;
mod varint;
mod whole;

pub use self::save::Frozen;
pub use self::settings::{CountedFrom, StateSettings};
pub use self::times::{DAY_MS, MINUTE_MS};
pub use self::users::UserRow;
pub use self::whole::{BytesOf, STRUCTURES, State};

#[cfg(test)]
mod tests;
