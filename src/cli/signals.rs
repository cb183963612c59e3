//! Handles SIGTERM, SIGINT, SIGHUP and SIGXFSZ. A thread waits for SIGTERM, SIGINT and SIGHUP from the start: in a
//! container, nova often has the PID 1, and the kernel delivers to this process only signals that have a handler.
//! SIGXFSZ does not end nova: a write beyond the limit of a file's size (`ulimit -f`, `LimitFSIZE=`) fails like a write
//! on a full disk, and the writer reports the error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// The time after a counted signal in which nova counts no further signal. Shells and supervisors send a signal to both
/// the process group and the process.
const ONE_SIGNAL: Duration = Duration::from_secs(1);
/// The base of the exit code of a process that a signal ended. The exit code is the base plus the signal's number, as
/// in shells.
const EXIT_BASE: i32 = 128;

/// Waits for signals and counts the signals.
pub(super) struct Signals {
    /// The number of signals that have come.
    count: watch::Receiver<u32>,
    /// Whether the command waits for signals and ends cleanly after a signal. If the command does not wait for signals,
    /// the process ends at once.
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
            // With a handler for SIGXFSZ, the signal does not end the process (setrlimit(2)), even if nothing reads the
            // signal.
            drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
            [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?]
        };
        let wait = move || runtime.block_on(wait(signals, kinds, &told, &ends));
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(Signals { count, handled })
    }

    /// Returns a waiter for signals. A signal after this call no longer ends the process at once, because the command
    /// ends cleanly.
    pub fn handled(&self) -> Waiting {
        self.handled.store(true, Ordering::SeqCst);
        let mut count = self.count.clone();
        count.mark_unchanged();
        Waiting(count)
    }
}

/// Waits for signals on behalf of a command.
pub(super) struct Waiting(watch::Receiver<u32>);

impl Waiting {
    /// Waits for the next signal.
    pub async fn next(&mut self) {
        // The wait cannot fail, because the sending thread lives as long as the process.
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
            // The store keeps the committed records. After its next start, nova reads every uncommitted record again.
            #[expect(
                clippy::disallowed_methods,
                reason = "the command does not wait for a signal, so nothing of it ends in order"
            )]
            std::process::exit(EXIT_BASE + kind.as_raw_value());
        }
        told.send_modify(|count| *count += 1);
    }
}
