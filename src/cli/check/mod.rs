//! `nova check` reports what must change in a configuration so that the pipeline works and loses nothing. The command
//! prints one line for each finding, with its remedy. `nova check` changes nothing.

mod columns;
mod connector;
mod finding;
mod flattened;
mod keys;
mod postgres;
mod setting;
#[cfg(feature = "redis-cache")]
mod shared_cache;

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

use http::Method;
use nova_storage::{OpenError, Options, Store};
use rdkafka::error::KafkaError;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::app::{self, AppError, preflight};
use crate::config::Config;
use crate::decode::Topics;
use crate::http::Reserved;
use crate::source::connect::CdcConnectorError;
use crate::source::kafka::topics::{self, TopicFinding};
use crate::source::kafka::{KafkaSettings, Owner};
use crate::warehouse::clickhouse::ClickHouse;
use crate::warehouse::lint::{lint, nothing_is_there};

use self::finding::Finding;
use super::ask::{Credentials, Question, ask};
use super::error::CliError;
use super::out;
use super::remote::{Place, Remote, plain};
use super::runtime::runtime;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also compare the stored rows with ClickHouse's. If a node runs, it compares its own store; otherwise the command
    /// compares the stopped store.
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    let (mut found, mut looked) = (Vec::new(), vec!["configuration"]);
    let runtime = runtime()?;
    let refused = preflight::problems(config).into_iter();
    found
        .extend(refused.map(|problem| Finding::new("start-refused", problem, "correct the setting, or what it names")));
    {
        let _in_runtime = runtime.enter();
        found.extend(addresses(config));
    }
    if let Some(settings) = app::kafka(config) {
        looked.push("kafka");
        match runtime.block_on(kafka(config, &settings)) {
            Ok(topics) => found.extend(topics.into_iter().map(|one| Finding::new(one.code, one.detail, one.remedy))),
            Err(error) => found.push(Finding::unreachable(
                &format!("kafka.brokers {}", settings.brokers),
                &error.to_string(),
                "start Kafka, or correct kafka.brokers and its security settings",
            )),
        }
    }
    if let Some(settings) = app::postgres(config) {
        looked.push("postgres");
        found.extend(runtime.block_on(postgres::findings(&settings)));
    }
    if !config.edge.keys.development() {
        looked.push("tokens");
        found.extend(keys::findings(&config.edge.keys));
    }
    if config.registry_url.is_some() {
        looked.push("registry");
        found.extend(registry(config));
    }
    if config.connect_url.is_some() {
        looked.push("connector");
        found.extend(running_connector(config));
    }
    if let Some(settings) = app::clickhouse(config) {
        looked.push("clickhouse");
        let clickhouse = ClickHouse::new(&settings).map_err(AppError::from)?;
        match runtime.block_on(lint(&clickhouse)) {
            // Missing tables are no finding before the first start, because the first start makes nova's tables in
            // ClickHouse.
            Ok(lint) if nothing_is_there(&lint) => {}
            Ok(lint) => found.extend(lint.into_iter().map(|one| Finding::new(one.code, one.detail, one.remedy))),
            Err(failure) => found.push(Finding::unreachable(
                &format!("clickhouse.url {}", settings.url),
                &failure.to_string(),
                "start ClickHouse, or correct clickhouse.url, user and password",
            )),
        }
    }
    #[cfg(feature = "redis-cache")]
    if let Some(url) = &config.redis_url {
        looked.push("redis");
        found.extend(shared_cache::finding(url));
    }
    if args.compare {
        looked.push("rows");
        found.extend(compared(&args.remote, config, &runtime)?);
    }
    report(&found, &looked, as_json)
}

/// A finding for each address on which nova cannot listen. If a node of the configured store runs, that node may use an
/// address, so a used address is no finding. The caller must be in a tokio runtime.
fn addresses(config: &Config) -> Vec<Finding> {
    let bound = |(setting, addr): preflight::Named| Some((setting, addr, Reserved::bind(addr, None).err()?.source));
    let mut refused: Vec<_> = preflight::addresses(config).into_iter().filter_map(bound).collect();
    let in_use = |why: &Error| why.kind() == ErrorKind::AddrInUse;
    if refused.iter().any(|(.., why)| in_use(why)) && node_runs(config) {
        refused.retain(|(.., why)| !in_use(why));
    }
    let finding = |(setting, addr, why): (&str, SocketAddr, Error)| {
        let remedy = match why.kind() {
            ErrorKind::AddrInUse => "end the program that has it (ss -ltnp), or choose another address",
            ErrorKind::AddrNotAvailable => {
                "name an address of this machine (ip addr), or :PORT for every address of it"
            }
            ErrorKind::PermissionDenied => "choose a port above 1023, or give nova CAP_NET_BIND_SERVICE",
            _ => "choose another address",
        };
        Finding::new("address", format!("{setting}: cannot listen on {addr}: {why}"), remedy)
    };
    refused.into_iter().map(finding).collect()
}

/// Whether a process has the store open.
fn node_runs(config: &Config) -> bool {
    let store = app::store_path(&config.data_dir);
    let opened = store.exists().then(|| Store::open(&store, &Options::default(), |_| {}).err()).flatten();
    matches!(opened, Some(OpenError::InUse { .. }))
}

/// The differences between the rows in the store and in ClickHouse. A running node, which has ClickHouse's address and
/// password, compares its own store.
fn compared(remote: &Remote, config: &Config, runtime: &Runtime) -> Result<Vec<Finding>, CliError> {
    let compared = match remote.place(config)? {
        Place::Running(node) => {
            let mut text = Vec::new();
            node.fetch(Method::POST, "compare", |piece| {
                text.extend_from_slice(piece);
                Ok(())
            })?;
            serde_json::from_slice::<Value>(&text)
                .map_err(|error| CliError::Failed(format!("the node's comparison is no JSON: {error}")))?
        }
        Place::Stopped(opened) => {
            let (Some(settings), Some(status)) = (app::clickhouse(config), &opened.warehouse) else {
                return Err(CliError::Usage("--compare needs clickhouse.url".to_owned()));
            };
            let clickhouse = ClickHouse::new(&settings).map_err(AppError::from)?;
            json!(runtime.block_on(app::compare::compare(&opened.store, status, &clickhouse, false))?)
        }
    };
    if let Some(hours @ 1..) = compared["changing_hours"].as_u64() {
        out::complain(&format!(
            "{hours} hours of creation have rows that changed during the comparison: these hours were not compared"
        ));
    }
    let text = |one: &Value, name: &str| plain(one[name].as_str().unwrap_or_default());
    let found = compared["findings"].as_array().into_iter().flatten();
    Ok(found.map(|one| Finding::new(text(one, "code"), text(one, "detail"), text(one, "remedy"))).collect())
}

async fn kafka(config: &Config, settings: &KafkaSettings) -> Result<Vec<TopicFinding>, KafkaError> {
    let mut names = app::table_topics(&Topics { prefix: config.topic_prefix.clone(), ..Topics::default() });
    let horizon_ms = i64::from(config.dedup_horizon_hours) * 3_600_000;
    let mut found = topics::findings(settings, &names, &config.events_topic, horizon_ms).await?;
    // A replica has a consumer group of its own, so nova does not check the group.
    if !config.kafka_replica {
        names.push(config.events_topic.clone());
        found.extend(topics::group_findings(settings, &names, app::store_id(&config.data_dir).map(Owner))?);
    }
    Ok(found)
}

fn registry(config: &Config) -> Option<Finding> {
    let url = format!("{}/subjects", config.registry_url.as_deref()?.trim_end_matches('/'));
    let password = config.registry_password.as_deref().unwrap_or_default();
    let who = config.registry_user.as_deref().map_or(Credentials::Nobody, |user| Credentials::Basic(user, password));
    let remedy = "start the registry, or correct registry.url, user and password";
    match ask(&Question::of(&url, who, config.registry_ca_file.as_deref().map(Path::new))) {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => {
            let why = format!("it answers {}", answer.status.as_u16());
            Some(Finding::unreachable("registry.url", &why, remedy))
        }
        Err(error) => Some(Finding::unreachable("registry.url", &error.to_string(), remedy)),
    }
}

fn running_connector(config: &Config) -> Vec<Finding> {
    let Some(url) = config.connect_url.as_deref() else { return Vec::new() };
    let name = &config.connector;
    let url = url.trim_end_matches('/');
    let of = |what: &str| format!("{url}/connectors/{name}/{what}");
    let get = |what: &str| ask(&Question::of(&of(what), Credentials::Nobody, None));
    let answer = match get("config") {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) if answer.status == 404 => {
            let remedy = "register it: deploy/debezium/register.sh, or name another in cdc.connector";
            return vec![Finding::new("connector-missing", format!("Connect has no connector {name}"), remedy)];
        }
        Ok(answer) => {
            let why = format!("it answers {}", answer.status.as_u16());
            return vec![Finding::unreachable("cdc.connect_url", &why, "look at Connect's log")];
        }
        Err(error) => {
            let remedy = "start Connect, or correct cdc.connect_url";
            return vec![Finding::unreachable("cdc.connect_url", &error.to_string(), remedy)];
        }
    };
    let running: BTreeMap<String, String> = match serde_json::from_slice(&answer.body) {
        Ok(running) => running,
        Err(error) => {
            let remedy = "is cdc.connect_url Kafka Connect?";
            return vec![Finding::new(
                "connector-answer",
                format!("Connect's answer is not its configuration: {error}"),
                remedy,
            )];
        }
    };
    let expected = connector::Expected {
        topic_prefix: &config.topic_prefix,
        placeholder: config.placeholder.as_deref(),
        registry: config.registry_url.is_some(),
    };
    let mut found = connector::findings(&running, &expected);
    if let Ok(status) = get("status") {
        let error = CdcConnectorError::of(name, &status.text());
        let finding = |error: CdcConnectorError| Finding::new("connector-failed", error.to_string(), error.remedy(url));
        found.extend(error.map(finding));
    }
    found
}

fn report(found: &[Finding], looked: &[&str], as_json: bool) -> Result<(), CliError> {
    if as_json {
        let one =
            |finding: &Finding| json!({ "code": finding.code, "detail": finding.detail, "remedy": finding.remedy });
        let findings: Vec<_> = found.iter().map(one).collect();
        out::line(&json!({ "checked": looked, "findings": findings }).to_string())?;
    } else {
        for Finding { code, detail, remedy } in found {
            out::line(&format!("{code}: {detail}\n    {remedy}"))?;
        }
        out::line(&format!("checked {}: {} findings", looked.join(", "), found.len()))?;
    }
    if found.is_empty() { Ok(()) } else { Err(CliError::Failed(format!("{} findings", found.len()))) }
}
