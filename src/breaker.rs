//! What the circuit breakers around everything remote have in common.

/// What the metric `circuit_breaker_state` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// The server is asked.
    Closed = 0,
    /// The server failed, and one trial is due or running.
    HalfOpen = 1,
    /// The server failed, and is not asked for a while.
    Open = 2,
}
