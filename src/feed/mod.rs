//! What is made of the state for a reader: pure functions of the state, a user and `now`.

pub mod candidates;
pub mod cursor;
pub mod page;
pub mod rank;
pub mod snapshot;
pub mod trending;
