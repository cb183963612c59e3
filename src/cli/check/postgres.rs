//! PostgreSQL itself: the findings of `/health/ready`, and whether a replication session can be had.

use crate::source::postgres::finding;
use crate::source::postgres::fitness;
use crate::source::postgres::net::NetServer;
use crate::source::postgres::server::{Failure, Server as _};
use crate::source::postgres::session::PostgresSettings;

use super::Finding;

pub(super) async fn findings(settings: &PostgresSettings) -> Vec<Finding> {
    let mut server = NetServer::new(settings.connect.clone());
    let looked = async {
        let seen = server.look().await?;
        let around = server.around().await?;
        Ok::<_, Failure>((seen, around))
    };
    let mut found = match looked.await {
        Ok((seen, around)) => {
            fitness::findings_around(&seen, &around, &settings.follow.slot, &settings.follow.publication)
        }
        Err(failure) => return vec![told(failure.finding())],
    };
    // A role without the right gets no session, and the findings say that already.
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
