//! Starts the threads of a node.

use std::thread::JoinHandle;

use super::error::AppError;

pub(super) fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, AppError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).map_err(|source| AppError::Spawn { name, source })
}
