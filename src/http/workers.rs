//! The threads that serve connections, one for each core, each with its own runtime. A connection stays on one thread.
//! In a runtime that shares its tasks between threads, the threads would wake each other at every request, and a
//! wake-up takes longer than making a page.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The longest time for which an ending worker waits for blocking work of ended requests.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The worker threads that serve connections.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// The number of connections that the worker serves.
    live: Arc<AtomicUsize>,
    /// The sender that ends the worker's thread when it is dropped.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// One connection of a worker, which counts until this value is dropped.
struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts worker threads with the given name.
    pub fn start(name: &str, threads: usize) -> io::Result<Workers> {
        let worker = |number: usize| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel());
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            let thread = thread.spawn(move || {
                in_batches();
                // The thread ends when `Worker::stop` is used or dropped.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_timeout(END_TIMEOUT);
            })?;
            Ok(Worker { runtime: handle, live: Arc::default(), stop, thread })
        };
        Ok(Workers((0..threads.max(1)).map(worker).collect::<io::Result<_>>()?))
    }

    /// Runs a connection's task on the worker with the fewest connections.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.live.load(Ordering::Relaxed)) else { return };
        worker.live.fetch_add(1, Ordering::Relaxed);
        let live = Live(Arc::clone(&worker.live));
        worker.runtime.spawn(async move {
            task.await;
            drop(live);
        });
    }

    /// Ends the worker threads and the tasks that still run on them.
    pub fn stop(self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.0.into_iter().map(|worker| (worker.stop, worker.thread)).unzip();
        drop(stops);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that serves connections ended unexpectedly; its connections were closed");
            }
        }
    }
}

/// Puts the calling thread under `SCHED_BATCH`. Under `SCHED_BATCH`, a thread does not interrupt the running thread of
/// its core at each packet. A thread that waits longer for its turn finds more requests at once. A process with a nice
/// value keeps its nice value and the usual policy, because the policy and the nice value can only be set together.
#[cfg(target_os = "linux")]
fn in_batches() {
    use thread_priority::unix::{NormalThreadSchedulePolicy::Batch, ThreadSchedulePolicy};
    use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
    use thread_priority::{ThreadPriority, ThreadPriorityOsValue};

    if rustix::process::getpriority_process(None) != Ok(0) {
        return;
    }
    // `ThreadPriorityOsValue::default()` means the nice value 0.
    let unchanged = ThreadPriority::Os(ThreadPriorityOsValue::default());
    let set = set_thread_priority_and_policy(thread_native_id(), unchanged, ThreadSchedulePolicy::Normal(Batch));
    if let Err(error) = set {
        tracing::debug!("a thread that serves connections is scheduled like any other: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn in_batches() {}
