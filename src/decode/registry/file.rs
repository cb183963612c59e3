//! Reads the schemas of a capture from the file that lies beside it.

use std::sync::Arc;

use apache_avro::Schema;
use rustc_hash::FxHashMap;

use super::lookup::{SchemaLookup, Schemas};
use super::parse::parse_schema;

/// The maximum number of schemas that a file may have.
pub const FILE_SCHEMAS_MAX: usize = 10_000;

/// The reason for which a file `NAME.schemas.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemasError {
    #[error("not a schemas file, expected {{\"schemas\": {{\"1\": …}}}}: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("schema id `{0}` is not a number of 32 bits")]
    Id(String),
    #[error("schema {id} is not Avro: {detail}")]
    Schema { id: u32, detail: String },
    #[error("{0} schemas, at most {FILE_SCHEMAS_MAX} are taken")]
    TooMany(usize),
}

/// The schemas that a capture's file `NAME.schemas.json` has: `{"schemas": {"1": {…}}}`.
#[derive(Clone, Debug, Default)]
pub struct FileSchemas {
    schemas: FxHashMap<u32, Arc<Schema>>,
}

impl FileSchemas {
    /// Parses the content of a file `NAME.schemas.json`.
    pub fn parse(text: &str) -> Result<FileSchemas, SchemasError> {
        #[derive(serde::Deserialize)]
        struct File {
            schemas: std::collections::BTreeMap<String, serde_json::Value>,
        }
        let file: File = serde_json::from_str(text)?;
        if file.schemas.len() > FILE_SCHEMAS_MAX {
            return Err(SchemasError::TooMany(file.schemas.len()));
        }
        let mut schemas = FxHashMap::default();
        for (name, schema) in file.schemas {
            let id = name.parse().map_err(|_| SchemasError::Id(name))?;
            let schema = parse_schema(&schema).map_err(|detail| SchemasError::Schema { id, detail })?;
            schemas.insert(id, Arc::new(schema));
        }
        Ok(FileSchemas { schemas })
    }
}

impl Schemas for FileSchemas {
    fn schema(&self, id: u32) -> SchemaLookup {
        self.schemas.get(&id).map_or(SchemaLookup::Unknown, |schema| SchemaLookup::Found(Arc::clone(schema)))
    }
}
