//! What readers get from the state: functions of the state, a user and `now`, and results that nova keeps.

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
