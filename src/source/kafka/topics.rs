//! The topics that nova needs: made or verified at start, and told by `nova check`.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaSettings;

/// Partitions of an events topic that nova makes.
const EVENTS_PARTITIONS: i32 = 6;
/// An events topic that forgets faster than this leaves no time to repair anything.
const RETENTION_MIN_MS: i64 = 24 * 3_600_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Something that is wrong with a topic, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFinding {
    pub code: &'static str,
    pub detail: String,
    pub remedy: String,
}

fn finding(code: &'static str, detail: String, remedy: impl Into<String>) -> TopicFinding {
    TopicFinding { code, detail, remedy: remedy.into() }
}

/// Makes the events topic where it is missing; true when it was made.
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

/// Deletes a topic.
pub async fn delete(settings: &KafkaSettings, topic: &str) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    match admin.delete_topics(&[topic], &options).await?.into_iter().next() {
        Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        _ => Ok(()),
    }
}

/// Looks at every topic that nova reads. `tables` are the topics of the source tables.
pub async fn findings(
    settings: &KafkaSettings,
    tables: &[String],
    events: &str,
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
    if !exists(events) {
        let remedy = "nova serve makes it, or make it by hand with cleanup.policy=delete";
        found.push(finding("topic-missing", format!("there is no topic {events}"), remedy));
        return Ok(found);
    }
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let mut names: Vec<&str> = tables.iter().map(String::as_str).filter(|name| exists(name)).collect();
    names.push(events);
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let configs = admin.describe_configs(&resources, &options).await?;
    for (name, config) in names.iter().zip(configs) {
        let config = config.map_err(KafkaError::AdminOp)?;
        let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let policy = value("cleanup.policy");
        if *name == events && policy.contains("compact") {
            let detail = format!("{name}: cleanup.policy is {policy}: compaction would drop events of the same user");
            found.push(finding("events-compacted", detail, format!("set cleanup.policy=delete on {name}")));
        }
        let retention_ms: i64 = value("retention.ms").parse().unwrap_or(-1);
        if !policy.contains("compact") && (0..RETENTION_MIN_MS).contains(&retention_ms) {
            let detail = format!("{name}: retention.ms is {retention_ms}: a pause of that length loses records");
            found.push(finding(
                "retention-short",
                detail,
                format!("set retention.ms to {RETENTION_MIN_MS} or more on {name}"),
            ));
        }
    }
    Ok(found)
}
