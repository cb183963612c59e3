//! Delivers every row to ClickHouse, so that each row has its effect exactly once.
//!
//! `rows` writes rows as RowBinary. The `outbox` collects rows in the writer's own commits and seals batches. The bytes
//! of a sealed batch never change, and its token contains a hash of its bytes (N8). The `sender` delivers sealed
//! batches, with one `task` for each table and one `delivery` for each batch that is being sent. The `troubles` of a
//! table are the table's batches whose last attempt failed. `native` writes a batch as the block that an insert sends.
//! `clickhouse` is the client with its fixed settings, `verdict` decides what an answer means, and `bisect` finds the
//! rows that a table refuses. All parts of the delivery, and the modules that report its state, share the `status`. The
//! breaker in the `status` stops requests to a server that does not answer. `migrate` applies `clickhouse/*.sql` in the
//! `layout` of one server or of a cluster, and `columns` has the columns for which the rows of a batch were written.
//! `lint` reports settings with which rows would be lost or stored twice, and `delivered` reads which rows of a store a
//! table has.
//!
//! The modules `target` and `wire` use no other module of the warehouse. `target` gives each table, and `wire` each
//! type of column, a number that never changes.

pub mod bisect;
pub mod clickhouse;
pub mod columns;
pub mod current;
pub mod delivered;
mod delivery;
mod finding;
pub mod layout;
pub mod lint;
pub mod live;
mod mark;
pub mod migrate;
pub mod native;
pub mod outbox;
mod pace;
mod present;
pub mod rows;
pub mod sender;
mod shared;
pub mod status;
mod target;
mod task;
mod troubles;
pub mod verdict;
pub mod views;
pub mod waited;
mod wire;

pub use self::target::{Target, VIEW_TARGETS};
pub use self::wire::Wire;
