//! The clocks that decide what the dedup set forgets.

/// The clocks and limits that a commit uses to decide what the dedup set forgets.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The watermark over arrivals, epoch milliseconds: no partition will deliver an arrival below this time any more.
    pub watermark_ms: i64,
    /// The time of the node's clock, epoch milliseconds.
    pub now_ms: i64,
    /// The latest possible arrival, epoch milliseconds.
    pub latest_ms: i64,
    /// How long nova keeps an entry of the dedup set, milliseconds.
    pub horizon_ms: i64,
}
