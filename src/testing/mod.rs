//! A nova for tests: the real server, completely in memory, whose clock stands still until a test moves it.
//!
//! ```
//! use nova::testing::{TestNova, json};
//! use std::time::Duration;
//!
//! let (ada, ben) = ("0193a5f0-c2d1-7e2c-9f0e-00000000000a", "0193a5f0-c2d1-7e2c-9f0e-00000000000b");
//! let post = "0193a5f0-c2d1-7e2c-9f0e-000000000001";
//! let nova = TestNova::start();
//! nova.rows(json!({
//!     "users": [{ "id": ada, "username": "ada" }, { "id": ben, "username": "ben" }],
//!     "follows": [{ "follower_id": ada, "following_id": ben }],
//!     "posts": [{ "id": post, "user_id": ben }],
//! }));
//! assert_eq!(nova.feed(ada), [post]);
//!
//! nova.events(ada, json!([{ "post_id": post, "action": "share", "event_time": nova.now_ms() }]));
//! assert_eq!(nova.trending("24h"), [post]);
//! nova.advance(Duration::from_secs(25 * 3_600));
//! assert!(nova.trending("24h").is_empty());
//!
//! nova.reset();
//! assert!(nova.feed(ada).is_empty());
//! ```
//!
//! A service under test needs only [`TestNova::url`] and a [`TestNova::token`]. The command `nova test` runs this
//! server for tests in languages other than Rust (`docs/testing-with-nova.md`).

mod client;
mod counted;
mod felt;
pub(crate) mod ground;
pub(crate) mod hosted;
mod log;
mod retired;
pub(crate) mod seed;
mod stand_in;
mod test_nova;
mod waits;

pub use serde_json::{Value, json};

pub use self::test_nova::{Builder, StartFailed, TestNova};
