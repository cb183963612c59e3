//! The runtime on which a command waits for servers.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime on the thread of the command.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
