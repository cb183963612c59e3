//! Asks Kafka Connect whether the connector runs.

use std::sync::Arc;
use std::time::Duration;

use crate::source::connect::ConnectorStatus;

use super::{CacheRefreshJob, Refreshing};

/// A connector that stands is told within a minute.
const TICK: Duration = Duration::from_secs(10);

/// Keeps what is known of the connector fresh.
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

    /// What Connect says is no failure of the job, whatever it is.
    fn refresh(&self, now_ms: i64) -> Refreshing {
        let status = Arc::clone(&self.status);
        Box::pin(async move {
            let standing = status.settings().standing().await;
            status.tell(standing, now_ms);
            Ok(())
        })
    }
}
