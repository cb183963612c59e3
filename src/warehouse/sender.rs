//! Delivers sealed batches. Each table has a task, which begins the table's sealed batches in the order of their
//! numbers and sends two batches at once. A batch is repeated with unchanged bytes and an unchanged token until the
//! table has the batch. The task reports the outcome of a batch to the writer, which removes the batch from the outbox
//! in a commit. After a crash between a delivery and the commit that removes the batch, the batch is sent a second
//! time, and ClickHouse drops it because of its token.

use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::shared::Shared;
use super::status::Status;
use super::target::Target;
use super::task::Task;

pub use super::pace::{FAILURES_TO_OPEN, HELD_MAX_MS, OVERTAKEN_MAX, Pace, SAFE_HORIZON_MS};
pub use super::shared::SenderParts;
pub use super::task::SENDING_MAX;

const LINT_EVERY: Duration = Duration::from_secs(3_600);
const VIEWS_EVERY: Duration = Duration::from_secs(30);

/// The running delivery thread.
pub struct Sender {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
    status: Arc<Status>,
}

impl Sender {
    pub fn start(parts: SenderParts) -> std::io::Result<Sender> {
        let (stop, stopped) = watch::channel(false);
        let status = Arc::clone(&parts.status);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("warehouse".to_owned());
        let thread = thread.spawn(move || tokio::task::LocalSet::new().block_on(&runtime, deliver(parts, stopped)))?;
        Ok(Sender { thread, stop, status })
    }

    /// Waits until the outbox is empty, and then ends the delivery. The wait for an empty outbox ends early if no row
    /// is acknowledged within `idle`, or after `most`. The writer must still run while `finish` waits. Returns false if
    /// rows are left in the outbox. nova sends the rows that are left in the outbox after the next start.
    pub fn finish(self, idle: Duration, most: Duration) -> bool {
        let empty = self.status.wait_empty(idle, most);
        let _ = self.stop.send(true);
        self.thread.join().is_ok() && empty
    }

    pub fn alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// Runs the delivery within a [`tokio::task::LocalSet`] until it is stopped.
pub async fn deliver(parts: SenderParts, mut stopped: watch::Receiver<bool>) {
    let shared = Rc::new(Shared::new(parts));
    let mut tasks = JoinSet::new();
    for target in Target::ALL {
        tasks.spawn_local(Task::new(Rc::clone(&shared), target).run());
    }
    let looking = Rc::clone(&shared);
    tokio::task::spawn_local(async move {
        // The server is prepared even if no batch is waiting, because problems must be reported at the start.
        shared.prepare().await;
        loop {
            tokio::time::sleep(LINT_EVERY).await;
            let _ = shared.lint().await;
        }
    });
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(VIEWS_EVERY).await;
            looking.look_at_views().await;
        }
    });
    // The tasks end when the `LocalSet` is dropped. The next process repeats interrupted inserts with their tokens.
    let stops = std::pin::pin!(stopped.wait_for(|stop| *stop));
    tokio::select! {
        _ = stops => {}
        () = panicked(&mut tasks) => {}
    }
}

/// Panics like a task that panicked, so that the process ends and does not leave a table without its delivery. If no
/// task panics, `panicked` never returns.
async fn panicked(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    std::future::pending().await
}
