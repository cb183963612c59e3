//! Opens a connection for SQL to the first host of the address that is a primary.

use tokio_postgres::Client;

use crate::source::postgres::server::Failure;

use super::answer::within;
use super::errors::hinted;
use super::settings::ConnectSettings;
use super::target::{Target, targets};
use super::tls::Tls;

/// A `transaction_timeout` of the role would end each copy that takes longer. Only PostgreSQL 17 and later know
/// `transaction_timeout`, and an older server refuses a session whose options name it.
pub(super) const NO_TRANSACTION_TIMEOUT: &str = "CASE WHEN current_setting('server_version_num')::int4 >= 170000 \
                                      THEN set_config('transaction_timeout', '0', false) END";

/// Connects to the first host that is a primary. If no host is a primary, nova connects to a standby, so that the
/// standby can be reported.
pub(super) async fn primary(settings: &ConnectSettings) -> Result<(Client, Target), Failure> {
    let tls = Tls::new(settings.ssl_mode, settings.ca_file.as_deref())?;
    let (mut last, mut standby) = (None, None);
    for target in targets(settings)? {
        match open(&target, &tls).await {
            Ok((client, false)) => return Ok((client, target)),
            Ok((client, true)) => standby = Some((client, target)),
            Err(failure) => last = Some(failure),
        }
    }
    standby.ok_or_else(|| last.unwrap_or_else(|| Failure::Away("no host".to_owned())))
}

/// Opens a connection to a PostgreSQL server. Returns the connection, and whether the server is a standby.
pub(super) async fn open(target: &Target, tls: &Tls) -> Result<(Client, bool), Failure> {
    let client = match tls.connect(&target.config, &target.host).await {
        Ok(client) => client,
        Err(failure) => return Err(hinted(failure, target).await),
    };
    let sql = format!("SELECT pg_is_in_recovery(), {NO_TRANSACTION_TIMEOUT}");
    let row = within(client.query_one(&sql, &[])).await?;
    Ok((client, row.get(0)))
}
