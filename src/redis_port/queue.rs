//! The commands that wait for EXEC.

use crate::event::Id;

use super::protocol::ArgsKept;

/// The commands of a client after MULTI.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub commands: Vec<ArgsKept>,
    pub bytes: usize,
    /// Whether a command was refused, so that EXEC runs none of them.
    pub broken: bool,
    /// The other users whose keys an admin is going to read.
    pub users: Vec<Id>,
}
