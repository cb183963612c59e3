//! Makes or checks the topics that nova needs. `nova serve` makes or checks the topics at its start, and `nova check`
//! only checks them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::group::{self, Owner};
use super::settings::KafkaSettings;

/// The number of partitions of an events topic that nova makes itself.
const EVENTS_PARTITIONS: i32 = 6;
/// The shortest retention of a topic that leaves time for repairs.
const RETENTION_MIN_MS: i64 = 24 * 3_600_000;
/// How far a producer's clock may be ahead of the broker's clock. An hour is Kafka's own bound since Kafka 4.0
/// (KIP-1030).
const AHEAD_MAX_MS: i64 = 3_600_000;
/// The lowest useful bound on timestamps: a lower bound refuses records of producers whose clocks merely differ, and
/// records that waited for a broker.
const TIMESTAMP_BOUND_MIN_MS: i64 = 5 * 60_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A problem of a Kafka topic, and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFinding {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

fn finding(code: &'static str, detail: String, remedy: impl Into<String>) -> TopicFinding {
    TopicFinding { code, detail, remedy: remedy.into() }
}

/// Makes the events topic if the topic is missing. Returns true if the topic was missing and was made.
pub async fn create_events(settings: &KafkaSettings, events: &str) -> Result<bool, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let topic = NewTopic::new(events, EVENTS_PARTITIONS, TopicReplication::Fixed(-1));
    let topic = topic.set("cleanup.policy", "delete");
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let results = admin.create_topics(&[topic], &options).await?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
    }
}

/// Deletes a Kafka topic.
pub async fn delete(settings: &KafkaSettings, topic: &str) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    match admin.delete_topics(&[topic], &options).await?.into_iter().next() {
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        _ => Ok(()),
    }
}

/// Returns a finding if a store other than `own` owns the consumer group, or if several stores have committed to the
/// group. `own` is this node's own store, if its id is known.
pub fn group_findings(
    settings: &KafkaSettings,
    topics: &[String],
    own: Option<Owner>,
) -> Result<Vec<TopicFinding>, KafkaError> {
    let consumer: BaseConsumer = settings.client().set("group.id", &settings.group_id).create()?;
    let owners = group::owners(&consumer, topics)?;
    let (group, stores) = (&settings.group_id, owners.iter().map(Owner::to_string).collect::<Vec<_>>().join(", "));
    let remedy = "set kafka.replica = true, or another kafka.group_id, on all nodes but one; if the other store is lost: \
                  nova serve --new-store";
    let detail = match own {
        Some(own) if !owners.is_empty() && !owners.contains(&own) => {
            format!("the consumer group {group} belongs to another store ({stores}), and this one ({own}) is refused")
        }
        _ if owners.len() > 1 => format!("several stores ({stores}) commit to the consumer group {group}"),
        _ => return Ok(Vec::new()),
    };
    Ok(vec![finding("group-taken", detail, remedy)])
}

/// Checks every topic that nova reads. `tables` are the topics of the source tables.
pub async fn findings(
    settings: &KafkaSettings,
    tables: &[String],
    events: &str,
    dedup_horizon_ms: i64,
) -> Result<Vec<TopicFinding>, KafkaError> {
    let consumer: BaseConsumer = settings.client().set("group.id", &settings.group_id).create()?;
    let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
    let exists = |name: &str| metadata.topics().iter().any(|topic| topic.name() == name && topic.error().is_none());
    let mut found = Vec::new();
    for table in tables.iter().filter(|table| !exists(table)) {
        let remedy = "Debezium makes it with the table's first record; check the connector's transforms.route and \
                      table.include.list if it never comes";
        found.push(finding("topic-missing", format!("there is no topic {table}"), remedy));
    }
    found.extend(metadata.topics().iter().filter_map(|topic| of_partition(topic.name(), tables)));
    if !exists(events) {
        // `nova serve` makes a missing events topic itself.
        return Ok(found);
    }
    let codecs = codecs()?;
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let mut names: Vec<&str> = tables.iter().map(String::as_str).filter(|name| exists(name)).collect();
    names.push(events);
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let configs = admin.describe_configs(&resources, &options).await?;
    for (name, config) in names.iter().zip(configs) {
        let config = config.map_err(KafkaError::AdminOp)?;
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let retention_ms = value("retention.ms").parse().unwrap_or(-1);
        let horizon_ms = (*name == events).then_some(dedup_horizon_ms);
        found.extend(policies(name, &value("cleanup.policy"), retention_ms, horizon_ms));
        found.extend(timestamps(name, *name == events, &value));
        found.extend(unreadable(name, &value("compression.type"), &codecs));
    }
    for topic in metadata.topics().iter().filter(|topic| names.contains(&topic.name())) {
        let copies = topic.partitions().iter().map(|one| one.replicas().len()).min().unwrap_or(0);
        found.extend(unreplicated(topic.name(), copies, metadata.brokers().len()));
    }
    Ok(found)
}

/// Returns a finding if the topic belongs to a partition of a partitioned table. The connector writes to the topic of a
/// partition if the publication lacks `publish_via_partition_root`.
fn of_partition(topic: &str, tables: &[String]) -> Option<TopicFinding> {
    let part = |table: &&String| {
        let rest = topic.strip_prefix(table.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.is_some_and(|rest| rest == "default" || rest.contains(|c: char| c.is_ascii_digit()))
    };
    let table = tables.iter().find(part)?;
    let detail = format!("{topic} looks like a part of the partitioned table of {table}, and nova reads {table} only");
    let remedy = "set publish_via_partition_root = true on the publication (ALTER PUBLICATION … SET), then make a new \
                  snapshot of the table; if it is another table, leave it out of table.include.list";
    Some(finding("table-partitioned", detail, remedy))
}

/// Returns the findings about a topic's retention. `horizon_ms` is how long nova remembers the ids of the topic's
/// events, or `None` if the topic has no events.
fn policies(name: &str, policy: &str, retention_ms: i64, horizon_ms: Option<i64>) -> Vec<TopicFinding> {
    let mut found = Vec::new();
    if policy.contains("compact") {
        let (code, why) = match horizon_ms {
            Some(_) => ("events-compacted", "compaction drops earlier events of the same user"),
            None => ("table-compacted", "a truncate has no key, which a compacted topic refuses; the connector fails"),
        };
        let detail = format!("{name}: cleanup.policy is {policy}: {why}");
        found.push(finding(code, detail, format!("set cleanup.policy=delete on {name}")));
    }
    if policy.contains("delete") && retention_ms >= 0 {
        let least_ms = horizon_ms.map_or(RETENTION_MIN_MS, |horizon_ms| horizon_ms.max(RETENTION_MIN_MS));
        if retention_ms < least_ms {
            let detail = match retention_ms < RETENTION_MIN_MS {
                true => format!("{name}: retention.ms is {retention_ms}: a pause of that length loses records"),
                false => format!(
                    "{name}: retention.ms is {retention_ms}, less than dedup.horizon_hours: a rebuild cannot read all \
                     events whose ids are remembered"
                ),
            };
            found.push(finding("retention-short", detail, format!("set retention.ms to {least_ms} or more on {name}")));
        }
    }
    found
}

/// Returns the findings about the clock that sets the timestamps of a topic's records. `value` reads a setting of the
/// topic's configuration. `events` says whether the topic has client events, whose timestamps are their arrival times.
fn timestamps(name: &str, events: bool, value: &impl Fn(&str) -> String) -> Vec<TopicFinding> {
    if value("message.timestamp.type") == "LogAppendTime" {
        return Vec::new();
    }
    // Brokers before Kafka 3.6 have one bound for early and late timestamps, and brokers before Kafka 4.0 have no bound
    // by default.
    let bound = |key: &str| value(key).parse().or_else(|_| value("message.timestamp.difference.max.ms").parse());
    let [before_ms, after_ms] = ["before", "after"].map(|side| {
        let bound = bound(&format!("message.timestamp.{side}.max.ms"));
        bound.unwrap_or(i64::MAX)
    });
    let mut found = Vec::new();
    if events && after_ms > AHEAD_MAX_MS {
        let detail = format!(
            "{name}: message.timestamp.type is CreateTime and message.timestamp.after.max.ms {after_ms}: a producer \
             whose clock is ahead dates its events into the future; nova takes them as of now, and retention keeps them"
        );
        let remedy = format!(
            "set message.timestamp.type=LogAppendTime on {name}, or message.timestamp.after.max.ms={AHEAD_MAX_MS}"
        );
        found.push(finding("timestamps-open", detail, remedy));
    }
    for (side, bound_ms) in [("before", before_ms), ("after", after_ms)] {
        if bound_ms < TIMESTAMP_BOUND_MIN_MS {
            let key = format!("message.timestamp.{side}.max.ms");
            let detail =
                format!("{name}: {key} is {bound_ms}: the broker refuses records of a clock that differs more");
            let remedy = format!("set {key}={AHEAD_MAX_MS} or message.timestamp.type=LogAppendTime on {name}");
            found.push(finding("timestamps-tight", detail, remedy));
        }
    }
    found
}

/// Returns the compression codecs that this build can read.
fn codecs() -> Result<String, KafkaError> {
    rdkafka::ClientConfig::new().create_native_config()?.get("builtin.features")
}

/// Returns a finding if the broker compresses the topic with a codec that this build cannot read.
fn unreadable(name: &str, compression: &str, codecs: &str) -> Option<TopicFinding> {
    let known = matches!(compression, "" | "producer" | "uncompressed" | "none");
    let known = known || codecs.split(',').any(|codec| codec == compression);
    let detail = format!("{name}: compression.type is {compression}, which this build of nova cannot read");
    let remedy = format!("set compression.type=lz4 on {name}, or build nova with its default features of librdkafka");
    (!known).then(|| finding("codec-missing", detail, remedy))
}

/// Returns a finding if a topic has one replica although the cluster has more brokers.
fn unreplicated(name: &str, copies: usize, brokers: usize) -> Option<TopicFinding> {
    let detail =
        format!("{name}: one copy of each record, on {brokers} brokers: a lost disk loses what was acknowledged");
    let remedy = format!("reassign {name} with a replication factor of 3, and set min.insync.replicas=2");
    (copies == 1 && brokers > 1).then(|| finding("unreplicated", detail, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_forget_too_early_is_found() {
        const HOUR_MS: i64 = 3_600_000;
        let codes = |policy, retention_ms, horizon_ms| -> Vec<_> {
            policies("t", policy, retention_ms, horizon_ms).iter().map(|found| found.code).collect()
        };
        let day = Some(24 * HOUR_MS);
        assert_eq!(codes("delete", 24 * HOUR_MS, day), Vec::<&str>::new());
        assert_eq!(codes("delete", -1, Some(720 * HOUR_MS)), Vec::<&str>::new());
        assert_eq!(codes("delete", 24 * HOUR_MS, Some(48 * HOUR_MS)), ["retention-short"]);
        assert_eq!(codes("delete", 48 * HOUR_MS, None), Vec::<&str>::new());
        assert_eq!(codes("delete", HOUR_MS, None), ["retention-short"]);
        assert_eq!(codes("compact", HOUR_MS, day), ["events-compacted"]);
        assert_eq!(codes("compact,delete", HOUR_MS, None), ["table-compacted", "retention-short"]);
        let text = policies("t", "delete", 24 * HOUR_MS, Some(48 * HOUR_MS)).remove(0);
        assert!(text.detail.contains("dedup.horizon_hours") && text.remedy.contains("172800000"), "{text:?}");
        assert_eq!([unreplicated("t", 1, 1), unreplicated("t", 3, 3)], [None, None]);
        assert_eq!(unreplicated("t", 1, 3).unwrap().code, "unreplicated");
    }
    #[test]
    fn topics_of_parts_of_a_table_are_found_and_others_are_not() {
        let tables = ["cdc.posts", "cdc.likes"].map(str::to_owned);
        for part in ["cdc.likes_2026_01", "cdc.likes_p3", "cdc.posts_default"] {
            let found = of_partition(part, &tables).unwrap();
            assert!(found.code == "table-partitioned" && found.detail.contains(part), "{found:?}");
        }
        for other in ["cdc.likes", "cdc.likes_archive", "cdc.likesx_1", "cdc.users_1", "x.cdc.likes_1"] {
            assert_eq!(of_partition(other, &tables), None, "{other}");
        }
    }

    #[test]
    fn a_topic_that_takes_any_clock_or_hardly_one_is_found() {
        let codes = |events: bool, set: &[(&str, &str)]| -> Vec<_> {
            let value = |key: &str| set.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value).to_owned();
            timestamps("t", events, &value).iter().map(|found| found.code).collect()
        };
        let (after, before) = ("message.timestamp.after.max.ms", "message.timestamp.before.max.ms");
        let unbounded = "9223372036854775807";
        // The first of the tested configurations has the defaults of Kafka 4, and the next configurations have the
        // defaults of earlier versions.
        assert_eq!(codes(true, &[(after, "3600000"), (before, unbounded)]), Vec::<&str>::new());
        assert_eq!(codes(true, &[(after, unbounded), (before, unbounded)]), ["timestamps-open"]);
        assert_eq!(codes(true, &[("message.timestamp.difference.max.ms", unbounded)]), ["timestamps-open"]);
        assert_eq!(codes(true, &[]), ["timestamps-open"]);
        assert_eq!(codes(false, &[(after, unbounded), (before, unbounded)]), Vec::<&str>::new());
        assert_eq!(codes(false, &[(after, "1000"), (before, "0")]), ["timestamps-tight", "timestamps-tight"]);
        assert_eq!(codes(true, &[("message.timestamp.type", "LogAppendTime"), (after, "0")]), Vec::<&str>::new());
    }

    #[test]
    fn every_codec_of_kafka_is_in_this_build() {
        let codecs = codecs().unwrap();
        for codec in ["gzip", "snappy", "lz4", "zstd", "producer", "uncompressed", ""] {
            assert_eq!(unreadable("t", codec, &codecs), None, "{codec} is not in {codecs}");
        }
        assert_eq!(unreadable("t", "zstd", "gzip,lz4,snappy").unwrap().code, "codec-missing");
    }
}
