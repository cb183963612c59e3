//! The check of a store that is too large to be checked to its end before the first read: the rest of it beside serving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;

use nova_storage::{Checked, OpenError, Store};
use parking_lot::Mutex;

use crate::http::CheckState;

use super::{AppError, spawn};

/// Attempts where too much is written during the check.
const ATTEMPTS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct StoreCheck {
    state: AtomicU8,
    stop: AtomicBool,
    damage: Mutex<Option<OpenError>>,
}

impl StoreCheck {
    /// Takes over the check of a store that was just opened.
    pub fn new(store: &Store) -> StoreCheck {
        let state = if store.checked() { CheckState::Ok } else { CheckState::Running };
        StoreCheck { state: AtomicU8::new(state as u8), stop: AtomicBool::new(false), damage: Mutex::default() }
    }

    pub fn state(&self) -> CheckState {
        CheckState::ALL[usize::from(self.state.load(Ordering::Acquire)) % CheckState::ALL.len()]
    }

    /// Checks the pages that are left, on a thread of its own; `None` where no page is left.
    pub fn start(self: &Arc<StoreCheck>, store: &Arc<Store>) -> Result<Option<JoinHandle<()>>, AppError> {
        if self.state() != CheckState::Running {
            return Ok(None);
        }
        let (check, store) = (Arc::clone(self), Arc::clone(store));
        spawn("store-check", move || check.run(&store)).map(Some)
    }

    fn run(self: &Arc<StoreCheck>, store: &Store) {
        for _ in 0..ATTEMPTS {
            let check = Arc::clone(self);
            match store.check(move || check.stop.load(Ordering::Relaxed)) {
                Ok(Checked::Whole) => return self.state.store(CheckState::Ok as u8, Ordering::Release),
                Ok(Checked::Stopped) if self.stop.load(Ordering::Relaxed) => return,
                Ok(Checked::Stopped) => {}
                Err(error @ OpenError::Damaged { .. }) => {
                    *self.damage.lock() = Some(error);
                    return self.state.store(CheckState::Damaged as u8, Ordering::Release);
                }
                // A disk that cannot be read is not known to hold other bytes; the writer will meet it, too.
                Err(error) => tracing::error!("the store cannot be checked: {error}"),
            }
        }
        self.state.store(CheckState::Unfinished as u8, Ordering::Release);
        tracing::warn!(
            "too much was written to check the store beside it: nova store verify, or nova backup, checks it"
        );
    }

    /// Ends the check; the damage that it found, if it did.
    pub fn end(&self, thread: Option<JoinHandle<()>>) -> Result<(), OpenError> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = thread {
            // A panic of the thread was told by the panic hook.
            let _ = thread.join();
        }
        self.damage.lock().take().map_or(Ok(()), Err)
    }
}
