//! The errors of a cache, and the limits of names.

/// The maximum number of namespaces in one cache. The names of a cache's namespaces are in the code and do not come
/// from data.
pub const MAX_NAMESPACES: usize = 1024;
/// The maximum length in bytes of a key's name, and of a namespace's name.
pub const MAX_NAME_BYTES: usize = 4096;

/// Why a cache did not run a command. The first seven errors of the cache are errors of Redis, too.
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

/// The result of a command of the cache.
pub(super) type Outcome<T> = Result<T, CacheError>;
