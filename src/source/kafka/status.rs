//! What is known of the brokers, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::event::TopicPartition;

/// The first offset of a partition's log and the one after its last; −1 or less where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    pub low: i64,
    pub high: i64,
}

/// Told by librdkafka once a second.
#[derive(Debug, Default)]
pub struct KafkaStatus {
    watermarks: Mutex<BTreeMap<TopicPartition, Watermarks>>,
    assigned: AtomicUsize,
    up: AtomicBool,
    /// Commits of the store's offsets to the broker.
    pub commits: AtomicU64,
}

impl KafkaStatus {
    pub(super) fn told(&self, watermarks: BTreeMap<TopicPartition, Watermarks>, assigned: usize, up: bool) {
        *self.watermarks.lock() = watermarks;
        self.assigned.store(assigned, Ordering::Relaxed);
        self.up.store(up, Ordering::Relaxed);
    }

    /// Of every assigned partition.
    pub fn watermarks(&self) -> BTreeMap<TopicPartition, Watermarks> {
        self.watermarks.lock().clone()
    }

    /// Partitions that this node reads.
    pub fn assigned(&self) -> usize {
        self.assigned.load(Ordering::Relaxed)
    }

    /// Whether a broker is connected.
    pub fn up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}
