//! The data for all viewers of the console: the newest frame, its difference from the previous frame, and the points of
//! the plots.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::console::history::{Gauge, History, Point};
use crate::console::patch;
use crate::http::places::{Place, Places};

/// The most viewers of the console at the same time.
pub const VIEWERS_MAX: usize = 256;
/// The most viewers of the console from one address.
pub const VIEWERS_PER_ADDRESS_MAX: usize = 64;

/// The data that the console shows at one moment.
pub struct Frame {
    /// The number of the frame, which increases by one with each frame.
    number: u64,
    pub(super) whole: Value,
    text: Bytes,
    /// The difference from the previous frame, as a server-sent event.
    patch: Bytes,
}

impl Frame {
    fn event(name: &str, number: u64, data: &str) -> Bytes {
        format!("event: {name}\nid: {number}\ndata: {data}\n\n").into()
    }

    pub(super) fn snapshot(&self) -> Bytes {
        self.text.clone()
    }

    /// The event that brings a client from the frame `known` to this frame. The event is a patch if `known` is the
    /// previous frame, otherwise a snapshot.
    pub(super) fn after(&self, known: &Frame) -> Bytes {
        let follows = known.number > 0 && self.number == known.number + 1;
        if follows { self.patch.clone() } else { self.snapshot() }
    }

    /// Whether this is the empty frame before the first sample.
    pub(super) fn is_empty(&self) -> bool {
        self.number == 0
    }
}

/// The data that the console shows, and the limits on its viewers.
pub struct Board {
    frames: watch::Sender<Arc<Frame>>,
    history: Mutex<History>,
    free: Arc<Semaphore>,
    addresses: Places,
}

impl Default for Board {
    fn default() -> Board {
        let none = Frame { number: 0, whole: Value::Null, text: Bytes::new(), patch: Bytes::new() };
        Board {
            frames: watch::Sender::new(Arc::new(none)),
            history: Mutex::default(),
            free: Arc::new(Semaphore::new(VIEWERS_MAX)),
            addresses: Places::new(VIEWERS_PER_ADDRESS_MAX),
        }
    }
}

impl Board {
    /// Counts one more viewer. The error is true if the console has its maximum number of viewers, and false if only
    /// the address of the viewer has its maximum number.
    pub(super) fn enter(&self, address: IpAddr) -> Result<(Place, OwnedSemaphorePermit), bool> {
        let place = self.addresses.enter(address, VIEWERS_PER_ADDRESS_MAX).ok_or(false)?;
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| true)?;
        Ok((place, permit))
    }

    pub(super) fn frames(&self) -> watch::Receiver<Arc<Frame>> {
        self.frames.subscribe()
    }

    /// The newest frame, which is empty before the first sample.
    pub(super) fn newest(&self) -> Arc<Frame> {
        Arc::clone(&self.frames.borrow())
    }

    pub(super) fn history(&self) -> Value {
        self.history.lock().json()
    }

    /// Adds a point at the time `now_ms` to the history of the plots.
    pub(super) fn keep(&self, now_ms: i64, point: Point) {
        self.history.lock().put(now_ms, point);
    }

    /// The bytes of write-ahead log that the replication slot held back at an earlier point of the history. That point
    /// is `points` points before the newest point.
    pub(super) fn held_before(&self, points: usize) -> Option<f64> {
        self.history.lock().before(Gauge::HeldWalBytes, points)
    }

    pub(super) fn watched(&self) -> bool {
        self.free.available_permits() < VIEWERS_MAX
    }

    pub(super) fn publish(&self, whole: Value) {
        let before = self.newest();
        let number = before.number + 1;
        let patch = patch::between(&before.whole, &whole).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let text = Frame::event("snapshot", number, &whole.to_string());
        let patch = Frame::event("patch", number, &patch.to_string());
        self.frames.send_replace(Arc::new(Frame { number, whole, text, patch }));
    }
}
