//! What waits for EXEC.

use crate::event::Id;

use super::protocol::ArgsKept;

/// Commands of a client that said MULTI.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub commands: Vec<ArgsKept>,
    pub bytes: usize,
    /// A command was refused: EXEC does none of them.
    pub broken: bool,
    /// Others at whose keys an admin is going to look.
    pub users: Vec<Id>,
}
