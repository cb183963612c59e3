//! The tokio runtime of a command that sends requests to servers.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Makes a tokio runtime on the command's own thread.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
