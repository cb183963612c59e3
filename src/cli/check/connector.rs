//! Compares a running connector with what nova needs. `docs/connector.md` has the reason for each setting.

use crate::decode::{DEFAULT_PLACEHOLDER, SHIPPED_PLACEHOLDER};
use crate::event::Table;

use super::finding::Finding;
use super::setting::{Config, set, value};
use super::{columns, flattened};

/// The expectations with which nova compares a connector.
pub(super) struct Expected<'a> {
    pub topic_prefix: &'a str,
    /// The value of `cdc.placeholder` in nova's configuration.
    pub placeholder: Option<&'a str>,
    pub registry: bool,
}

/// Makes a finding for every relevant difference between a connector and the expectations.
pub(super) fn findings(config: &Config, expected: &Expected<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if !value(config, "connector.class").ends_with("PostgresConnector") {
        let wanted = "io.debezium.connector.postgresql.PostgresConnector";
        found.push(set("connector-class", config, "connector.class", wanted, "nova follows PostgreSQL"));
        return found;
    }
    tables(config, &mut found);
    columns::findings(config, &mut found);
    identities(config, &mut found);
    routes(config, expected, &mut found);
    wire(config, expected, &mut found);
    flattened::findings(config, &mut found);
    liveness(config, &mut found);
    found
}

fn tables(config: &Config, found: &mut Vec<Finding>) {
    let included = value(config, "table.include.list");
    let has = |table: &Table| included.split(',').any(|name| name.trim().ends_with(&format!(".{table}")));
    let missing: Vec<_> = Table::ALL.iter().filter(|table| !has(table)).map(|table| table.name()).collect();
    if !missing.is_empty() && !included.is_empty() {
        let reason = format!("{} would never arrive", missing.join(", "));
        found.push(set("table-missing", config, "table.include.list", "the five tables", &reason));
    }
    if value(config, "publication.autocreate.mode") == "all_tables"
        || !config.contains_key("publication.autocreate.mode")
    {
        let reason = "the publication would hold every table of the database";
        found.push(set("publication", config, "publication.autocreate.mode", "filtered or disabled", reason));
    }
    if !config.contains_key("publication.name") {
        let reason = "dbz_publication is shared by every connector of the database, and may hold other tables";
        found.push(set("publication", config, "publication.name", "one of its own, such as nova", reason));
    }
    if value(config, "plugin.name") != "pgoutput" {
        found.push(set("plugin", config, "plugin.name", "pgoutput", "the default needs an extension of PostgreSQL"));
    }
    let (key, mode) = ("snapshot.mode", value(config, "snapshot.mode"));
    if matches!(mode, "no_data" | "never" | "schema_only") {
        found.push(set("snapshot-mode", config, key, "initial", "rows that were there before would never arrive"));
    }
    if mode == "when_needed" {
        let reason = "after a lost slot it reads the tables again by itself, and rows that were deleted since stay";
        found.push(set("snapshot-mode", config, key, "initial", reason));
    }
    if mode == "initial_only" {
        found.push(set("snapshot-mode", config, key, "initial", "it ends after the snapshot, and no change arrives"));
    }
    if value(config, "slot.drop.on.stop") == "true" {
        found.push(set(
            "slot-dropped",
            config,
            "slot.drop.on.stop",
            "false",
            "changes while it is stopped would be lost",
        ));
    }
}

fn routes(config: &Config, expected: &Expected<'_>, found: &mut Vec<Finding>) {
    let transforms: Vec<_> = value(config, "transforms").split(',').map(str::trim).collect();
    let replacement = |name: &&&str| config.get(&format!("transforms.{name}.replacement")).map(String::as_str);
    let wanted = format!("{}.$3", expected.topic_prefix);
    if !transforms.iter().any(|name| replacement(&name) == Some(wanted.as_str())) {
        let reason = format!("records would not reach {}.users and its like", expected.topic_prefix);
        let remedy = format!("add a RegexRouter: regex ([^.]+)\\.([^.]+)\\.([^.]+), replacement {wanted}");
        found.push(Finding::new("route", format!("no transform routes to {wanted}: {reason}"), remedy));
    }
}

fn wire(config: &Config, expected: &Expected<'_>, found: &mut Vec<Finding>) {
    let placeholder = value(config, "unavailable.value.placeholder");
    if placeholder.is_empty() || placeholder == DEFAULT_PLACEHOLDER {
        let reason = "everybody knows the default and can write it into a caption";
        found.push(set(
            "placeholder-default",
            config,
            "unavailable.value.placeholder",
            "a random text of your own",
            reason,
        ));
    } else if expected.placeholder.unwrap_or(SHIPPED_PLACEHOLDER) != placeholder {
        let detail = format!("the connector's placeholder is {placeholder:?}, nova's cdc.placeholder is another");
        let remedy = format!("set cdc.placeholder (NOVA_CDC_PLACEHOLDER) to {placeholder}");
        found.push(Finding::new("placeholder-differs", detail, remedy));
    }
    let json = value(config, "value.converter").ends_with("JsonConverter");
    if json && value(config, "value.converter.replace.null.with.default") != "false" {
        let reason = "a NULL in a column with a default would arrive as the default";
        found.push(set("null-default", config, "value.converter.replace.null.with.default", "false", reason));
    }
    if value(config, "value.converter").contains("Avro") && !expected.registry {
        let detail = "the connector writes Avro and registry.url is not set".to_owned();
        found.push(Finding::new("registry-unset", detail, "set registry.url (NOVA_REGISTRY_URL)"));
    }
    if !matches!(value(config, "time.precision.mode"), "microseconds" | "adaptive_time_microseconds" | "") {
        let reason = "a timestamp would be read a thousandfold wrong";
        found.push(set("time-precision", config, "time.precision.mode", "microseconds", reason));
    }
    if value(config, "binary.handling.mode").starts_with("base64") {
        let reason = "an unchanged large bytea arrives as null, which nobody can tell from a null";
        found.push(set("binary-base64", config, "binary.handling.mode", "hex, or bytes", reason));
    }
    if value(config, "tombstones.on.delete") == "false" {
        let reason = "a compacted topic would keep deleted rows for ever";
        found.push(set("tombstones", config, "tombstones.on.delete", "true", reason));
    }
    if value(config, "skipped.operations") != "none" {
        let reason = "truncates of the source would be skipped, and nova would serve rows that are gone";
        found.push(set("truncate-skipped", config, "skipped.operations", "none", reason));
    }
}

/// Checks the key of records and the old row of deletes, as far as the connector's settings determine them.
fn identities(config: &Config, found: &mut Vec<Finding>) {
    let autoset = value(config, "replica.identity.autoset.values");
    let other = |entry: &&str| {
        !matches!(entry.rsplit(':').next().map(str::trim), Some("DEFAULT" | "FULL" | "default" | "full" | "") | None)
    };
    if let Some(entry) = autoset.split(',').find(other) {
        let reason = format!(
            "{entry} makes deletes that do not name the row by its primary key; nova keeps such rows and writes a dead letter"
        );
        let wanted = "DEFAULT (or FULL) for each of the five tables";
        found.push(set("replica-identity", config, "replica.identity.autoset.values", wanted, &reason));
    }
    if !value(config, "message.key.columns").is_empty() {
        let reason = "a row whose key is not its primary key moves between partitions, and its delete may name nobody";
        let remedy = "remove message.key.columns: the primary key is the default";
        let detail = format!("message.key.columns is {:?}: {reason}", value(config, "message.key.columns"));
        found.push(Finding::new("message-key", detail, remedy));
    }
}

fn liveness(config: &Config, found: &mut Vec<Finding>) {
    const POLL_INTERVAL_MAX_MS: u64 = 100;
    let poll_ms = value(config, "poll.interval.ms").parse().unwrap_or(500u64);
    if poll_ms > POLL_INTERVAL_MAX_MS {
        let reason = "a change waits that long before it leaves Debezium";
        found.push(set("slow-poll", config, "poll.interval.ms", "20", reason));
    }
    if value(config, "heartbeat.interval.ms").parse().unwrap_or(0u64) == 0 {
        let reason = "on a quiet source the slot keeps PostgreSQL's log, and lag cannot be distinguished from silence";
        found.push(set("no-heartbeat", config, "heartbeat.interval.ms", "5000", reason));
    }
    if value(config, "errors.tolerance") == "all" {
        found.push(set(
            "errors-tolerated",
            config,
            "errors.tolerance",
            "none",
            "rows that cannot be converted are lost silently",
        ));
    }
    if matches!(value(config, "event.processing.failure.handling.mode"), "skip" | "warn" | "ignore") {
        let key = "event.processing.failure.handling.mode";
        found.push(set("errors-tolerated", config, key, "fail", "changes that cannot be read are lost silently"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> Config {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/debezium").join(name);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn codes(config: &Config) -> Vec<&'static str> {
        let placeholder = config.get("unavailable.value.placeholder").map(String::as_str);
        let expected = Expected { topic_prefix: "cdc", placeholder, registry: true };
        let code = |finding: Finding| match finding.code {
            std::borrow::Cow::Borrowed(code) => code,
            std::borrow::Cow::Owned(code) => panic!("{code} is made up"),
        };
        findings(config, &expected).into_iter().map(code).collect()
    }

    #[test]
    fn the_connectors_that_we_ship_have_no_findings() {
        for name in ["nova.json", "nova-avro.json", "nova-flat.json"] {
            assert_eq!(codes(&shipped(name)), Vec::<&str>::new(), "{name}");
        }
    }

    #[test]
    fn each_seeded_misconfiguration_is_found() {
        let seeds: [(&str, &str, Option<&str>, &str); 27] = [
            (
                "nova.json",
                "table.include.list",
                Some("public.users,public.posts,public.follows,public.likes"),
                "table-missing",
            ),
            ("nova.json", "column.exclude.list", Some("public.users.email"), "private-column"),
            ("nova.json", "publication.autocreate.mode", Some("all_tables"), "publication"),
            ("nova.json", "publication.name", None, "publication"),
            ("nova.json", "plugin.name", None, "plugin"),
            ("nova.json", "slot.drop.on.stop", Some("true"), "slot-dropped"),
            ("nova.json", "snapshot.mode", Some("no_data"), "snapshot-mode"),
            ("nova.json", "snapshot.mode", Some("when_needed"), "snapshot-mode"),
            ("nova.json", "snapshot.mode", Some("initial_only"), "snapshot-mode"),
            ("nova.json", "transforms.route.replacement", Some("$3"), "route"),
            ("nova.json", "unavailable.value.placeholder", None, "placeholder-default"),
            ("nova.json", "value.converter.replace.null.with.default", None, "null-default"),
            ("nova.json", "time.precision.mode", Some("connect"), "time-precision"),
            ("nova.json", "tombstones.on.delete", Some("false"), "tombstones"),
            ("nova.json", "skipped.operations", None, "truncate-skipped"),
            ("nova.json", "poll.interval.ms", None, "slow-poll"),
            ("nova.json", "heartbeat.interval.ms", None, "no-heartbeat"),
            ("nova.json", "errors.tolerance", Some("all"), "errors-tolerated"),
            ("nova.json", "binary.handling.mode", Some("base64"), "binary-base64"),
            ("nova.json", "binary.handling.mode", Some("base64-url-safe"), "binary-base64"),
            (
                "nova.json",
                "column.exclude.list",
                Some("public.users.password_hash,public.users.email,public.posts.status"),
                "column-excluded",
            ),
            (
                "nova.json",
                "replica.identity.autoset.values",
                Some("public.posts:INDEX posts_other"),
                "replica-identity",
            ),
            ("nova.json", "message.key.columns", Some("public.likes:user_id,post_id"), "message-key"),
            ("nova-flat.json", "transforms.unwrap.add.fields.prefix", Some(""), "unwrap-without-lsn"),
            ("nova-flat.json", "transforms.unwrap.add.fields.prefix", Some("_dbz_"), "unwrap-without-lsn"),
            ("nova-flat.json", "transforms.unwrap.add.fields", Some("op,source.ts_us"), "unwrap-without-lsn"),
            ("nova-flat.json", "transforms.unwrap.replace.null.with.default", None, "null-default"),
        ];
        for (name, key, value, code) in seeds {
            let mut config = shipped(name);
            match value {
                Some(value) => drop(config.insert(key.to_owned(), value.to_owned())),
                None => drop(config.remove(key)),
            }
            assert_eq!(codes(&config), [code], "{name}: {key}");
        }
        let expected = Expected { topic_prefix: "cdc", placeholder: None, registry: false };
        let codes = |config: &Config| -> Vec<_> {
            findings(config, &expected).into_iter().map(|finding| finding.code).collect()
        };
        let mut config = shipped("nova-avro.json");
        assert_eq!(codes(&config), ["registry-unset"]);
        config.insert("unavailable.value.placeholder".to_owned(), "their own".to_owned());
        assert_eq!(codes(&config), ["placeholder-differs", "registry-unset"]);
    }
}
