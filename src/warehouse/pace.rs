//! How fast the sender tries again, and how long it relies on earlier attempts.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::breaker::BreakerSettings;

/// After this many failures in a row, nova makes one attempt a second until ClickHouse answers.
pub const FAILURES_TO_OPEN: u32 = 5;
pub(super) const BREAKER: BreakerSettings = BreakerSettings {
    failures_to_open: FAILURES_TO_OPEN,
    failures_to_pause: FAILURES_TO_OPEN,
    pauses: Backoff::always(Duration::from_secs(1)),
};

/// The smallest deduplication window with which nova sends rows to a table. With a smaller window, ClickHouse could
/// forget a token before its batch is acknowledged.
pub const WINDOW_MIN: u64 = 1_000;

/// If it is unknown how an insert ended and the batch is older than this, nova first looks whether the table has the
/// rows, because the server may have forgotten the token.
pub const SAFE_HORIZON_MS: i64 = 30 * 60_000;

/// If it is unknown how an insert ended and more inserts into its table began after it than this, nova first looks
/// whether the table has the rows. ClickHouse remembers the tokens of at least `WINDOW_MIN` inserts.
pub const OVERTAKEN_MAX: u64 = WINDOW_MIN / 2;

/// The longest time for which a proxy between nova and ClickHouse delays an insert. Before nova sends rows in new
/// pieces, every attempt without an answer must be older than this. An insert of a younger attempt could still arrive
/// with a different token than the pieces, and ClickHouse would store the rows twice.
pub const HELD_MAX_MS: u64 = 15 * 60_000;

/// The pace at which the sender tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The waits between attempts on a batch, with full jitter.
    pub backoff: Backoff,
    /// The pause between attempts on a table that stalls.
    pub stall_ms: u64,
    /// The age from which on nova looks for rows before it sends them again; see [`SAFE_HORIZON_MS`].
    pub safe_horizon_ms: i64,
    /// The number of later inserts from which on nova looks for rows before it sends them again; see [`OVERTAKEN_MAX`].
    pub overtaken_max: u64,
    /// The longest delay by a proxy; see [`HELD_MAX_MS`].
    pub held_max_ms: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            backoff: Backoff { first: Duration::from_millis(200), last: Duration::from_secs(30) },
            stall_ms: 5_000,
            safe_horizon_ms: SAFE_HORIZON_MS,
            overtaken_max: OVERTAKEN_MAX,
            held_max_ms: HELD_MAX_MS,
        }
    }
}
