//! Compares the stored rows with ClickHouse, and gives the result as the API shows it.

use nova_storage::Store;

use crate::http::shapes::{Comparison, Difference};
use crate::pipeline::compare;
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::status::Status;

use super::error::AppError;

/// Compares the store with ClickHouse. `delivers` says that a node runs over the store; then the comparison waits for
/// its deliveries.
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
