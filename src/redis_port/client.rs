//! A client of the port.

use crate::http::Caller;
use crate::http::auth::Subject;

use super::group::GROUPS;
use super::queue::Queue;

/// The state of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub id: u64,
    pub address: String,
    pub name: String,
    pub library: String,
    pub library_version: String,
    /// When the client connected, epoch milliseconds.
    pub since_ms: i64,
    /// The user when the batch began. `None` if the client has not authenticated, or if the token has ended.
    pub subject: Option<Subject>,
    /// The caller from whose quota pages take.
    pub caller: Option<Caller>,
    /// The token with which the client authenticated.
    pub token: Option<String>,
    /// Whether a token was valid before and no longer is.
    pub ended: bool,
    /// The commands that wait for EXEC, after MULTI.
    pub queue: Option<Queue>,
    /// The number of executed commands by group. The commands are counted at the end of a batch.
    pub done: [u32; GROUPS],
    pub errors: u32,
    /// The number of nova's own keys whose values were made since this was last read.
    pub made: u32,
}

impl Client {
    /// Resets the client as RESET does: it is not authenticated, and uses RESP2.
    pub fn forget(&mut self, stranger: Option<Subject>) {
        self.token = None;
        self.queue = None;
        self.ended = false;
        self.subject = stranger;
        self.name.clear();
    }
}
