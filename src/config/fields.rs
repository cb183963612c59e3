//! All configuration keys: the member that a key sets, its explanation, and how its value is parsed and printed.

use toml::Value;

use crate::decode::KeepUnknown;
use crate::pipeline::TruncatePolicy;
use crate::state::CountedFrom;

use super::settings::Config;
use super::text::{address, filled, hidden, kafka_security, list, optional, shown, texts, url};

/// One key of the configuration.
pub(super) struct Field {
    pub section: &'static str,
    pub key: &'static str,
    pub help: &'static str,
    pub set: fn(&mut Config, &str) -> Result<(), String>,
    pub get: fn(&Config) -> Value,
}

/// Makes the key of a text that must not be empty.
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

/// Makes the key of a text that may be unset; `$show` prints the value.
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

/// Makes the key of a text that may be unset and that `$parse` checks.
macro_rules! checked {
    ($section:literal, $key:literal, $member:ident, $parse:ident, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.$member = $parse(text)?;
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

/// Makes the key for the source of likes or comments, which is rows or events.
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

/// All configuration keys in the order of `nova config --default`. The keys of a section are next to each other.
pub(super) const FIELDS: &[Field] = &[
    Field {
        section: "store",
        key: "data_dir",
        help: "This directory holds the store, the development key and backups. The default is ./nova-data.",
        set: |config, text| {
            config.data_dir = filled(text)?.into();
            Ok(())
        },
        get: |config| Value::from(config.data_dir.display().to_string()),
    },
    Field {
        section: "http",
        key: "listen",
        help: "The API listens on this address and port. The default is 127.0.0.1:8080; :8080 means every IPv4 address of the machine.",
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
        "nova reads from these Kafka servers, written as host:port with commas. When unset, nova uses its own local log."
    ),
    text!(
        "kafka",
        "group_id",
        kafka_group_id,
        "nova reads Kafka in this consumer group, which belongs to one store. The default is nova."
    ),
    option!(
        "kafka",
        "instance_id",
        kafka_instance_id,
        shown,
        "This is the consumer's group.instance.id. When unset, nova makes one from the store's id."
    ),
    flag!(
        "kafka",
        "replica",
        kafka_replica,
        "With true, this node reads what another node reads, in a group of its own made from group_id, and sends no rows. The default is false."
    ),
    text!(
        "kafka",
        "topic_prefix",
        topic_prefix,
        "nova reads the changes of a table from the topic {prefix}.{table}. The default prefix is cdc."
    ),
    text!(
        "kafka",
        "events_topic",
        events_topic,
        "nova writes client events to this topic and reads them from it. The default is events."
    ),
    checked!(
        "kafka",
        "security_protocol",
        kafka_security_protocol,
        kafka_security,
        "nova speaks to the brokers by plaintext, ssl, sasl_plaintext or sasl_ssl. When unset, it is plaintext."
    ),
    checked!(
        "kafka",
        "sasl_mechanism",
        kafka_sasl_mechanism,
        kafka_security,
        "SASL uses this mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    ),
    option!("kafka", "sasl_username", kafka_sasl_username, shown, "SASL uses this name of a user."),
    option!("kafka", "sasl_password", kafka_sasl_password, hidden, "SASL uses this password."),
    option!(
        "kafka",
        "ssl_ca_location",
        kafka_ssl_ca_location,
        shown,
        "This file holds the certificate authority of the brokers."
    ),
    checked!(
        "registry",
        "url",
        registry_url,
        url,
        "nova fetches the schemas of topics in Avro from the Schema Registry at this address."
    ),
    option!(
        "registry",
        "user",
        registry_user,
        shown,
        "nova sends this user name to the registry (basic authentication)."
    ),
    option!(
        "registry",
        "password",
        registry_password,
        hidden,
        "nova sends this password to the registry (basic authentication)."
    ),
    option!(
        "registry",
        "ca_file",
        registry_ca_file,
        shown,
        "This PEM file holds the certificate authority of the registry. When unset, nova uses the machine's authorities."
    ),
    Field {
        section: "cdc",
        key: "truncate",
        help: "When a source table is truncated, quarantine halts the table until a person decides, apply deletes its rows here, and ignore keeps them. The default is quarantine.",
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
        "This is the connector's unavailable.value.placeholder. When unset, nova knows Debezium's default and the text in deploy/debezium."
    ),
    Field {
        section: "cdc",
        key: "keep_unknown",
        help: "nova keeps these columns although it does not know them: posts means every such column of posts, users.locale means one column. The default is every such column but those of users, and users.bio.",
        set: |config, text| {
            config.keep_unknown = KeepUnknown::parse(&list(text)?)?;
            Ok(())
        },
        get: |config| texts(config.keep_unknown.entries()),
    },
    checked!(
        "cdc",
        "connect_url",
        connect_url,
        url,
        "At this address is Kafka Connect's REST API. nova asks it every 10 s whether cdc.connector runs, and nova check looks at the connector's settings."
    ),
    text!("cdc", "connector", connector, "Kafka Connect has the connector under this name. The default is nova."),
    checked!(
        "clickhouse",
        "url",
        clickhouse_url,
        url,
        "nova sends rows to ClickHouse's HTTP interface at this address. When unset, analytics are off."
    ),
    text!(
        "clickhouse",
        "database",
        clickhouse_database,
        "nova puts its tables into this database, and makes it if it is missing. The default is nova."
    ),
    option!(
        "clickhouse",
        "user",
        clickhouse_user,
        shown,
        "nova logs in to ClickHouse as this user. When unset, it is ClickHouse's default user."
    ),
    option!("clickhouse", "password", clickhouse_password, hidden, "This is the password of clickhouse.user."),
    option!(
        "clickhouse",
        "password_file",
        clickhouse_password_file,
        shown,
        "The first line of this file is the password, in place of clickhouse.password. nova reads it for each request, so a rotated password needs no restart."
    ),
    option!(
        "clickhouse",
        "ca_file",
        clickhouse_ca_file,
        shown,
        "This PEM file holds the certificate authority of ClickHouse. When unset, nova uses the machine's authorities."
    ),
    flag!(
        "clickhouse",
        "replicated",
        clickhouse_replicated,
        "With true, nova makes tables with Replicated engines. An existing database keeps its kind. The default is false."
    ),
    Field {
        section: "clickhouse",
        key: "cluster",
        help: "nova makes its tables ON CLUSTER of this name. When unset, nova makes them on the server of clickhouse.url alone.",
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
        "nova stops reading while more than this many MiB of rows wait for ClickHouse, 64 to 1048576. The default is 8192."
    ),
    Field {
        section: "cache",
        key: "redis_url",
        help: "nova copies feeds, suggestions and trending to this Redis for other readers, written as redis://host:port. When unset, nova copies nothing.",
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
        // The URL of the Redis server may contain a password.
        get: |config| hidden(&config.redis_url),
    },
    Field {
        section: "cache",
        key: "listen",
        help: "Redis clients read feeds, suggestions and trending, and use a cache, at this address and port. When unset, nova does not open the port.",
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
        "The cache behind cache.listen takes at most this many MiB, 16 to 65536. What is read least makes room. The default is 128."
    ),
    number!(
        "dedup",
        "horizon_hours",
        dedup_horizon_hours,
        (24..=720u16),
        "expected 24 to 720",
        "nova remembers an event id for this many hours, 24 to 720. The default is 24."
    ),
    flag!(
        "feed",
        "relaxed_spacing",
        feed.relaxed_spacing,
        "With true, nova breaks the rules of spacing where they would end a feed. The default is false."
    ),
    number!(
        "trending",
        "publish_ms",
        feed.trending_publish_ms,
        (100..=10_000u32),
        "expected 100 to 10000",
        "nova publishes the trending lists once in this many milliseconds, 100 to 10000. The default is 900."
    ),
    counted!(
        "likes",
        likes,
        "nova counts likes from cdc, the rows of likes, or from events, one like per user and post. After a change run nova rebuild. The default is cdc."
    ),
    counted!(
        "comments",
        comments,
        "nova counts comments from cdc, the rows of comments, or from events, one comment per event. After a change run nova rebuild. The default is cdc."
    ),
    Field {
        section: "log",
        key: "level",
        help: "nova logs lines of this level and of graver ones: error, warn, info, debug or trace. The default is info.",
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
        help: "The lines of the log are text or json. The default is text.",
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
        "With true, nova logs a line for each request: method, path without its query, status, time and ids. The default is false."
    ),
];
