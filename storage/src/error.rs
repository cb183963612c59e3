//! The errors of the store, one for each kind of operation: opening, reading, writing and copying. Each error of the
//! store has a variant for damage.

use std::io;

use crate::check::CheckError;
use crate::codec::CodecError;
use crate::failure::StorageFailure;
use crate::guard::Panicked;

/// The reason why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {path} is in use by another process; stop it first, or use another data directory")]
    InUse { path: String },
    #[error("the store {path} has format {found}, this build reads {known}: run the newer nova that wrote it")]
    Format { path: String, found: u8, known: u8 },
    #[error("the store {path} is damaged ({detail}): restore a backup, or move the file away and rebuild")]
    Damaged { path: String, detail: String },
    #[error("cannot open the store {path}: {source}")]
    Io { path: String, source: StorageFailure },
}

impl OpenError {
    pub(crate) fn of(path: &str, error: CheckError) -> OpenError {
        let path = path.to_owned();
        match error {
            CheckError::Damaged(detail) => OpenError::Damaged { path, detail },
            CheckError::InUse => OpenError::InUse { path },
            CheckError::Io(source) => OpenError::Io { path, source },
        }
    }
}

/// The reason why a read of the store failed. After a failed read the store must not be used any more, because its
/// answers could be wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the store is damaged ({0}): stop nova, then restore a backup, or move the file away and rebuild")]
    Damaged(String),
    #[error("reading the store failed: {0}")]
    Storage(#[source] StorageFailure),
    #[error("a stored value cannot be read: {0}")]
    Codec(#[from] CodecError),
}

impl From<ReadError> for StorageFailure {
    fn from(error: ReadError) -> StorageFailure {
        let text = error.to_string();
        StorageFailure::of(text, if let ReadError::Storage(failure) = error { failure.into_cause() } else { None })
    }
}

/// The reason why a write or a commit failed. The process must end. The next start has the whole transaction, if its
/// record in the commit log was durable before the failure, and otherwise nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the store is damaged ({0}): restore a backup, or move the file away and rebuild")]
    Damaged(String),
    #[error("writing the store failed: {0}; free disk space or check the disk, then start again: nothing is lost")]
    Storage(#[source] StorageFailure),
}

impl From<CodecError> for WriteError {
    fn from(error: CodecError) -> WriteError {
        WriteError::Damaged(error.to_string())
    }
}

/// Converts the error of a read, because a write may depend on a read.
impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> WriteError {
        match error {
            ReadError::Damaged(detail) => WriteError::Damaged(detail),
            ReadError::Storage(failure) => WriteError::Storage(failure),
            ReadError::Codec(error) => error.into(),
        }
    }
}

/// The reason why a store could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{path} is there already; choose another name or remove it")]
    Exists { path: String },
    #[error("cannot write {path}: {source}")]
    Io { path: String, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

macro_rules! storage_errors {
    ($target:ident: $($source:ty),+) => {
        impl From<Panicked> for $target {
            fn from(panicked: Panicked) -> $target {
                $target::Damaged(panicked.to_string())
            }
        }
        $(impl From<$source> for $target {
            fn from(error: $source) -> $target {
                match redb::Error::from(error) {
                    redb::Error::Corrupted(detail) => $target::Damaged(detail),
                    other => $target::Storage(other.into()),
                }
            }
        })+
    };
}

storage_errors!(ReadError: redb::StorageError, redb::TableError, redb::TransactionError);
storage_errors!(WriteError: redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError,
    redb::SetDurabilityError);

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_of_the_disk_keeps_its_kind_and_its_words() {
        let full = || redb::StorageError::Io(io::ErrorKind::StorageFull.into());
        let words = redb::Error::from(full()).to_string();
        let error = WriteError::from(ReadError::from(full()));
        assert!(error.to_string().contains(&words), "{error}");
        let failure = error.source().and_then(|failure| failure.source());
        let cause = failure.and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    }
}
