//! Ends the nodes that a reset has replaced, on a separate thread, so that no test waits for their last commits.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;

use crate::app::{AppError, Node};
use crate::clock::monotonic_now;
use crate::http::Edge;

/// The maximum number of replaced nodes that wait for their end. When more nodes would wait, a reset waits.
const QUEUE_MAX: usize = 4;
/// How long the requests of a replaced node may still take; `LOOK_EVERY` is how often the thread looks whether the
/// requests have ended.
const REQUESTS_WAIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// The thread that ends replaced nodes.
pub(super) struct Retired {
    queue: Mutex<Option<Sender<Node>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Retired {
    pub fn start() -> Result<Retired, AppError> {
        let (queue, nodes) = bounded::<Node>(QUEUE_MAX);
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&failed);
        let work = move || nodes.iter().for_each(|node| told.lock().extend(end(node).err()));
        let name = "retired";
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.map_err(|source| AppError::Spawn { name, source })?;
        Ok(Retired { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)), failed })
    }

    /// Hands a replaced node to the thread that ends it.
    pub fn put(&self, node: Node) {
        let queue = self.queue.lock().clone();
        // The thread receives nodes until [`Retired::end`] is called.
        if let Some(queue) = queue {
            drop(queue.send(node));
        }
    }

    /// Waits until all replaced nodes have ended. Returns the problems of all nodes as texts.
    pub fn end(&self) -> Vec<String> {
        drop(self.queue.lock().take());
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            self.failed.lock().push("a node ended unexpectedly; this is a defect of nova".to_owned());
        }
        std::mem::take(&mut *self.failed.lock())
    }
}

/// Waits until no running request holds the edge, and drops the edge while the writer still accepts the last messages
/// of jobs.
fn alone(mut edge: Arc<Edge>) {
    let (_nobody, tick) = bounded::<()>(0);
    let deadline = monotonic_now() + REQUESTS_WAIT;
    loop {
        match Arc::try_unwrap(edge) {
            Ok(edge) => return drop(edge),
            Err(shared) => edge = shared,
        }
        if monotonic_now() >= deadline {
            return;
        }
        // No thread sends on the channel, so the receive only waits for the given time.
        let _ = tick.recv_timeout(LOOK_EVERY);
    }
}

/// Ends a node cleanly. Returns an error if the node's counts of records do not balance.
fn end(node: Node) -> Result<(), String> {
    let Node { running, edge } = node;
    running.shared.stop();
    edge.intake.captures.iter().for_each(|captures| captures.wake());
    alone(edge);
    let partitions = running.finish(|_| {}).map_err(|error| error.to_string())?;
    match partitions.iter().find(|status| !status.row.balanced()) {
        Some(status) => Err(format!("{}: its outcomes do not add up to the records consumed", status.name)),
        None => Ok(()),
    }
}
