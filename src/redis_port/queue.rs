//! The commands of a client that wait for EXEC.

use crate::event::Id;

use super::protocol::ArgsKept;

/// The commands that a client has sent after MULTI.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub commands: Vec<ArgsKept>,
    pub bytes: usize,
    /// Whether nova refused one of the commands, so that EXEC runs none of them.
    pub broken: bool,
    /// The users, other than the admin, whose keys an admin reads with the waiting commands.
    pub users: Vec<Id>,
}
