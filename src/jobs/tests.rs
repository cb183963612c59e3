//! Tests in virtual time: tokio's clock stands still and jumps to the next timer.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Counted {
    interval: Duration,
    runs: Arc<AtomicU32>,
    /// A function that returns the refresh of the run with the given number.
    refresh: fn(u32) -> Refreshing,
}

impl CacheRefreshJob for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }
    fn interval(&self) -> Duration {
        self.interval
    }
    fn timeout(&self) -> Duration {
        Duration::from_secs(3)
    }
    fn refresh(&self, _now_ms: i64) -> Refreshing {
        (self.refresh)(self.runs.fetch_add(1, Ordering::SeqCst))
    }
}

fn runner(interval: Duration, refresh: fn(u32) -> Refreshing) -> (Arc<Runner>, Arc<AtomicU32>, watch::Sender<bool>) {
    let runs = Arc::new(AtomicU32::new(0));
    let job = Counted { interval, runs: Arc::clone(&runs), refresh };
    let runner = Arc::new(Runner::new(vec![Box::new(job)], Clock::manual(0), 7));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::clone(&runner).run(stopped));
    (runner, runs, stop)
}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_at_once_then_in_its_rhythm_and_early_when_woken() {
    let (runner, runs, stop) = runner(Duration::from_secs(10), |_| Box::pin(async { Ok(()) }));
    after(1).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    after(100).await;
    assert!((9..=12).contains(&runs.load(Ordering::SeqCst)));
    let before = runs.load(Ordering::SeqCst);
    for _ in 0..1_000 {
        runner.wake("counted");
        runner.wake("nobody");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let woken = runs.load(Ordering::SeqCst) - before;
    assert!((1..=2).contains(&woken), "{woken} runs for a thousand wishes");
    drop(stop);
    after(100).await;
    assert_eq!(runs.load(Ordering::SeqCst), before + woken, "ended with its owner");
}

#[tokio::test(start_paused = true)]
async fn errors_panics_and_hangs_are_counted_and_the_job_goes_on() {
    let (runner, runs, _stop) = runner(Duration::from_secs(5), |run| match run {
        0 => Box::pin(async { Err(JobError::Failed("no".to_owned())) }),
        1 => Box::pin(async { panic!("on purpose") }),
        2 => Box::pin(std::future::pending()),
        3 => Box::pin(async { Err(JobError::Away("no server".to_owned())) }),
        _ => Box::pin(async { Ok(()) }),
    });
    after(60).await;
    assert!(runs.load(Ordering::SeqCst) > 8);
    let status = runner.statuses()[0].1.clone();
    assert_eq!(status.ended[1..], [1, 1, 1, 1]);
    assert!(status.ended[0] > 5 && status.parked.is_none());
    assert_eq!(status.results()[3], ("panic", 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_keeps_failing_is_parked_shown_and_comes_back_when_woken() {
    let fails_until = 20;
    assert!(fails_until > schedule::PARK_AFTER);
    let (runner, runs, _stop) = runner(Duration::from_secs(1), |run| {
        let done = if run < 20 { Err(JobError::Failed(format!("run {run}"))) } else { Ok(()) };
        Box::pin(async { done })
    });
    after(550).await;
    assert_eq!(runs.load(Ordering::SeqCst), schedule::PARK_AFTER);
    assert_eq!(runner.statuses()[0].1.parked.as_deref(), Some("run 7"));
    for _ in 0..13 {
        runner.wake("counted");
        after(1).await;
    }
    assert_eq!(runner.statuses()[0].1.parked, None);
    after(20).await;
    assert!(runs.load(Ordering::SeqCst) > 35, "in its rhythm again");
}

#[tokio::test(start_paused = true)]
async fn an_outage_parks_nothing_and_is_over_within_a_minute_of_its_end() {
    let (runner, runs, _stop) = runner(Duration::from_secs(1), |run| {
        let done = if run < 100 { Err(JobError::Away("no server".to_owned())) } else { Ok(()) };
        Box::pin(async { done })
    });
    let mut before = 0;
    while runs.load(Ordering::SeqCst) < 100 {
        after(60).await;
        let now = runs.load(Ordering::SeqCst);
        assert!(now > before, "tried within each minute");
        before = now;
        assert_eq!(runner.statuses()[0].1.parked, None);
    }
    after(60).await;
    assert!(runner.statuses()[0].1.ended[0] > 0);
}

#[test]
fn a_thread_runs_the_jobs_until_their_owner_goes() {
    let runs = Arc::new(AtomicU32::new(0));
    let (told, ran) = std::sync::mpsc::sync_channel(100);
    struct Told(std::sync::mpsc::SyncSender<()>, Arc<AtomicU32>);
    impl CacheRefreshJob for Told {
        fn name(&self) -> &'static str {
            "told"
        }
        fn interval(&self) -> Duration {
            Duration::from_millis(1)
        }
        fn refresh(&self, _now_ms: i64) -> Refreshing {
            let (told, runs) = (self.0.clone(), Arc::clone(&self.1));
            blocking(move || {
                runs.fetch_add(1, Ordering::SeqCst);
                let _ = told.try_send(());
                Ok(())
            })
        }
    }
    let jobs = Runner::new(vec![Box::new(Told(told, Arc::clone(&runs)))], Clock::manual(0), 1).start().unwrap();
    (0..2).for_each(|_| ran.recv_timeout(Duration::from_secs(60)).unwrap());
    drop(jobs);
    assert!(ran.iter().count() <= 100, "the job and its sender are gone");
    assert_eq!(Arc::strong_count(&runs), 1);
}
