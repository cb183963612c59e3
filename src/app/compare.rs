//! Compares the stored rows with the rows in ClickHouse, and returns the result in the form of the API.

use nova_storage::Store;

use crate::http::shapes::{Comparison, Difference};
use crate::pipeline::compare;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::status::Status;

use super::error::AppError;

/// Compares the store's rows with the rows in ClickHouse. `delivers` says whether a node runs over the store. If a node
/// runs, the comparison waits until the node has delivered its rows.
pub async fn compare(
    store: &Store,
    status: &Status,
    clickhouse: &ClickHouse,
    delivers: bool,
) -> Result<Comparison, AppError> {
    let compare::Compared { findings, changing_hours } = compare::compare(store, status, clickhouse, delivers).await?;
    let told = |compare::Difference { code, detail, remedy }| Difference { code, detail, remedy };
    Ok(Comparison { findings: findings.into_iter().map(told).collect(), changing_hours })
}
