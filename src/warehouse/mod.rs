//! Delivers every row to ClickHouse with the effect of exactly once.
//!
//! `rows` writes rows as RowBinary. The `outbox` collects them in the writer's own commits and seals batches: their
//! bytes never change again, and their token contains a hash of the bytes (N8). The `sender` delivers sealed batches,
//! with one `task` for each table. `clickhouse` is the client with its fixed settings, `verdict` says what an answer
//! means, `bisect` finds the rows that a table refuses, and the `breaker` stops requests to a server that does not
//! answer. `status` is shared by all of them and by everyone who watches. `migrate` applies `clickhouse/*.sql` in the
//! `layout` of one server or of a cluster, `columns` has the columns for which the rows of a batch were written, `lint`
//! reports settings that would lose or double rows, and `delivered` reads what a table has of a store.
//!
//! `target` and `wire` are at the bottom: they give each table and each type of column a number that never changes.

pub mod bisect;
pub mod breaker;
pub mod clickhouse;
pub mod columns;
pub mod current;
pub mod delivered;
mod finding;
pub mod layout;
pub mod lint;
pub mod live;
mod mark;
pub mod migrate;
pub mod outbox;
mod pace;
mod present;
pub mod rows;
pub mod sender;
mod shared;
pub mod status;
mod target;
mod task;
pub mod verdict;
pub mod views;
pub mod waited;
mod wire;

pub use self::target::{Target, VIEW_TARGETS};
pub use self::wire::Wire;
