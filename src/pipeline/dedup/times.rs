//! The clocks that decide what the dedup set forgets.

/// The clocks of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The arrival below which no partition will deliver any more, epoch milliseconds.
    pub watermark_ms: i64,
    /// The node's clock.
    pub now_ms: i64,
    /// The latest arrival that there can be.
    pub latest_ms: i64,
    /// How long an entry stays.
    pub horizon_ms: i64,
}
