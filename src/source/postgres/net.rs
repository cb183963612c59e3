//! Talks to a real PostgreSQL server: SQL and COPY over `tokio-postgres`, the replication stream over
//! `pgwire-replication`. All connections to PostgreSQL run on the session's thread and in its runtime.

mod answer;
mod catalogue;
mod connect;
mod copy;
mod errors;
mod settings;
mod setup;
mod stream;
mod target;
mod tls;

use std::time::{Duration, Instant};

use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig};
use tokio_postgres::Client;

use crate::clock::{Clock as WallClock, monotonic_now};

use super::lsn::{branch_of, parse_lsn};
use super::server::{Clock, Failure, Made, Server};
use super::slot::{Published, Seen};

use self::answer::{within, within_all};
use self::connect::NO_TRANSACTION_TIMEOUT;
use self::copy::TableCopy;
use self::errors::refused;
pub use self::settings::{ConnectSettings, SslMode};
pub use self::setup::{Administrator, Refused};
use self::stream::SlotStream;
use self::target::{CONNECT_MAX, Target, session_options, targets};
pub use self::target::{role_of, split_ssl_mode, unknown_parameter, verifier};
use self::tls::{Tls, replication_tls};

/// How often nova asks the server which transactions delay a new slot.
const BLOCKED_EVERY: Duration = Duration::from_secs(5);
/// The longest message of the replication stream, in bytes; a message is a change of one row.
const MESSAGE_MAX_BYTES: usize = 64 << 20;
/// How often the store's position is reported to the PostgreSQL server.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// The maximum number of events that wait between the replication connection and the follower.
const EVENTS_MAX: usize = 8_192;

/// A connection of nova to a real PostgreSQL server.
pub struct NetServer {
    settings: ConnectSettings,
    target: Option<Target>,
    sql: Option<Client>,
    /// The connection whose transaction holds an open snapshot.
    reading: Option<Client>,
    /// The session that keeps a temporary slot, because the slot lasts only as long as this session.
    keeper: Option<ReplicationClient>,
    version: u32,
}

/// Checks whether the settings can be used, as far as nova can check that without a server.
pub fn check(settings: &ConnectSettings) -> Result<(), Failure> {
    Tls::new(settings.ssl_mode, settings.ca_file.as_deref())?;
    targets(settings).map(drop)
}

impl NetServer {
    pub fn new(settings: ConnectSettings) -> NetServer {
        NetServer { settings, target: None, sql: None, reading: None, keeper: None, version: 0 }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        (self.sql, self.target) = (None, None);
        let (client, target) = connect::primary(&self.settings).await?;
        (self.sql, self.target) = (Some(client), Some(target));
        Ok(())
    }

    async fn sql(&mut self) -> Result<&Client, Failure> {
        if self.sql.as_ref().is_none_or(Client::is_closed) {
            self.connect().await?;
        }
        self.sql.as_ref().ok_or_else(|| Failure::Away("not connected".to_owned()))
    }

    fn replication(&self) -> Result<ReplicationConfig, Failure> {
        let target = self.target.as_ref().ok_or_else(|| Failure::Away("not connected".to_owned()))?;
        let ConnectSettings { slot, publication, ssl_mode, ca_file, .. } = &self.settings;
        let config = &target.config;
        let (user, database) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
        let config = ReplicationConfig::new(
            target.host.as_str(),
            user,
            target.password.as_str(),
            database,
            slot.as_str(),
            publication.as_str(),
        );
        let unix = target.host.starts_with('/');
        let mode = if unix { SslMode::Disable } else { *ssl_mode };
        let tls = replication_tls(mode, ca_file.clone(), &target.host);
        Ok(config
            .with_port(target.port)
            .with_tls(tls)
            .with_options(session_options())
            .with_application_name("nova")
            .with_max_message_size(MESSAGE_MAX_BYTES)
            .with_status_interval(STATUS_EVERY)
            // The server asks for a status after a silence. The server's request for a status reveals a dead
            // connection. A periodic wake-up of the library would send a status before the server asks for one.
            .with_wakeup_interval(Duration::from_secs(3_600))
            .with_buffer_size(EVENTS_MAX))
    }

    /// Opens a replication session that does not stream yet, and checks that the session reaches the same server as the
    /// SQL connection.
    async fn gated(&self, config: ReplicationConfig, seen_system_id: u64) -> Result<ReplicationClient, Failure> {
        let connected = tokio::time::timeout(CONNECT_MAX, async {
            let mut client = ReplicationClient::connect_gated(config).await?;
            let identity = client.identify_system().await?;
            // Without `NO_TRANSACTION_TIMEOUT`, the role's `transaction_timeout` would also end a replication session
            // while it decodes a transaction.
            client.simple_query(&format!("SELECT {NO_TRANSACTION_TIMEOUT}")).await?;
            Ok::<_, PgWireError>((client, identity))
        });
        let (client, identity) = connected
            .await
            .map_err(|_| Failure::Away("the replication session does not answer".to_owned()))?
            .map_err(refused)?;
        if identity.system_id.parse() != Ok(seen_system_id) {
            let text = "the address leads to several servers: name the primary alone in postgres.url";
            return Err(Failure::Away(text.to_owned()));
        }
        Ok(client)
    }

    /// Checks whether a replication session can be opened. A pooler or a rule of `pg_hba.conf` may allow only SQL
    /// sessions.
    pub async fn try_replication(&mut self) -> Result<(), Failure> {
        let system_id = self.system_id().await?;
        self.gated(self.replication()?, system_id).await.map(drop)
    }

    async fn system_id(&mut self) -> Result<u64, Failure> {
        let client = self.sql().await?;
        let row = within(client.query_one("SELECT system_identifier::text FROM pg_control_system()", &[])).await?;
        row.get::<_, &str>(0).parse().map_err(|_| Failure::Away("no system identifier".to_owned()))
    }

    async fn made(&mut self, client: &mut ReplicationClient, temporary: bool) -> Result<(u64, String), Failure> {
        let name = if temporary { temporary_slot(&self.settings.slot) } else { self.settings.slot.clone() };
        let kind = if temporary { "TEMPORARY " } else { "" };
        let failover =
            if !temporary && self.settings.failover && self.version >= 17_00_00 { ", FAILOVER true" } else { "" };
        let sql = format!("CREATE_REPLICATION_SLOT {name} {kind}LOGICAL pgoutput (SNAPSHOT 'export'{failover})");
        let rows = client.simple_query(&sql).await.map_err(refused)?;
        let text = |index: usize| {
            let value = rows.first().and_then(|row| row.get(index)?.as_ref());
            value.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        match (text(1).and_then(|lsn| parse_lsn(&lsn)), text(2)) {
            (Some(consistent_lsn), Some(snapshot)) => Ok((consistent_lsn, snapshot)),
            _ => Err(Failure::Away("the server made a slot and did not say where".to_owned())),
        }
    }
}

/// Returns the name of the temporary slot for a snapshot of some tables. The name has at most 63 bytes, which is
/// PostgreSQL's limit.
fn temporary_slot(slot: &str) -> String {
    const SUFFIX: &str = "_tables";
    let kept = slot.len().min(63 - SUFFIX.len());
    format!("{}{SUFFIX}", &slot[..kept])
}

impl Server for NetServer {
    type Clock = SystemClock;
    type Stream = SlotStream;
    type Copy = TableCopy;

    fn clock(&self) -> SystemClock {
        SystemClock(monotonic_now(), WallClock::System)
    }

    async fn look(&mut self) -> Result<Seen, Failure> {
        let (slot, publication) = (self.settings.slot.clone(), self.settings.publication.clone());
        let seen = within_all(catalogue::look(self.sql().await?, &slot, &publication)).await;
        if seen.is_err() {
            self.sql = None;
        }
        let seen = seen?;
        self.version = seen.version;
        Ok(seen)
    }

    async fn branched_at(&mut self, timeline: u32, of: u32) -> Result<Option<u64>, Failure> {
        let system_id = self.system_id().await?;
        let mut client = self.gated(self.replication()?, system_id).await?;
        let history = client.timeline_history(of).await.map_err(refused)?;
        Ok(branch_of(&String::from_utf8_lossy(&history.content), timeline))
    }

    async fn drop_slot(&mut self) -> Result<(), Failure> {
        let slot = self.settings.slot.clone();
        let client = self.sql().await?;
        let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        within(client.query(sql, &[&slot])).await.map(drop)
    }

    async fn make_slot(&mut self, temporary: bool, told: impl Fn(String)) -> Result<Made, Failure> {
        let system_id = self.system_id().await?;
        let mut client = self.gated(self.replication()?, system_id).await?;
        let target = self.target.clone();
        let tls = Tls::new(self.settings.ssl_mode, self.settings.ca_file.as_deref())?;
        let watching = async {
            let Some(target) = &target else { return std::future::pending().await };
            loop {
                tokio::time::sleep(BLOCKED_EVERY).await;
                if let Ok((sql, _)) = connect::open(target, &tls).await {
                    told(catalogue::blockers(&sql).await);
                }
            }
        };
        let (consistent_lsn, snapshot) = tokio::select! {
            made = self.made(&mut client, temporary) => made?,
            () = watching => return Err(Failure::Away("not connected".to_owned())),
        };
        let Some(target) = &target else { return Err(Failure::Away("not connected".to_owned())) };
        let (reading, _) = connect::open(target, &tls).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
            snapshot.replace('\'', "''")
        );
        within(reading.batch_execute(&begin)).await?;
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
        let at_us = within(reading.query_one(sql, &[])).await?.get(0);
        self.reading = Some(reading);
        // The snapshot lives in the SQL transaction that took it. Only a temporary slot needs the replication session
        // that made it.
        self.keeper = temporary.then_some(client);
        Ok(Made { consistent_lsn, at_us })
    }

    async fn copy(&mut self, table: &Published) -> Result<TableCopy, Failure> {
        let client = self.reading.as_ref().ok_or_else(|| Failure::Away("no snapshot is open".to_owned()))?;
        TableCopy::begin(client, table).await
    }

    async fn end_snapshot(&mut self) {
        // The assignment drops the connection with the snapshot and the session with the temporary slot.
        (self.reading, self.keeper) = (None, None);
    }

    async fn start(&mut self, from: u64, acknowledged: u64) -> Result<SlotStream, Failure> {
        let system_id = self.system_id().await?;
        let config = self.replication()?.with_start_lsn(Lsn::from_u64(from)).with_ack_lsn(Lsn::from_u64(acknowledged));
        let mut client = self.gated(config, system_id).await?;
        let started = tokio::time::timeout(CONNECT_MAX, async {
            client.start().await?;
            client.wait_started().await
        });
        started.await.map_err(|_| Failure::Away("the slot does not start".to_owned()))?.map_err(refused)?;
        Ok(SlotStream::new(client))
    }
}

/// The wall clock and the monotonic clock of the machine.
#[derive(Clone)]
pub struct SystemClock(Instant, WallClock);

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now_ms(&self) -> i64 {
        self.1.now_ms()
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_temporary_slot_fits() {
        assert_eq!(temporary_slot("nova"), "nova_tables");
        assert_eq!(temporary_slot(&"a".repeat(63)).len(), 63);
    }
}
