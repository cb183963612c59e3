//! The errors of reading the outbox.

use nova_storage::ReadError;
use nova_storage::codec::CodecError;

/// The name of the outbox in errors of codecs.
pub(super) const WHAT: &str = "outbox";

/// The reason why the outbox cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// The counts of a table violate N3.
    #[error("the outbox of {table} does not balance: {emitted} rows emitted, {found} accounted for")]
    Imbalance { table: &'static str, emitted: u64, found: u64 },
}
