//! SIGTERM, SIGINT and SIGHUP. A thread waits for them from the first moment on, since the kernel gives a process that is
//! PID 1, as in a container, no signal that it does not wait for. SIGXFSZ ends nothing: a write beyond the limit of a
//! file's size (`ulimit -f`, `LimitFSIZE=`) fails, as a write on a full disk does, and the writer reports the error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// Signals within this time of the last one that counted are one with it: shells and supervisors send them to the group
/// and to the process.
const ONE_SIGNAL: Duration = Duration::from_secs(1);
/// Added to a signal's number, the exit code of a process that the signal ended, as shells tell it.
const EXIT_BASE: i32 = 128;

/// See the module.
pub(super) struct Signals {
    /// How many came.
    count: watch::Receiver<u32>,
    /// Whether the command ends by itself; else the process ends at once.
    handled: Arc<AtomicBool>,
}

impl Signals {
    pub fn start() -> std::io::Result<Signals> {
        let (told, count) = watch::channel(0);
        let handled = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&handled);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let signals = {
            let _in_runtime = runtime.enter();
            // Taken, it no longer ends the process (setrlimit(2)), also when nobody waits for it.
            drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
            [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?]
        };
        let wait = move || runtime.block_on(wait(signals, kinds, &told, &ends));
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(Signals { count, handled })
    }

    /// From now on the command sees to its end when a signal comes.
    pub fn handled(&self) -> Waiting {
        self.handled.store(true, Ordering::SeqCst);
        let mut count = self.count.clone();
        count.mark_unchanged();
        Waiting(count)
    }
}

/// Who waits for signals.
pub(super) struct Waiting(watch::Receiver<u32>);

impl Waiting {
    /// The next signal.
    pub async fn next(&mut self) {
        // The thread that sends lasts as long as the process.
        let _ = self.0.changed().await;
    }
}

async fn wait(mut signals: [Signal; 3], kinds: [SignalKind; 3], told: &watch::Sender<u32>, handled: &AtomicBool) {
    let mut last: Option<Instant> = None;
    let [terminate, interrupt, hangup] = &mut signals;
    loop {
        let kind = tokio::select! {
            _ = terminate.recv() => kinds[0],
            _ = interrupt.recv() => kinds[1],
            _ = hangup.recv() => kinds[2],
        };
        let now = Instant::now();
        if last.is_some_and(|last| now.duration_since(last) < ONE_SIGNAL) {
            continue;
        }
        last = Some(now);
        if !handled.load(Ordering::SeqCst) {
            // What was committed stays; whatever was not is read again.
            #[expect(
                clippy::disallowed_methods,
                reason = "the command does not wait for a signal, so nothing of it ends in order"
            )]
            std::process::exit(EXIT_BASE + kind.as_raw_value());
        }
        told.send_modify(|count| *count += 1);
    }
}
