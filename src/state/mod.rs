//! The state that is served, in memory. It is pure, without clock or I/O. One writer applies effects, and the same
//! effects in the same order give the same state, byte for byte (N13).
//!
//! `ids` gives 128-bit ids dense numbers. `graph` has the follows, `posts` the counts of posts and their times,
//! `touches` what a user did to a post and when, `affinity` the weight of a user's actions on an author, and `daily`
//! the figures of each day. `ranking` has the numbers for weights and limits. `whole` contains all of these parts and
//! applies the effects, and `save` stores the parts.

pub mod affinity;
mod blocks;
mod chunks;
pub mod daily;
mod dense;
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

pub use self::dense::{Dense, PostNo, UserNo};
pub use self::save::{Frozen, Loader};
pub use self::settings::{CountedFrom, StateSettings};
pub use self::times::{DAY_MS, MINUTE_MS};
pub use self::users::UserRow;
pub use self::whole::{BytesOf, STRUCTURES, State};

#[cfg(test)]
mod tests;
