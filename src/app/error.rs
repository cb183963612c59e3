//! The errors that keep nova from starting, or that make it end.

use std::path::PathBuf;

use nova_storage::{OpenError, ReadError};

use crate::cache::CacheError;
use crate::decode::{RegistryError, SchemasError};
use crate::http::{BindError, KeyError};
use crate::pipeline::compare::CompareError;
use crate::pipeline::ingest::IngestError;
use crate::pipeline::sent::SentError;
use crate::pipeline::writer::{RecoveryError, WriterError};
use crate::redis_port;
use crate::source::SourceError;
use crate::tls::TlsError;

/// The reason why nova cannot start, or has to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot make the data directory {path}: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Writer(#[from] WriterError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read {path}: {source}")]
    SchemasFile { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Schemas { path: PathBuf, source: SchemasError },
    #[error("the thread {0} ended unexpectedly; this is a defect of nova, nothing that was committed is lost")]
    Panicked(&'static str),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error(transparent)]
    Port(#[from] redis_port::BindError),
    #[error("{0}")]
    Registry(#[from] RegistryError),
    #[error("clickhouse: {0}")]
    ClickHouse(#[from] TlsError),
    #[error("whether events were sent already cannot be asked, so none is replayed by force: {0}")]
    Sent(#[from] SentError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("the runtime cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cache.redis_url: {0}")]
    Cache(#[from] CacheError),
    #[error("kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("cannot start the thread {name}: {source}")]
    Spawn { name: &'static str, source: std::io::Error },
}
