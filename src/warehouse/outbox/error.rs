//! Why the outbox cannot be read.

use nova_storage::ReadError;
use nova_storage::codec::CodecError;

/// The name of the outbox in the errors of codecs.
pub(super) const WHAT: &str = "outbox";

/// Why the outbox cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// N3 is violated.
    #[error("the outbox of {table} does not balance: {emitted} rows emitted, {found} accounted for")]
    Imbalance { table: &'static str, emitted: u64, found: u64 },
}
