//! Work that repeats: each job keeps something that is served fresh. A runner gives every job its own rhythm with
//! jitter, wakes it early when asked, ends it when it takes too long, survives its panics, and tries again with backoff;
//! a job that keeps failing is parked and shown. It reads no clock but tokio's, and the one it is given.
//!
//! `serving` has the jobs behind what is served, `copies` puts it into a cache that other services read, `analytics` asks
//! ClickHouse, `connector` Kafka Connect, `figures` keeps what was served on each day, `retry` tries dead letters again, `rebuilt` ends a rebuild. What a job needs of the
//! store or of a server is a trait, which `app` fills.

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

/// How long a refresh may take, unless the job says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the jobs may take to end once they are asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads for refreshes that compute.
const BLOCKING_MAX_THREADS: usize = 4;

/// Why a refresh failed, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    #[error("{0}")]
    Failed(String),
    /// A server that it needs does not answer: tried again with backoff, never parked.
    #[error("{0}")]
    Away(String),
}

/// One refresh on its way.
pub type Refreshing = Pin<Box<dyn Future<Output = Result<(), JobError>> + Send>>;

/// Keeps one thing fresh.
pub trait CacheRefreshJob: Send + Sync {
    /// Stands in metrics.
    fn name(&self) -> &'static str;
    /// From the end of one refresh to the begin of the next, a tenth more or less.
    fn interval(&self) -> Duration;
    fn timeout(&self) -> Duration {
        TIMEOUT
    }
    /// Does it once; `now_ms` is the wall time, epoch milliseconds.
    fn refresh(&self, now_ms: i64) -> Refreshing;
}

/// A refresh that computes or waits, away from the thread that keeps time. One that takes too long is left alone, not
/// ended.
pub fn blocking(work: impl FnOnce() -> Result<(), JobError> + Send + 'static) -> Refreshing {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(JobError::Failed(error.to_string())),
        }
    })
}

/// How refreshes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Ok = 0,
    Error = 1,
    Timeout = 2,
    Panic = 3,
    Away = 4,
}

impl Status {
    /// Refreshes by how they ended.
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

/// What is known of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Refreshes by how they ended: ok, error, timeout, panic, away.
    pub ended: [u64; 5],
    /// How long all of them took together, and each, microseconds.
    pub total: Duration,
    pub took_us: Histogram,
    /// Why it is parked, if it is.
    pub parked: Option<String>,
}

struct Slot {
    job: Box<dyn CacheRefreshJob>,
    wake: Notify,
    status: Mutex<Status>,
}

/// See the module.
pub struct Runner {
    slots: Vec<Slot>,
    clock: Clock,
    /// Of the jitter.
    seed: u64,
    /// No job runs by its rhythm: whoever moves the clock has them run.
    by_hand: bool,
}

impl Runner {
    pub fn new(jobs: Vec<Box<dyn CacheRefreshJob>>, clock: Clock, seed: u64) -> Runner {
        let slot = |job| Slot { job, wake: Notify::new(), status: Mutex::default() };
        Runner { slots: jobs.into_iter().map(slot).collect(), clock, seed, by_hand: false }
    }

    /// No job runs before somebody asks: by [`Runner::wake`], or by [`Runner::refresh_all`].
    pub fn by_hand(self) -> Runner {
        Runner { by_hand: true, ..self }
    }

    /// Runs every job once, one after the other, as of `now_ms`; the first failure in words, if there is one.
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

    /// Has a job begin as soon as its rhythm allows; also one that is parked. Unknown names do nothing.
    pub fn wake(&self, name: &str) {
        self.slots.iter().filter(|slot| slot.job.name() == name).for_each(|slot| slot.wake.notify_one());
    }

    /// Every job and what is known of it.
    pub fn statuses(&self) -> Vec<(&'static str, Status)> {
        self.slots.iter().map(|slot| (slot.job.name(), slot.status.lock().clone())).collect()
    }

    /// Runs every job until `stop` turns true or its sender is gone.
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
                    // Not before its rhythm allows; what asks meanwhile is asked for already.
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

    /// Starts a thread that runs the jobs until what is returned is dropped.
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

/// The jobs, running; they end when this is dropped.
pub struct Jobs {
    pub runner: Arc<Runner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the runner itself was told by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
