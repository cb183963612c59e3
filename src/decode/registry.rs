//! Finds the schemas with which Avro records were written, by their ids. A node gets schemas from a registry or from
//! the file beside a capture, or it has no schemas.

mod file;
mod http;
mod lookup;
mod parse;

pub use self::file::{FILE_SCHEMAS_MAX, FileSchemas, SchemasError};
pub use self::http::{HttpSchemas, RegistryError, RegistrySettings};
pub use self::lookup::{KnownSchemas, NoSchemas, SchemaLookup, Schemas};
