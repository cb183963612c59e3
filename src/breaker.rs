//! What the circuit breakers around everything remote have in common.

/// What the metric `circuit_breaker_state` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// It is asked.
    Closed = 0,
    /// It failed, and one trial is due or under way.
    HalfOpen = 1,
    /// It failed, and is left alone for a while.
    Open = 2,
}
