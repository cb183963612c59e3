//! The question that `decode` asks about a schema, and the answer.

use std::sync::Arc;

use apache_avro::Schema;

use crate::breaker::BreakerState;

/// A source of the schemas of Avro records.
pub trait Schemas: Send + Sync {
    /// Looks up a schema. The call may take as long as the implementation's own timeout.
    fn schema(&self, id: u32) -> SchemaLookup;

    /// Looks up a schema without asking for it: the answer is there at once. A schema that must be asked for is
    /// unavailable.
    fn known(&self, id: u32) -> SchemaLookup {
        self.schema(id)
    }

    /// The state of the circuit breaker of the registry. `None` if there is no registry.
    fn breaker(&self) -> Option<BreakerState> {
        None
    }
}

/// The result of a lookup.
#[derive(Clone, Debug)]
pub enum SchemaLookup {
    Found(Arc<Schema>),
    /// There is no such id, and asking again will not change that.
    Unknown,
    /// The schema exists, but no row can be read with it. The detail says why.
    Unusable(String),
    /// The answer is not known now, so the record waits. The detail is for a person.
    Unavailable(String),
}

/// The schemas that are known without asking for them.
pub struct KnownSchemas(pub Arc<dyn Schemas>);

impl Schemas for KnownSchemas {
    fn schema(&self, id: u32) -> SchemaLookup {
        self.0.known(id)
    }

    fn breaker(&self) -> Option<BreakerState> {
        self.0.breaker()
    }
}

/// The schemas if there is no registry and no file: every id is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unknown
    }
}
