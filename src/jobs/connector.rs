//! The job that asks Kafka Connect whether the connector runs.

use std::sync::Arc;
use std::time::Duration;

use crate::source::connect::ConnectorStatus;

use super::{CacheRefreshJob, Refreshing};

/// The interval. The interval of the requests to Kafka Connect. The interval is short enough to report a stopped
/// connector within about a minute.
const TICK: Duration = Duration::from_secs(10);

/// The job that asks Kafka Connect for the state of the connector.
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

    /// No answer of Kafka Connect makes the job fail.
    fn refresh(&self, now_ms: i64) -> Refreshing {
        let status = Arc::clone(&self.status);
        Box::pin(async move {
            let standing = status.settings().standing().await;
            status.tell(standing, now_ms);
            Ok(())
        })
    }
}
