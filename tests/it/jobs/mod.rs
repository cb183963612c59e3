//! The jobs of a node with a store, and with real servers if environment variables name them.

mod analytics;
mod figures;
mod retry;
#[cfg(feature = "redis-cache")]
mod shared_cache;

use std::time::Duration;

use nova::app::{self, Node, Setup};
use nova::jobs::Status;

/// Starts a node in the data directory of the setup, without an HTTP listener.
pub fn start(setup: &Setup) -> Node {
    let opened = app::open(setup).unwrap();
    app::start_node(setup, opened, Duration::ZERO).unwrap()
}

pub fn stop(node: Node) {
    node.running.shared.stop();
    drop(node.edge);
    node.running.finish(|_| {}).unwrap();
}

/// Calls `answer` at intervals until it returns a value.
pub fn until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let started = nova::clock::monotonic_now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::yield_now();
    }
}

pub fn status(node: &Node, job: &str) -> Status {
    node.edge.watch.jobs.runner.statuses().into_iter().find(|(name, _)| *name == job).unwrap().1
}
