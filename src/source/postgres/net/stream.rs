//! The replication stream of PostgreSQL over `pgwire-replication`.

use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent, ReplicationMetrics};

use crate::decode::pgoutput::EPOCH_OFFSET_US;
use crate::source::postgres::server::{Event, Failure, Stream};

use super::errors::refused;

/// How long the end of the stream waits until the connection is closed.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The replication stream of a slot.
pub struct SlotStream {
    client: ReplicationClient,
    metrics: Arc<ReplicationMetrics>,
}

impl SlotStream {
    pub(super) fn new(client: ReplicationClient) -> SlotStream {
        let metrics = client.metrics();
        SlotStream { client, metrics }
    }
}

fn event(event: ReplicationEvent) -> Event {
    match event {
        ReplicationEvent::Begin { final_lsn, commit_time_micros, .. } => {
            let commit_us = commit_time_micros.saturating_add(EPOCH_OFFSET_US);
            Event::Begin { commit_lsn: final_lsn.as_u64(), commit_us }
        }
        ReplicationEvent::XLogData { wal_start, data, .. } => Event::Change { lsn: wal_start.as_u64(), message: data },
        ReplicationEvent::Commit { lsn, end_lsn, .. } => Event::Commit { lsn: lsn.as_u64(), end_lsn: end_lsn.as_u64() },
        ReplicationEvent::Message { lsn, content, .. } => Event::Message { lsn: lsn.as_u64(), content },
        ReplicationEvent::KeepAlive { wal_end, .. } => Event::KeepAlive { wal_end: wal_end.as_u64() },
        ReplicationEvent::StoppedAt { .. } => Event::KeepAlive { wal_end: 0 },
    }
}

impl Stream for SlotStream {
    async fn next(&mut self) -> Result<Event, Failure> {
        match self.client.recv().await {
            Ok(Some(told)) => Ok(event(told)),
            Ok(None) => Err(Failure::Away("the server closed the stream".to_owned())),
            Err(error) => Err(refused(error)),
        }
    }

    fn next_at_once(&mut self) -> Option<Result<Event, Failure>> {
        let mut next = std::pin::pin!(self.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match next.as_mut().poll(&mut context) {
            std::task::Poll::Ready(told) => Some(told),
            std::task::Poll::Pending => None,
        }
    }

    fn acknowledge(&mut self, lsn: u64) {
        self.client.update_applied_lsn(Lsn::from_u64(lsn));
    }

    fn told(&self) -> u64 {
        self.metrics.last_applied_lsn().as_u64()
    }

    async fn close(mut self) {
        // The wait for the closed connection has a limit, because the server may no longer answer.
        let _ = tokio::time::timeout(CLOSE_MAX, self.client.shutdown()).await;
    }
}
