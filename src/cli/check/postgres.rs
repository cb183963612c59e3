//! Checks the PostgreSQL server: makes the findings of `/health/ready`, and tries to open a replication session.

use crate::source::postgres::finding;
use crate::source::postgres::fitness;
use crate::source::postgres::net::NetServer;
use crate::source::postgres::server::Server as _;
use crate::source::postgres::session::PostgresSettings;

use super::finding::Finding;

pub(super) async fn findings(settings: &PostgresSettings) -> Vec<Finding> {
    let mut server = NetServer::new(settings.connect.clone());
    let mut found = match server.look().await {
        Ok(seen) => fitness::findings(&seen, &settings.follow.slot, &settings.follow.publication),
        Err(failure) => return vec![told(failure.finding())],
    };
    // A role without the right to replication gets no session, and the findings already report this.
    if !found.iter().any(|one| one.code == finding::Code::NoReplicationRight)
        && let Err(failure) = server.try_replication().await
    {
        let failed = failure.finding();
        if !found.iter().any(|one| one.code == failed.code) {
            found.insert(0, failed);
        }
    }
    found.into_iter().map(told).collect()
}

fn told(finding: finding::Finding) -> Finding {
    Finding::new(finding.code.name(), finding.detail, finding.remedy)
}
