//! Every key: where it stands, what it means, how it is set and shown.

use toml::Value;

use crate::decode::KeepUnknown;
use crate::pipeline::TruncatePolicy;
use crate::state::CountedFrom;

use super::settings::Config;
use super::text::{address, filled, hidden, list, optional, shown, texts, url};

/// One key.
pub(super) struct Field {
    pub section: &'static str,
    pub key: &'static str,
    pub help: &'static str,
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    pub get: fn(&Config) -> Value,
}

/// A text that must not be empty.
macro_rules! text {
    ($section:literal, $key:literal, $member:ident, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$member = filled(text)?;
                Ok(())
            },
            get: |config| Value::from(config.$member.as_str()),
        }
    };
}

/// A text that may be unset, parsed by `$parse` and shown by `$show`.
macro_rules! option {
    ($section:literal, $key:literal, $member:ident, $show:ident, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$member = optional(text);
                Ok(())
            },
            get: |config| $show(&config.$member),
        }
    };
}

macro_rules! address {
    ($section:literal, $key:literal, $member:ident, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$member = url(text)?;
                Ok(())
            },
            get: |config| shown(&config.$member),
        }
    };
}

macro_rules! number {
    ($section:literal, $key:literal, $($member:ident).+, $range:expr, $expected:literal, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$($member).+ = text.parse().ok().filter(|number| $range.contains(number)).ok_or($expected)?;
                Ok(())
            },
            get: |config| Value::from(i64::from(config.$($member).+)),
        }
    };
}

macro_rules! flag {
    ($section:literal, $key:literal, $($member:ident).+, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$($member).+ = text.parse().map_err(|_| "expected true or false".to_owned())?;
                Ok(())
            },
            get: |config| Value::from(config.$($member).+),
        }
    };
}

/// What says that somebody liked or commented.
macro_rules! counted {
    ($key:literal, $member:ident, $help:literal) => {
        Field {
            section: "engagement",
            key: $key,
            help: $help,
            set: |config, text| {
                config.$member = match text {
                    "cdc" => CountedFrom::Cdc,
                    "events" => CountedFrom::Events,
                    _ => return Err("expected cdc or events".to_owned()),
                };
                Ok(())
            },
            get: |config| Value::from(if config.$member == CountedFrom::Cdc { "cdc" } else { "events" }),
        }
    };
}

/// In the order of `nova config --default`; the keys of a section stand together.
pub(super) const FIELDS: &[Field] = &[
    Field {
        section: "store",
        key: "data_dir",
        help: "Where the store is.",
        set: |config, text| {
            config.data_dir = filled(text)?.into();
            Ok(())
        },
        get: |config| Value::from(config.data_dir.display().to_string()),
    },
    Field {
        section: "http",
        key: "listen",
        help: "Address and port of the API; :8080 stands for every address of IPv4.",
        set: |config, text| {
            config.listen = address(text)?;
            Ok(())
        },
        get: |config| Value::from(config.listen.to_string()),
    },
    option!(
        "kafka",
        "brokers",
        kafka_brokers,
        shown,
        "Bootstrap servers, host:port with commas. Unset: the local log."
    ),
    text!("kafka", "group_id", kafka_group_id, "Consumer group; it belongs to one store."),
    option!("kafka", "instance_id", kafka_instance_id, shown, "group.instance.id. Unset: made from the store's id."),
    flag!(
        "kafka",
        "replica",
        kafka_replica,
        "Reads what another node reads, in a group of its own made from group_id, and sends no rows: true or false."
    ),
    text!("kafka", "topic_prefix", topic_prefix, "Changes are on {prefix}.{table}."),
    text!("kafka", "events_topic", events_topic, "Client events."),
    option!(
        "kafka",
        "security_protocol",
        kafka_security_protocol,
        shown,
        "plaintext, ssl, sasl_plaintext or sasl_ssl."
    ),
    option!("kafka", "sasl_mechanism", kafka_sasl_mechanism, shown, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."),
    option!("kafka", "sasl_username", kafka_sasl_username, shown, "For SASL."),
    option!("kafka", "sasl_password", kafka_sasl_password, hidden, "For SASL."),
    option!("kafka", "ssl_ca_location", kafka_ssl_ca_location, shown, "File of the brokers' certificate authority."),
    address!("registry", "url", registry_url, "Schema Registry, for topics in Avro."),
    option!("registry", "user", registry_user, shown, "For basic authentication."),
    option!("registry", "password", registry_password, hidden, "For basic authentication."),
    option!("registry", "ca_file", registry_ca_file, shown, "PEM file of its authority. Unset: the machine's."),
    Field {
        section: "cdc",
        key: "truncate",
        help: "What a truncate of a source table does: quarantine, apply or ignore.",
        set: |config, text| {
            config.truncate = match text {
                "quarantine" => TruncatePolicy::Quarantine,
                "apply" => TruncatePolicy::Apply,
                "ignore" => TruncatePolicy::Ignore,
                _ => return Err("expected quarantine, apply or ignore".to_owned()),
            };
            Ok(())
        },
        get: |config| {
            Value::from(match config.truncate {
                TruncatePolicy::Quarantine => "quarantine",
                TruncatePolicy::Apply => "apply",
                TruncatePolicy::Ignore => "ignore",
            })
        },
    },
    option!(
        "cdc",
        "placeholder",
        placeholder,
        shown,
        "The connector's unavailable.value.placeholder. Unset: Debezium's, and that of deploy/debezium."
    ),
    Field {
        section: "cdc",
        key: "keep_unknown",
        help: "Columns that nova does not know and keeps: all of a table, such as posts, or one, such as users.locale.",
        set: |config, text| {
            config.keep_unknown = KeepUnknown::parse(&list(text)?)?;
            Ok(())
        },
        get: |config| texts(config.keep_unknown.entries()),
    },
    address!(
        "cdc",
        "connect_url",
        connect_url,
        "Kafka Connect's REST API: nova asks it every 10 s whether cdc.connector runs, and nova check looks at its settings."
    ),
    text!("cdc", "connector", connector, "The connector's name there."),
    address!("clickhouse", "url", clickhouse_url, "HTTP interface of ClickHouse. Unset: analytics are off."),
    text!("clickhouse", "database", clickhouse_database, "Made if it is missing."),
    option!("clickhouse", "user", clickhouse_user, shown, "Unset: ClickHouse's default user."),
    option!("clickhouse", "password", clickhouse_password, hidden, "Of that user."),
    option!(
        "clickhouse",
        "password_file",
        clickhouse_password_file,
        shown,
        "Has it in its first line, instead; read for each request, so a rotated one needs no restart."
    ),
    option!("clickhouse", "ca_file", clickhouse_ca_file, shown, "PEM file of its authority. Unset: the machine's."),
    flag!(
        "clickhouse",
        "replicated",
        clickhouse_replicated,
        "Whether tables are made with Replicated engines: true or false. An existing database keeps its kind."
    ),
    Field {
        section: "clickhouse",
        key: "cluster",
        help: "Makes them ON CLUSTER of this name. Unset: on the server that is asked.",
        set: |config, text| {
            if text.contains(['\'', '\\']) {
                return Err("expected the name of a cluster, without quotes".to_owned());
            }
            config.clickhouse_cluster = optional(text);
            Ok(())
        },
        get: |config| shown(&config.clickhouse_cluster),
    },
    number!(
        "clickhouse",
        "outbox_max_mib",
        clickhouse_outbox_max_mib,
        (64..=1_048_576u32),
        "expected 64 to 1048576",
        "Consumption pauses while more than this waits for ClickHouse."
    ),
    Field {
        section: "cache",
        key: "redis_url",
        help: "Feeds, suggestions and trending are copied there, for other readers: redis://host:port.",
        set: |config, text| {
            if !text.is_empty() && !text.starts_with("redis://") {
                return Err("expected redis://host:port".to_owned());
            }
            if !text.is_empty() && cfg!(not(feature = "redis-cache")) {
                return Err(
                    "expected none: this nova was built with --no-default-features; add --features redis-cache"
                        .to_owned(),
                );
            }
            config.redis_url = optional(text);
            Ok(())
        },
        // May hold a password.
        get: |config| hidden(&config.redis_url),
    },
    Field {
        section: "cache",
        key: "listen",
        help: "Address and port for Redis clients: feeds, suggestions and trending as they are, and a cache. Unset: none.",
        set: |config, text| {
            config.cache_listen = if text.is_empty() { None } else { Some(address(text)?) };
            Ok(())
        },
        get: |config| Value::from(config.cache_listen.map(|addr| addr.to_string()).unwrap_or_default()),
    },
    number!(
        "cache",
        "limit_mib",
        cache_limit_mib,
        (16..=65_536u32),
        "expected 16 to 65536",
        "Memory of the cache behind cache.listen, in MiB; 16 to 65536. What is read least makes room."
    ),
    number!(
        "dedup",
        "horizon_hours",
        dedup_horizon_hours,
        (24..=720u16),
        "expected 24 to 720",
        "How long an event id is remembered; 24 to 720."
    ),
    flag!(
        "feed",
        "relaxed_spacing",
        feed.relaxed_spacing,
        "Goes on against the rules of spacing where they would end a feed: true or false."
    ),
    number!(
        "trending",
        "publish_ms",
        feed.trending_publish_ms,
        (100..=10_000u32),
        "expected 100 to 10000",
        "How often trending is published, milliseconds; 100 to 10000."
    ),
    counted!(
        "likes",
        likes,
        "What counts a like: cdc, the rows of likes, or events, one per user and post. A change takes nova rebuild."
    ),
    counted!("comments", comments, "What counts a comment: cdc, or events, one per event. The same holds."),
    Field {
        section: "log",
        key: "level",
        help: "error, warn, info, debug or trace.",
        set: |config, text| {
            if !["error", "warn", "info", "debug", "trace"].contains(&text) {
                return Err("expected error, warn, info, debug or trace".to_owned());
            }
            config.log_level = text.to_owned();
            Ok(())
        },
        get: |config| Value::from(config.log_level.as_str()),
    },
    Field {
        section: "log",
        key: "format",
        help: "text or json.",
        set: |config, text| {
            config.log_json = match text {
                "text" => false,
                "json" => true,
                _ => return Err("expected text or json".to_owned()),
            };
            Ok(())
        },
        get: |config| Value::from(if config.log_json { "json" } else { "text" }),
    },
    flag!(
        "log",
        "requests",
        log_requests,
        "Whether each request is a line: method, path without its query, status, time and ids."
    ),
];
