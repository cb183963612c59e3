//! Jobs are repeated work. Each job keeps a part of the served data fresh. A runner runs every job at the job's own
//! interval with jitter, wakes it early on request, ends a refresh that takes too long, survives panics, and retries
//! with backoff. The runner parks and reports a job that fails repeatedly. The runner reads only the clock of tokio and
//! the clock that it was given.
//!
//! `serving` has the jobs that keep the lists of feeds, trending and suggestions fresh. `copies` puts the lists that
//! HTTP serves into a cache that other services read. `analytics` asks ClickHouse, and `connector` asks Kafka Connect.
//! `figures` stores what was served on each day. `retry` tries dead letters again, and `rebuilt` ends a rebuild. If a
//! job needs the store or a server, it uses a trait that `app` implements.

pub mod analytics;
pub mod connector;
pub mod copies;
pub mod figures;
pub mod made;
pub mod rebuilt;
pub mod retry;
mod schedule;
pub mod serving;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::state::histogram::Histogram;

use self::schedule::{Run, Schedule};

/// The longest time of a refresh, unless the job sets its own limit.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the jobs may take to end after a stop was requested.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of threads on which refreshes compute.
const BLOCKING_MAX_THREADS: usize = 4;

/// Why a refresh failed, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    #[error("{0}")]
    Failed(String),
    /// A server that the job needs does not answer. A job that fails because a server does not answer is retried with
    /// backoff, and never parked.
    #[error("{0}")]
    Away(String),
}

/// A running refresh of a job.
pub type Refreshing = Pin<Box<dyn Future<Output = Result<(), JobError>> + Send>>;

/// A job keeps one part of the served data fresh.
pub trait CacheRefreshJob: Send + Sync {
    /// Returns the name of the job in metrics.
    fn name(&self) -> &'static str;
    /// Returns the interval from the end of one refresh to the beginning of the next; the runner varies the interval by
    /// a tenth.
    fn interval(&self) -> Duration;
    fn timeout(&self) -> Duration {
        TIMEOUT
    }
    /// Refreshes once. `now_ms` is the wall time in epoch milliseconds.
    fn refresh(&self, now_ms: i64) -> Refreshing;
}

/// Runs a refresh that computes or waits, on another thread than the runner's thread. The runner stops waiting for a
/// refresh that takes too long, but the refresh itself does not end.
pub fn blocking(work: impl FnOnce() -> Result<(), JobError> + Send + 'static) -> Refreshing {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(JobError::Failed(error.to_string())),
        }
    })
}

/// The result of a job's refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Ok = 0,
    Error = 1,
    Timeout = 2,
    Panic = 3,
    Away = 4,
}

impl Status {
    /// Returns the number of refreshes by their result.
    pub fn results(&self) -> [(&'static str, u64); 5] {
        std::array::from_fn(|index| (Ended::NAMES[index], self.ended[index]))
    }
}

impl Ended {
    const NAMES: [&'static str; 5] = ["ok", "error", "timeout", "panic", "away"];

    fn run(self) -> Run {
        match self {
            Ended::Ok => Run::Ok,
            Ended::Away => Run::Away,
            Ended::Error | Ended::Timeout | Ended::Panic => Run::Failed,
        }
    }
}

/// The state of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The number of refreshes by result: ok, error, timeout, panic, away.
    pub ended: [u64; 5],
    /// The total time of all refreshes, and a histogram of their times in microseconds.
    pub total: Duration,
    pub took_us: Histogram,
    /// Why the job is parked, or `None` if it is not parked.
    pub parked: Option<String>,
}

struct Slot {
    job: Box<dyn CacheRefreshJob>,
    wake: Notify,
    status: Mutex<Status>,
}

/// Runs each job when it is due.
pub struct Runner {
    slots: Vec<Slot>,
    clock: Clock,
    /// The seed of the runner's jitter.
    seed: u64,
    /// Whether jobs do not run at their intervals, because a caller that moves the clock runs all jobs.
    by_hand: bool,
}

impl Runner {
    pub fn new(jobs: Vec<Box<dyn CacheRefreshJob>>, clock: Clock, seed: u64) -> Runner {
        let slot = |job| Slot { job, wake: Notify::new(), status: Mutex::default() };
        Runner { slots: jobs.into_iter().map(slot).collect(), clock, seed, by_hand: false }
    }

    /// Makes jobs run only on request: by [`Runner::wake`], or by [`Runner::refresh_all`].
    pub fn by_hand(self) -> Runner {
        Runner { by_hand: true, ..self }
    }

    /// Runs every job once at the time `now_ms`, one job after the other. Returns the first failure in words, if a job
    /// has failed.
    pub async fn refresh_all(&self, now_ms: i64) -> Result<(), String> {
        let mut first = Ok(());
        for slot in &self.slots {
            let (began, job) = (Instant::now(), &slot.job);
            let done = tokio::time::timeout(job.timeout(), job.refresh(now_ms)).await;
            let (ended, why) = match done {
                Ok(Ok(())) => (Ended::Ok, String::new()),
                Ok(Err(JobError::Failed(why))) => (Ended::Error, why),
                Ok(Err(JobError::Away(why))) => (Ended::Away, why),
                Err(_) => (Ended::Timeout, format!("took longer than {:?}", job.timeout())),
            };
            if ended != Ended::Ok && first.is_ok() {
                first = Err(format!("the job {}: {why}", job.name()));
            }
            slot.note(ended, began.elapsed(), why, false);
        }
        first
    }

    /// Starts a job as soon as its schedule allows, even if it is parked. The runner ignores a name without a job.
    pub fn wake(&self, name: &str) {
        self.slots.iter().filter(|slot| slot.job.name() == name).for_each(|slot| slot.wake.notify_one());
    }

    /// Returns every job with its state.
    pub fn statuses(&self) -> Vec<(&'static str, Status)> {
        self.slots.iter().map(|slot| (slot.job.name(), slot.status.lock().clone())).collect()
    }

    /// Runs every job until `stop` becomes true or its sender is dropped.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..self.slots.len() {
            tasks.spawn(Arc::clone(&self).one(index, stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn one(self: Arc<Self>, index: usize, mut stop: watch::Receiver<bool>) {
        let slot = &self.slots[index];
        let started = Instant::now();
        let mut schedule = Schedule::new(slot.job.interval(), self.seed ^ index as u64);
        loop {
            let turn = async {
                tokio::select! {
                    () = tokio::time::sleep_until(started + schedule.due()), if !self.by_hand => {}
                    // A job that was woken waits until its schedule allows it to run. Requests that come while the job
                    // waits are covered by the same run.
                    () = slot.wake.notified() => tokio::time::sleep_until(started + schedule.earliest()).await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = turn => {}
            }
            let began = Instant::now();
            let mut task = tokio::spawn(slot.job.refresh(self.clock.now_ms()));
            let (ended, why) = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {
                    task.abort();
                    return;
                }
                done = tokio::time::timeout(slot.job.timeout(), &mut task) => match done {
                    Ok(Ok(Ok(()))) => (Ended::Ok, String::new()),
                    Ok(Ok(Err(JobError::Failed(why)))) => (Ended::Error, why),
                    Ok(Ok(Err(JobError::Away(why)))) => (Ended::Away, why),
                    Ok(Err(error)) => (Ended::Panic, error.to_string()),
                    Err(_) => {
                        task.abort();
                        (Ended::Timeout, format!("took longer than {:?}", slot.job.timeout()))
                    }
                }
            };
            schedule.ended(started.elapsed(), ended.run());
            slot.note(ended, began.elapsed(), why, schedule.parked());
        }
    }

    /// Starts a thread that runs the jobs until the returned value is dropped.
    pub fn start(self) -> std::io::Result<Jobs> {
        let runner = Arc::new(self);
        let (stop, stopped) = watch::channel(false);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(BLOCKING_MAX_THREADS).build()?;
        let ran = Arc::clone(&runner);
        let thread = std::thread::Builder::new().name("jobs".to_owned()).spawn(move || {
            runtime.block_on(ran.run(stopped));
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        Ok(Jobs { runner, stop, thread: Some(thread) })
    }
}

impl Slot {
    fn note(&self, ended: Ended, took: Duration, why: String, parked: bool) {
        let (name, status) = (self.job.name(), &mut *self.status.lock());
        if ended != Ended::Ok {
            tracing::warn!(job = name, result = Ended::NAMES[ended as usize], "a refresh failed: {why}");
        }
        if parked && status.parked.is_none() {
            tracing::error!(job = name, "parked, as it keeps failing");
        }
        status.ended[ended as usize] += 1;
        status.total += took;
        status.took_us.add(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        status.parked = parked.then_some(why);
    }
}

/// The running jobs of a node. The jobs end when this value is dropped.
pub struct Jobs {
    pub runner: Arc<Runner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // If the runner itself panicked, the panic hook has already reported the panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
