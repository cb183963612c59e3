//! A mark of a delivered batch. The outbox keeps marks, so that `lint` can look for the batches in ClickHouse.

/// A batch that `post_events` has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub batch: u64,
    /// The value of the partition key of the batch's rows.
    pub partition: u32,
    /// The time at which the batch was acknowledged, in epoch milliseconds.
    pub at_ms: i64,
}
