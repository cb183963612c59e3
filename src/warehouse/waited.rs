//! Queries to ClickHouse from a thread that has no runtime.

use std::io;

use tokio::runtime::Builder;

/// Waits on this thread for the result of a future. `waited` must not be called within a runtime.
pub fn waited<T>(asked: impl Future<Output = T>) -> io::Result<T> {
    Ok(Builder::new_current_thread().enable_all().build()?.block_on(asked))
}
