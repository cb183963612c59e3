//! A client of the Redis port.

use crate::http::Caller;
use crate::http::auth::Subject;

use super::group::GROUPS;
use super::queue::Queue;

/// The state of a client of the Redis port.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub id: u64,
    pub address: String,
    pub name: String,
    pub library: String,
    pub library_version: String,
    /// The time at which the client connected, in epoch milliseconds.
    pub since_ms: i64,
    /// The user of the client when the batch of commands began. The user is `None` if the client has not authenticated,
    /// or if its token has expired or was revoked.
    pub subject: Option<Subject>,
    /// The caller whose quota pays for pages.
    pub caller: Option<Caller>,
    /// The token with which the client authenticated.
    pub token: Option<String>,
    /// Whether the client's token was valid before and is no longer valid.
    pub ended: bool,
    /// The commands after MULTI that wait for EXEC.
    pub queue: Option<Queue>,
    /// The number of executed commands in each group. The metrics of the port take the numbers of executed commands at
    /// the end of each batch of commands.
    pub done: [u32; GROUPS],
    pub errors: u32,
    /// The number of nova's own keys whose values were made for this client since the session last read the number.
    pub made: u32,
}

impl Client {
    /// Resets the client as the command RESET does: the client is not authenticated, and uses RESP2.
    pub fn forget(&mut self, stranger: Option<Subject>) {
        self.token = None;
        self.queue = None;
        self.ended = false;
        self.subject = stranger;
        self.name.clear();
    }
}
