//! Turns the bytes of a record into facts. The module does no I/O except to look up a schema, and never panics.
//!
//! `decoder` chooses by the topic which reader reads a record. `json`, `avro` and `replicated` read the three encodings
//! of changes, and `client` reads events. `debezium` interprets a message, `image` collects the row of a message, and
//! `values` makes cells. The modules that read and interpret records use `said` (what a record says), `fault` (why a
//! record is a dead letter) and `raw` (a scalar of any encoding). `letter` makes the bytes of dead letters with
//! `private`, which knows the columns that nobody may see.

#![warn(clippy::indexing_slicing)]

mod avro;
pub mod client;
mod confluent;
mod copy;
mod debezium;
mod decoder;
mod facts;
mod fault;
mod headers;
mod image;
mod json;
mod kept;
mod length;
mod letter;
pub mod origin;
pub mod pgoutput;
mod pgtext;
mod placeholder;
mod private;
mod raw;
mod registry;
mod replicated;
mod said;
mod schema;
mod shape;
pub mod time;
mod topics;
mod units;
mod values;
pub(crate) mod whole;

pub use self::confluent::schema_id;
pub(crate) use self::debezium::SCHEMA_MISMATCH;
pub use self::decoder::{Decoder, TOPICS_MAX};
pub use self::facts::facts;
pub use self::fault::DETAIL_MAX_BYTES;
pub use self::kept::KeepUnknown;
pub use self::length::RECORD_MAX_BYTES;
pub use self::letter::Part;
pub use self::placeholder::{DEFAULT_PLACEHOLDER, SHIPPED_PLACEHOLDER};
pub use self::private::is_private;
pub use self::registry::{
    FILE_SCHEMAS_MAX, FileSchemas, HttpSchemas, NoSchemas, RegistryError, RegistrySettings, SchemaLookup, Schemas,
    SchemasError,
};
pub use self::replicated::changes_key;
pub use self::schema::SchemaMismatch;
pub use self::topics::Topics;

#[cfg(test)]
mod tests;
