//! Checks the store's pages while the node serves: the pages of a large store that the start did not check, and all
//! pages when an admin asks for a check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nova_storage::{Checked, OpenError, Store};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::clock::monotonic_now;
use crate::http::CheckState;

use super::error::AppError;
use super::thread::spawn;

/// How many times nova attempts a check that too many writes interrupt.
const ATTEMPTS: u32 = 3;
/// How often a check that waits for a backup looks whether the check must stop.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// The longest remaining time that nova reports for a check.
const LEFT_MAX_S: u64 = 3_600;

/// Checks the store's pages while the node serves, and keeps the result.
pub struct StoreCheck {
    store: Arc<Store>,
    state: watch::Sender<CheckState>,
    stop: AtomicBool,
    /// The number of bytes of pages that the current attempt has read.
    read_bytes: AtomicU64,
    damage: Mutex<Option<OpenError>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The lock of any task that reads every page: a check or a backup.
    looking: Mutex<()>,
    began: Mutex<Instant>,
}

impl StoreCheck {
    /// Creates the check of a store that was just opened, without starting it.
    pub fn new(store: &Arc<Store>) -> StoreCheck {
        let state = if store.checked() { CheckState::Ok } else { CheckState::Running };
        StoreCheck {
            store: Arc::clone(store),
            state: watch::Sender::new(state),
            stop: AtomicBool::new(false),
            read_bytes: AtomicU64::new(0),
            damage: Mutex::default(),
            thread: Mutex::default(),
            looking: Mutex::default(),
            began: Mutex::new(monotonic_now()),
        }
    }

    pub fn state(&self) -> CheckState {
        *self.state.borrow()
    }

    /// Returns a receiver of each change of the check's state.
    pub fn states(&self) -> watch::Receiver<CheckState> {
        self.state.subscribe()
    }

    /// Returns the number of bytes of pages that the current check has read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Returns the damage of the store, if a check has found any.
    pub fn damage(&self) -> Option<String> {
        self.damage.lock().as_ref().map(ToString::to_string)
    }

    /// Starts a thread that checks the pages which the start of nova did not check.
    pub fn start(self: &Arc<StoreCheck>) -> Result<(), AppError> {
        if self.state() == CheckState::Running { self.spawn(&mut self.thread.lock()) } else { Ok(()) }
    }

    /// Starts a new check of every page, unless a check is running or has found damage.
    pub fn again(self: &Arc<StoreCheck>) -> Result<(), AppError> {
        let mut thread = self.thread.lock();
        if matches!(self.state(), CheckState::Running | CheckState::Damaged) || self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.spawn(&mut thread)
    }

    fn spawn(self: &Arc<StoreCheck>, thread: &mut Option<JoinHandle<()>>) -> Result<(), AppError> {
        let (check, before) = (Arc::clone(self), self.state());
        self.read_bytes.store(0, Ordering::Relaxed);
        *self.began.lock() = monotonic_now();
        self.state.send_replace(CheckState::Running);
        match spawn("store-check", move || check.run()) {
            Ok(spawned) => {
                *thread = Some(spawned);
                Ok(())
            }
            Err(error) => {
                self.state.send_replace(before);
                Err(error)
            }
        }
    }

    /// Takes the lock that allows only one task at a time to read every page. Returns `None` if the running check has
    /// not ended within `wait`.
    pub fn alone(&self, wait: Duration) -> Option<MutexGuard<'_, ()>> {
        self.looking.try_lock_for(wait)
    }

    /// Returns about how many more seconds the running check takes.
    pub fn left_s(&self) -> u64 {
        let (read, all) = (self.read_bytes(), self.store.bytes());
        let elapsed_s = self.began.lock().elapsed().as_secs();
        let left_s = all.saturating_sub(read).saturating_mul(elapsed_s).checked_div(read).unwrap_or(LEFT_MAX_S);
        left_s.clamp(1, LEFT_MAX_S)
    }

    fn run(self: &Arc<StoreCheck>) {
        let _looking = loop {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Some(looking) = self.alone(STOP_LOOK) {
                break looking;
            }
        };
        for _ in 0..ATTEMPTS {
            let check = Arc::clone(self);
            self.read_bytes.store(0, Ordering::Relaxed);
            let read = move |bytes: usize| {
                check.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                check.stop.load(Ordering::Relaxed)
            };
            match self.store.check(read) {
                Ok(Checked::Whole) => {
                    self.state.send_replace(CheckState::Ok);
                    return;
                }
                Ok(Checked::Stopped) if self.stop.load(Ordering::Relaxed) => return,
                Ok(Checked::Stopped) => {}
                Err(error @ OpenError::Damaged { .. }) => return self.damaged(error),
                // If the disk cannot be read, the store is not proved to be damaged. The writer will fail with the same
                // disk error.
                Err(error) => tracing::error!("the store cannot be checked: {error}"),
            }
        }
        self.state.send_replace(CheckState::Unfinished);
        tracing::warn!(
            "too much was written to check the store beside it: nova store verify, or nova backup, checks it"
        );
    }

    /// Reports that the store is damaged, and thereby ends the node, because a node must not answer from a damaged
    /// store.
    pub fn damaged(&self, error: OpenError) {
        *self.damage.lock() = Some(error);
        self.state.send_replace(CheckState::Damaged);
    }

    /// Ends the check, and returns the damage that the check has found, if any.
    pub fn end(&self) -> Result<(), OpenError> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // If the thread panicked, the panic hook has already reported the panic.
            let _ = thread.join();
        }
        self.damage.lock().take().map_or(Ok(()), Err)
    }
}
