//! How fast the sender tries again, and how long it relies on earlier attempts.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::breaker::BreakerSettings;

/// After five failures in a row, nova makes one attempt a second until ClickHouse answers.
pub(super) const BREAKER: BreakerSettings =
    BreakerSettings { failures_to_open: 5, failures_to_pause: 5, pauses: Backoff::always(Duration::from_secs(1)) };

/// If it is unknown how an insert ended and the batch is older than this, nova first looks whether the table has the
/// rows, because the server may have forgotten the token.
pub const SAFE_HORIZON_MS: i64 = 30 * 60_000;

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
    /// The longest delay by a proxy; see [`HELD_MAX_MS`].
    pub held_max_ms: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            backoff: Backoff { first: Duration::from_millis(200), last: Duration::from_secs(30) },
            stall_ms: 5_000,
            safe_horizon_ms: SAFE_HORIZON_MS,
            held_max_ms: HELD_MAX_MS,
        }
    }
}
