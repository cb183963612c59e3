//! The error for an operation that redb or the system refused.

use std::error::Error;
use std::fmt;
use std::io;

/// The text with which redb or the system refused an operation. If the system refused the operation, the source is the
/// system's error with its kind.
#[derive(Debug)]
pub struct StorageFailure {
    text: String,
    cause: Option<io::Error>,
}

impl StorageFailure {
    pub(crate) fn of(text: String, cause: Option<io::Error>) -> StorageFailure {
        StorageFailure { text, cause }
    }

    pub(crate) fn into_cause(self) -> Option<io::Error> {
        self.cause
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for StorageFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.cause.as_ref()?;
        Some(cause)
    }
}

impl From<&str> for StorageFailure {
    fn from(text: &str) -> StorageFailure {
        StorageFailure::of(text.to_owned(), None)
    }
}

impl From<io::Error> for StorageFailure {
    fn from(error: io::Error) -> StorageFailure {
        StorageFailure::of(error.to_string(), Some(error))
    }
}

impl From<redb::Error> for StorageFailure {
    fn from(error: redb::Error) -> StorageFailure {
        let text = error.to_string();
        StorageFailure::of(text, if let redb::Error::Io(cause) = error { Some(cause) } else { None })
    }
}
