//! A cache with Redis commands: one trait with two implementations, a cache in the process (`Embedded`, the default)
//! and a cache in a Redis server (`redis::Redis`, feature `redis-cache`). Commands mean what Redis 7 documents at
//! <https://redis.io/docs/latest/commands/>. One conformance suite and one differential test check both
//! implementations.

mod command;
mod contract;
mod embedded;
mod error;
pub mod glob;
#[cfg(feature = "redis-cache")]
mod redis;
mod shard;
#[cfg(test)]
mod tests;
mod value;

pub use command::{Bound, Command, ExpireWhen, Expiry, Key, Members, Reply, SetOptions, Ttl, When, ZAddWhen};
pub use contract::{Cache, ScanPage, Stats};
pub use embedded::{DEFAULT_LIMIT_BYTES, Embedded};
pub use error::{CacheError, MAX_NAME_BYTES, MAX_NAMESPACES};
#[cfg(feature = "redis-cache")]
pub use redis::Redis;
