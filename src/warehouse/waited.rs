//! Questions to ClickHouse on a thread that has no runtime.

use std::io;

use tokio::runtime::Builder;

/// Waits on this thread until what was asked is answered. Not to be called within a runtime.
pub fn waited<T>(asked: impl Future<Output = T>) -> io::Result<T> {
    Ok(Builder::new_current_thread().enable_all().build()?.block_on(asked))
}
