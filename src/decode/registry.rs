//! Finds the schemas with which Avro records were written, by their ids: in a registry, in the file beside a capture,
//! or not at all.

mod file;
mod http;
mod lookup;
mod parse;

pub use self::file::{FILE_SCHEMAS_MAX, FileSchemas, SchemasError};
pub use self::http::{HttpSchemas, RegistryError, RegistrySettings};
pub use self::lookup::{KnownSchemas, NoSchemas, SchemaLookup, Schemas};
