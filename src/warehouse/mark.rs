//! What the outbox remembers of a batch that was delivered, so that the `lint` can look for it.

/// A batch that `post_events` has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub batch: u64,
    /// The partition value of its rows.
    pub partition: u32,
    /// Of the acknowledgement, epoch milliseconds.
    pub at_ms: i64,
}
