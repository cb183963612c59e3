//! All settings of nova and their default values.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::decode::KeepUnknown;
use crate::feed::settings::FeedSettings;
use crate::http::EdgeSettings;
use crate::otlp::OtlpSettings;
use crate::pipeline::TruncatePolicy;
use crate::source::postgres::net::SslMode;
use crate::state::CountedFrom;
use crate::state::ranking::Ranking;

/// All settings. The names of settings contain their units, and `None` means that a setting is unset.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub kafka_brokers: Option<String>,
    pub kafka_group_id: String,
    pub kafka_instance_id: Option<String>,
    pub kafka_replica: bool,
    pub topic_prefix: String,
    pub events_topic: String,
    pub kafka_security_protocol: Option<String>,
    pub kafka_sasl_mechanism: Option<String>,
    pub kafka_sasl_username: Option<String>,
    pub kafka_sasl_password: Option<String>,
    pub kafka_ssl_ca_location: Option<String>,
    pub postgres_url: Option<String>,
    pub postgres_password_file: Option<String>,
    pub postgres_ssl_mode: SslMode,
    pub postgres_ca_file: Option<String>,
    pub postgres_slot: String,
    pub postgres_publication: String,
    pub postgres_failover: bool,
    /// Whether nova reads all tables again if the replication slot is lost.
    pub postgres_resnapshot: bool,
    pub postgres_max_held_wal_mib: u32,
    pub registry_url: Option<String>,
    pub registry_user: Option<String>,
    pub registry_password: Option<String>,
    pub registry_ca_file: Option<String>,
    pub truncate: TruncatePolicy,
    pub placeholder: Option<String>,
    pub keep_unknown: KeepUnknown,
    pub connect_url: Option<String>,
    pub connector: String,
    pub clickhouse_url: Option<String>,
    pub clickhouse_database: String,
    pub clickhouse_user: Option<String>,
    pub clickhouse_password: Option<String>,
    pub clickhouse_password_file: Option<String>,
    pub clickhouse_ca_file: Option<String>,
    pub clickhouse_replicated: bool,
    pub clickhouse_cluster: Option<String>,
    pub clickhouse_outbox_max_mib: u32,
    pub redis_url: Option<String>,
    pub cache_listen: Option<SocketAddr>,
    pub cache_limit_mib: u32,
    pub dedup_horizon_hours: u16,
    pub feed: FeedSettings,
    pub ranking: Ranking,
    pub likes: CountedFrom,
    pub comments: CountedFrom,
    pub log_level: String,
    pub log_json: bool,
    pub log_requests: bool,
    /// The settings of tracing, which come from the environment variables that OpenTelemetry defines (`OTEL_…`).
    pub otlp: Option<OtlpSettings>,
    pub edge: EdgeSettings,
    /// Environment variables whose names begin with `NOVA_` but that belong to programs other than nova.
    pub foreign_variables: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: "./nova-data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            kafka_brokers: None,
            kafka_group_id: "nova".to_owned(),
            kafka_instance_id: None,
            kafka_replica: false,
            topic_prefix: "cdc".to_owned(),
            events_topic: "events".to_owned(),
            kafka_security_protocol: None,
            kafka_sasl_mechanism: None,
            kafka_sasl_username: None,
            kafka_sasl_password: None,
            kafka_ssl_ca_location: None,
            postgres_url: None,
            postgres_password_file: None,
            postgres_ssl_mode: SslMode::Prefer,
            postgres_ca_file: None,
            postgres_slot: "nova".to_owned(),
            postgres_publication: "nova".to_owned(),
            postgres_failover: true,
            postgres_resnapshot: false,
            postgres_max_held_wal_mib: 0,
            registry_url: None,
            registry_user: None,
            registry_password: None,
            registry_ca_file: None,
            truncate: TruncatePolicy::Quarantine,
            placeholder: None,
            keep_unknown: KeepUnknown::default(),
            connect_url: None,
            connector: "nova".to_owned(),
            clickhouse_url: None,
            clickhouse_database: "nova".to_owned(),
            clickhouse_user: None,
            clickhouse_password: None,
            clickhouse_password_file: None,
            clickhouse_ca_file: None,
            clickhouse_replicated: false,
            clickhouse_cluster: None,
            clickhouse_outbox_max_mib: 8_192,
            redis_url: None,
            cache_listen: None,
            cache_limit_mib: 128,
            dedup_horizon_hours: 24,
            feed: FeedSettings::default(),
            ranking: Ranking::DEFAULT,
            likes: CountedFrom::Cdc,
            comments: CountedFrom::Cdc,
            log_level: "info".to_owned(),
            log_json: false,
            log_requests: false,
            otlp: None,
            edge: EdgeSettings::default(),
            foreign_variables: Vec::new(),
        }
    }
}

/// Formats the configuration like `nova config`, which hides secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json().to_string())
    }
}
