//! What decode asks for a schema, and what it is told.

use std::sync::Arc;

use apache_avro::Schema;

use crate::breaker::BreakerState;

/// Where the schemas of Avro records come from.
pub trait Schemas: Send + Sync {
    /// May take as long as the implementation's own timeout.
    fn schema(&self, id: u32) -> SchemaLookup;

    /// Whether a registry is being asked; `None` where there is none to ask.
    fn breaker(&self) -> Option<BreakerState> {
        None
    }
}

/// What is known of a schema id.
#[derive(Clone, Debug)]
pub enum SchemaLookup {
    Found(Arc<Schema>),
    /// There is no such id, and asking again will not change it.
    Unknown,
    /// There is one, and no row can be read with it. The detail says why.
    Unusable(String),
    /// It cannot be told now; the record waits. The detail is for a person.
    Unavailable(String),
}

/// No registry and no file: every id is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn schema(&self, _: u32) -> SchemaLookup {
        SchemaLookup::Unknown
    }
}
