//! Everything that happens goes to ClickHouse, each row with the effect of exactly once.
//!
//! `rows` writes rows as RowBinary. The `outbox` collects them in the writer's own commits and seals batches: bytes that
//! never change again, under a token that contains their hash (N8). The `sender` delivers sealed batches, one `task` a
//! table: `clickhouse` is the client with its pinned settings, `verdict` says what an answer means, `bisect` finds the
//! rows that a table refuses, the `breaker` leaves a server alone that is away. `status` is what all of them, and
//! everyone who watches, share. `migrate` applies `clickhouse/*.sql` in the `layout` of one server or of a cluster,
//! `columns` says under which columns the rows of a batch were written, `lint` tells what would lose or double rows,
//! `delivered` what a table has of a store.
//!
//! `target` and `wire` stand lowest: each table and each type of column has a number there that never changes.

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
