//! The interface with which `decode` asks for a schema, and the possible answers.

use std::sync::Arc;

use apache_avro::Schema;

use crate::breaker::BreakerState;

/// A source of the schemas of Avro records.
pub trait Schemas: Send + Sync {
    /// Looks up a schema by its id. A lookup may take as long as the timeout of the implementation.
    fn schema(&self, id: u32) -> SchemaLookup;

    /// Looks up a schema without a request to the registry, so that the answer comes at once. A schema for which nova
    /// must ask the registry is unavailable.
    fn known(&self, id: u32) -> SchemaLookup {
        self.schema(id)
    }

    /// Returns the state of the registry's circuit breaker. Returns `None` if there is no registry.
    fn breaker(&self) -> Option<BreakerState> {
        None
    }
}

/// The result of the lookup of a schema.
#[derive(Clone, Debug)]
pub enum SchemaLookup {
    Found(Arc<Schema>),
    /// There is no schema with this id, and a repeated lookup would give the same result.
    Unknown,
    /// The schema exists, but no row can be read with it. The detail says why no row can be read.
    Unusable(String),
    /// The registry's answer is not known now, so the record must wait. The detail says in words for a person why the
    /// answer is not known.
    Unavailable(String),
}

/// The schemas that are known without a request to the registry.
pub struct KnownSchemas(pub Arc<dyn Schemas>);

impl Schemas for KnownSchemas {
    fn schema(&self, id: u32) -> SchemaLookup {
        self.0.known(id)
    }

    fn breaker(&self) -> Option<BreakerState> {
        self.0.breaker()
    }
}

/// The schemas of a node with neither a registry nor a file: every id is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unknown
    }
}
