//! How fast the sender tries again, and how long it relies on earlier attempts.

/// If the end of an insert is unknown and its batch is older than this, nova looks for its rows before it sends them
/// again, because the server may have forgotten the token.
pub const SAFE_HORIZON_MS: i64 = 30 * 60_000;

/// The longest time for which a proxy between nova and ClickHouse delays an insert. Before rows are sent in other
/// pieces than before, every attempt without an answer must be older: an insert that arrives later has another token
/// than the pieces, and its rows would be stored twice.
pub const HELD_MAX_MS: u64 = 15 * 60_000;

/// The pace at which the sender tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first and the last limit of the backoff. The wait is random between zero and a limit that doubles (full
    /// jitter).
    pub backoff_first_ms: u64,
    pub backoff_last_ms: u64,
    /// The pause between attempts on a table that stalls.
    pub stall_ms: u64,
    /// The age from which on nova looks for rows before it sends them again; see [`SAFE_HORIZON_MS`].
    pub safe_horizon_ms: i64,
    /// The longest delay by a proxy; see [`HELD_MAX_MS`].
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
