//! The threads that share the work of a start: they read the checkpoint, make the lists of followers, and count all
//! posts.

use std::thread::available_parallelism;

const THREADS_MAX: usize = 8;

/// Returns the number of threads that share the work of a start: one for each core, and at most eight.
pub fn start_threads() -> usize {
    available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}
