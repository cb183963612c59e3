//! The clocks that decide what the dedup set forgets.

/// The clocks of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// No partition will deliver an arrival below this time any more, epoch milliseconds.
    pub watermark_ms: i64,
    /// The node's clock, epoch milliseconds.
    pub now_ms: i64,
    /// The latest possible arrival, epoch milliseconds.
    pub latest_ms: i64,
    /// How long an entry is kept, milliseconds.
    pub horizon_ms: i64,
}
