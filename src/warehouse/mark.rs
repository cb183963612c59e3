//! A mark of a delivered batch, which the outbox remembers so that `lint` can look for the batch.

/// A batch that `post_events` has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub batch: u64,
    /// The partition value of the batch's rows.
    pub partition: u32,
    /// When the batch was acknowledged, epoch milliseconds.
    pub at_ms: i64,
}
