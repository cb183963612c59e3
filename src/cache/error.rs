//! Why a cache refuses a command, and the limits of names and values.

/// The limit of namespaces in one cache. Code and not data names the namespaces.
pub const MAX_NAMESPACES: usize = 1024;
/// The limit of a key's name and of a namespace's name, in bytes.
pub const MAX_NAME_BYTES: usize = 4096;

/// Why a command did nothing. The first seven errors are Redis' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("value is not an integer or out of range")]
    NotAnInteger,
    #[error("hash value is not an integer")]
    HashNotAnInteger,
    #[error("increment or decrement would overflow")]
    Overflow,
    #[error("value is not a valid float")]
    NotAFloat,
    #[error("resulting score is not a number (NaN)")]
    NotANumber,
    #[error("invalid expire time")]
    InvalidExpiry,
    #[error("the value is larger than the part of the cache that would hold it")]
    TooLarge,
    #[error("a name is too long, a plain name starts with nova:ns: or nova:gen:, or a namespace has no name")]
    InvalidKey,
    #[error("more than {MAX_NAMESPACES} namespaces")]
    TooManyNamespaces,
    #[error("the cache server cannot be used: {0}")]
    Unavailable(String),
}

/// The result of a command.
pub(super) type Outcome<T> = Result<T, CacheError>;
