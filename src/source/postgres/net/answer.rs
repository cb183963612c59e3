//! Waits for answers of a PostgreSQL server with a time limit.

use std::time::Duration;

use crate::source::postgres::server::Failure;

use super::errors::failed;

/// How long nova waits for an answer about the server, the slot or the publication.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Waits for the answers to several queries, with the time limit of a single query.
pub(super) async fn within_all<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::Away(format!("no answer within {} s", ANSWER_MAX.as_secs()));
    tokio::time::timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| Err(late()))
}

/// Waits for the answer to one query, with a time limit.
pub(super) async fn within<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
    within_all(async { answer.await.map_err(|error| failed(&error)) }).await
}
