//! Holds in memory the state from which nova answers requests. The state does no I/O and reads no clock. One writer
//! applies effects, and the same effects in the same order give the same state, byte for byte (rule N13).
//!
//! `ids` gives dense numbers to 128-bit ids. `graph` has the follows, and `posts` has the counts of posts and the times
//! of these counts. `touches` says what a user did to a post and when. `affinity` has the weight of a user's actions on
//! an author, and `daily` has the figures of each day. `ranking` has the configurable weights and limits. `whole`
//! contains all parts of the state and applies the effects, `applied` says what an effect did, and `save` stores the
//! parts.

pub mod affinity;
mod applied;
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
mod threads;
mod times;
mod totals;
pub mod touches;
mod users;
mod varint;
mod whole;
mod window;

pub use self::applied::{Applied, Moved, Standing};
pub use self::dense::{Dense, PostNo, UserNo};
pub use self::save::{Frozen, Loader};
pub use self::settings::{CountedFrom, StateSettings};
pub use self::threads::start_threads;
pub use self::times::{DAY_MS, MINUTE_MS};
pub use self::users::UserRow;
pub use self::whole::{BytesOf, STRUCTURES, State};
pub use self::window::Window;

#[cfg(test)]
mod tests;
