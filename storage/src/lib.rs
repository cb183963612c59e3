//! nova's redb file: every table in one place, codecs with a version byte, transactions. Knows nothing of Kafka, HTTP
//! or ClickHouse.
//!
//! `id` names things, `schema` lists the tables, `codec` writes and reads their values, `store` opens the file and
//! begins transactions, `error` says what can go wrong with each verb, `testing` crashes and breaks it on purpose.

pub mod codec;
pub mod error;
pub mod id;
pub mod schema;
pub mod store;
pub mod testing;

pub use error::{CopyError, OpenError, ReadError, WriteError};
pub use store::{Options, ReadTxn, Store, WriteTxn};
