//! nova's redb file: every table in one place, codecs with a version byte, and transactions. The crate `nova-storage`
//! does not depend on Kafka, HTTP or ClickHouse.
//!
//! `id` has the identifiers, `schema` lists the tables, and `codec` writes and reads the values of the tables. `store`
//! opens the file and begins transactions. `error` has one error for each kind of operation, and `testing` simulates
//! crashes and damage of the file.
//!
//! `write` has the write transactions. `commit_log` keeps small commits, and `changes` are the changes of a commit as
//! bytes.
//!
//! Damage is found in three places: `check` checks every page, `mark` knows which commits were durable, and `guard`
//! turns panics of redb into errors. `disk` is the file below redb, `memory` is a file in memory, `file` makes files,
//! `copy` copies a store, and `seal` has the manifest of a backup.

mod changes;
mod check;
pub mod codec;
mod commit_log;
mod copy;
mod disk;
pub mod error;
mod failure;
pub mod file;
mod guard;
pub mod id;
mod mark;
pub mod memory;
pub mod schema;
pub mod seal;
pub mod store;
pub mod testing;
mod write;

pub use check::Checked;
pub use copy::{Copied, remove_leftovers};
pub use error::{CopyError, OpenError, ReadError, WriteError};
pub use failure::StorageFailure;
pub use seal::{SealError, Sealed, verify_seal};
pub use store::{CheckLimits, FORMAT, Options, ReadTxn, Store, verify};
pub use write::WriteTxn;
