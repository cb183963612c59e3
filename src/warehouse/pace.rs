//! How fast the sender tries again, and how long it relies on what it sent before.

/// An insert whose end is not known, of a batch older than this, is looked for before it is sent again: the server may
/// have forgotten its token.
pub const SAFE_HORIZON_MS: i64 = 30 * 60_000;

/// A proxy between nova and ClickHouse holds an insert back for no longer. Before rows go out in other pieces than they
/// did, every attempt without an answer is older: what lands later has another token than the pieces, and would be there
/// twice if the table took it.
pub const HELD_MAX_MS: u64 = 15 * 60_000;

/// How fast the sender tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Full jitter between zero and a bound that doubles from the first to the last.
    pub backoff_first_ms: u64,
    pub backoff_last_ms: u64,
    /// Between attempts on a table that stalls.
    pub stall_ms: u64,
    /// See [`SAFE_HORIZON_MS`].
    pub safe_horizon_ms: i64,
    /// See [`HELD_MAX_MS`].
    pub held_max_ms: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            backoff_first_ms: 200,
            backoff_last_ms: 30_000,
            stall_ms: 5_000,
            safe_horizon_ms: SAFE_HORIZON_MS,
            held_max_ms: HELD_MAX_MS,
        }
    }
}
