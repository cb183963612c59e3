//! Writer schemas by their id: from a registry, from the file beside a capture, or none at all.

mod file;
mod http;
mod lookup;
mod parse;

pub use self::file::{FILE_SCHEMAS_MAX, FileSchemas, SchemasError};
pub use self::http::{HttpSchemas, RegistryError, RegistrySettings};
pub use self::lookup::{KnownSchemas, NoSchemas, SchemaLookup, Schemas};
