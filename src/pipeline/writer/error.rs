//! The errors with which the writer ends.

use nova_storage::{ReadError, WriteError};

use crate::event::{Table, TopicPartition};
use crate::warehouse::outbox::OutboxError;

/// The error with which the writer ended. After an error of the writer, nothing of the present batch is durable, and
/// the process must end.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] nova_storage::codec::CodecError),
    #[error(transparent)]
    Prune(#[from] crate::source::local::PruneError),
    /// Rule N2 is violated, which is a defect of nova. nova does not commit a batch whose counts do not add up.
    #[error(
        "{partition}: {consumed} records consumed, but their outcomes add up to another number; nothing was committed"
    )]
    Imbalance { partition: TopicPartition, consumed: u64 },
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("{0} was read directly 65535 times, and its version has no room for another: begin with another store")]
    Epochs(Table),
}
