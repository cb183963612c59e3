//! A client of the port.

use crate::http::Caller;
use crate::http::auth::Subject;

use super::group::GROUPS;
use super::queue::Queue;

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub id: u64,
    pub address: String,
    pub name: String,
    pub library: String,
    pub library_version: String,
    /// Epoch milliseconds.
    pub since_ms: i64,
    /// As it was when the batch began; `None` where nobody said who it is, or the token has ended.
    pub subject: Option<Subject>,
    /// Whose quota pages take from.
    pub caller: Option<Caller>,
    /// What it said who it is by.
    pub token: Option<String>,
    /// A token was good once, and is not any more.
    pub ended: bool,
    /// Commands that wait for EXEC, once MULTI was said.
    pub queue: Option<Queue>,
    /// Commands done, by group; told at the end of a batch.
    pub done: [u32; GROUPS],
    pub errors: u32,
    /// Keys of nova's own that were made since the last look at this.
    pub made: u32,
}

impl Client {
    /// As RESET does: nobody in particular, with RESP2.
    pub fn forget(&mut self, stranger: Option<Subject>) {
        self.token = None;
        self.queue = None;
        self.ended = false;
        self.subject = stranger;
        self.name.clear();
    }
}
