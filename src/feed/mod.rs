//! What readers get from the state. Each result is computed from the state, a user and `now`, and nova keeps some of
//! the results.

pub mod candidates;
pub mod cursor;
pub mod page;
mod page_size;
pub mod rank;
pub mod served;
pub mod settings;
pub mod shown;
pub mod snapshot;
pub mod trending;
