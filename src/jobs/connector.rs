//! Asks Kafka Connect whether the connector runs.

use std::sync::Arc;
use std::time::Duration;

use crate::source::connect::ConnectorStatus;

use super::{CacheRefreshJob, Refreshing};

/// The interval. A connector that stands still is reported within a minute.
const TICK: Duration = Duration::from_secs(10);

/// Keeps the state of the connector fresh.
pub struct ConnectorWatch {
    pub status: Arc<ConnectorStatus>,
}

impl CacheRefreshJob for ConnectorWatch {
    fn name(&self) -> &'static str {
        "connector_watch"
    }

    fn interval(&self) -> Duration {
        TICK
    }

    /// The answer of Connect is never a failure of the job, whatever it says.
    fn refresh(&self, now_ms: i64) -> Refreshing {
        let status = Arc::clone(&self.status);
        Box::pin(async move {
            let standing = status.settings().standing().await;
            status.tell(standing, now_ms);
            Ok(())
        })
    }
}
