//! The configuration: one TOML file, and environment variables that override it (`NOVA_<SECTION>_<KEY>`). nova refuses
//! unknown keys. nova reports all problems of a configuration together, before it opens or binds anything.

mod edge;
mod environment;
mod fields;
mod origin;
mod postgres;
mod ranking;
mod settings;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use toml::{Table, Value};

pub use self::settings::Config;
pub use self::text::address;

use crate::otlp::{self, OtlpSettings};

use self::environment::{Meaning, meaning};
use self::fields::{FIELDS, Field};

/// The configuration file that nova reads if the command has no `--config`.
pub const DEFAULT_FILE: &str = "nova.toml";

/// Returns every configuration key, grouped by section. The order of the sections is the order of their first keys.
fn fields() -> Vec<&'static Field> {
    let mut all: Vec<_> = FIELDS.iter().chain(ranking::FIELDS).chain(edge::FIELDS).chain(postgres::FIELDS).collect();
    let sections: Vec<_> = all.iter().map(|field| field.section).collect();
    all.sort_by_key(|field| sections.iter().position(|section| *section == field.section));
    all
}

/// The problems of a configuration, one on each line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Reads the configuration from the file and the environment. If no file is named, `load` reads `nova.toml`, if
    /// that file exists.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let path = file.or_else(|| default.exists().then_some(default));
        let text = path.map_or(Ok(String::new()), |path| {
            std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        });
        match text {
            Ok(text) => Config::from_parts(&text, environment),
            Err(unread) => {
                let more = Config::from_parts("", environment).err().map_or(Vec::new(), |error| error.0);
                Err(ConfigError([vec![unread], more].concat()))
            }
        }
    }

    /// Makes a configuration from the default values and the given settings. A setting has a name such as
    /// `feed.length`. `of` reads no file and no environment variable.
    pub fn of(settings: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let wrong = |(name, value): (String, String)| {
            config.set(&name, &value).err().map(|problem| format!("{name}: {problem}"))
        };
        let problems: Vec<_> = settings.filter_map(wrong).collect();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn from_parts(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
        let (mut given, mut problems) = (BTreeMap::new(), Vec::new());
        let table: Table = text.parse().unwrap_or_else(|error| {
            problems.push(format!("the file is not TOML: {error}"));
            Table::new()
        });
        for (section, value) in &table {
            match value {
                Value::Table(keys) => {
                    let keys = keys.iter().map(|(key, value)| (format!("{section}.{key}"), (plain(value), None)));
                    given.extend(keys);
                }
                _ => problems.push(format!("{section}: stands outside of a section; write [section] above it")),
            }
        }
        let mut config = Config::default();
        let fields = fields();
        let is_section = |section: &str| fields.iter().any(|field| field.section == section);
        let is_setting = |name: &str| fields.iter().any(|field| name == format!("{}.{}", field.section, field.key));
        let mut otel = BTreeMap::new();
        for (name, value) in environment {
            if name.starts_with(otlp::PREFIX) {
                otel.insert(name, value);
                continue;
            }
            match meaning((&name, &value), is_section, is_setting) {
                Meaning::Setting(setting) => drop(given.insert(setting, (value, Some(name)))),
                Meaning::Foreign => config.foreign_variables.push(name),
                Meaning::Nothing => {}
            }
        }
        for (name, (value, variable)) in given {
            if let Err(problem) = config.set(&name, &value) {
                let variable = variable.map_or(String::new(), |variable| format!(" (from {variable})"));
                problems.push(format!("{name}: {problem}{variable}"));
            }
        }
        match OtlpSettings::of(&otel) {
            Ok(settings) => config.otlp = settings,
            Err(wrong) => problems.extend(wrong),
        }
        problems.extend(config.edge.problems());
        problems.extend(ranking::problems(&config.ranking));
        if config.postgres_url.is_some() && config.kafka_replica {
            problems.push("kafka.replica: stands beside postgres.url; a second node has a slot of its own".to_owned());
        }
        if config.clickhouse_cluster.is_some() && !config.clickhouse_replicated {
            problems.push("clickhouse.cluster: needs clickhouse.replicated = true".to_owned());
        }
        if config.clickhouse_password.is_some() && config.clickhouse_password_file.is_some() {
            problems.push("clickhouse.password_file: stands for clickhouse.password; unset one of them".to_owned());
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match fields().into_iter().find(|field| name == format!("{}.{}", field.section, field.key)) {
            Some(field) => (field.set)(self, value).map_err(|expected| match value.contains('@') {
                // A value with an @ may be an address with a password, so the error does not print it.
                true => expected,
                false => format!("{expected}, found {value:?}"),
            }),
            None => {
                let section = name.split_once('.').map_or(name, |(section, _)| section);
                let keys: Vec<_> = fields().iter().filter(|field| field.section == section).map(|f| f.key).collect();
                if !keys.is_empty() {
                    return Err(format!("there is no such setting; [{section}] has {}", keys.join(", ")));
                }
                let mut sections: Vec<_> = fields().iter().map(|field| field.section).collect();
                sections.dedup();
                Err(format!("there is no such setting; the sections are {}", sections.join(", ")))
            }
        }
    }

    /// Sets `postgres.url`.
    pub fn set_postgres(&mut self, url: &str) -> Result<(), String> {
        self.set("postgres.url", url)
    }

    /// Prints the configuration as a file that [`Config::load`] can read, with an explanation of each key.
    pub fn file(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        for field in fields() {
            if field.section != section {
                section = field.section;
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{}[{section}]", if out.is_empty() { "" } else { "\n" });
            }
            let _ = writeln!(out, "# {}\n{} = {}", field.help, field.key, (field.get)(self));
        }
        out
    }

    /// Returns the configuration as JSON.
    pub fn json(&self) -> serde_json::Value {
        let mut sections = serde_json::Map::new();
        for field in fields() {
            let section = sections.entry(field.section).or_insert_with(|| serde_json::json!({}));
            section[field.key] = serde_json::to_value((field.get)(self)).unwrap_or_default();
        }
        sections.into()
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::TruncatePolicy;

    fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let file = "[http]\nlisten = \"127.0.0.1:1\"\n[dedup]\nhorizon_hours = 48\n";
        let config = Config::from_parts(
            file,
            env(&[("NOVA_HTTP_LISTEN", "127.0.0.1:2"), ("NOVA_TEST_KAFKA", "x"), ("PATH", "y")]),
        );
        let config = config.unwrap();
        assert_eq!((config.listen.port(), config.dedup_horizon_hours), (2, 48));
    }

    #[test]
    fn every_problem_is_told_with_its_key_and_the_way_out() {
        let file = "loose = 1\n[http]\nlisten = \"here\"\nlissten = 1\n[dedup]\nhorizon_hours = 5\n";
        let error = Config::from_parts(file, env(&[("NOVA_LOG_LEVEL", "loud"), ("NOVA_CACHE_REDIS_URL", "x")]));
        let text = error.unwrap_err().to_string();
        for part in [
            "loose:",
            "http.listen: expected an address",
            "http.lissten: there is no such",
            "dedup.horizon_hours: expected 24 to 720",
            "log.level: expected error",
            "cache.redis_url: expected redis://",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn a_file_that_cannot_be_read_hides_no_problem_of_the_environment() {
        let loud = || env(&[("NOVA_LOG_LEVEL", "loud"), ("NOVA_HTTP_BAR", "1")]);
        let broken = Config::from_parts("[http", loud()).unwrap_err();
        let unread = Config::load(Some(Path::new("/nowhere/nova.toml")), loud()).unwrap_err();
        for error in [&broken, &unread] {
            assert_eq!(error.0.len(), 3, "{error}");
            assert!(error.0[1].starts_with("http.bar: there is no such setting; [http] has listen"), "{error}");
            assert!(error.0[1].ends_with("(from NOVA_HTTP_BAR)") && error.0[2].ends_with("(from NOVA_LOG_LEVEL)"));
        }
        let foreign = Config::from_parts("", env(&[("NOVA_FOO_BAR", "1"), ("NOVA_HTTP_PORT", "tcp://10.0.0.1:80")]));
        assert_eq!(foreign.unwrap().foreign_variables, ["NOVA_FOO_BAR", "NOVA_HTTP_PORT"]);
        let far = Config::from_parts("[foo]\nbar = 1\n", env(&[])).unwrap_err();
        assert!(far.0[0].starts_with("foo.bar: there is no such setting; the sections are store, http,"), "{far}");
        let near = Config::from_parts("[store]\ndir = \"x\"\n", env(&[])).unwrap_err();
        assert_eq!(near.0, ["store.dir: there is no such setting; [store] has data_dir"]);
    }

    #[test]
    fn the_edge_is_configured_by_file_and_environment_and_checked_as_a_whole() {
        let file =
            "[http]\ncors_origins = [\"https://a.example\"]\n[auth]\nissuer = \"me\"\n[limits]\nenabled = false\n";
        let environment = [("NOVA_HTTP_TRUSTED_PROXIES", "10.0.0.0/8, ::1"), ("NOVA_AUTH_JWKS_FILE", "/keys.json")];
        let config = Config::from_parts(file, env(&environment)).unwrap();
        assert_eq!(config.edge.cors_origins, ["https://a.example"]);
        assert_eq!(config.edge.trusted_proxies.len(), 2);
        assert!(!config.edge.limits.enabled && !config.edge.keys.development());
        assert_eq!(Config::from_parts(&config.file(), env(&[])), Ok(config.clone()));
        for (given, expected) in [("nova", vec!["nova"]), ("a, b", vec!["a", "b"]), ("*", vec!["*"]), ("", vec![])] {
            let config = Config::from_parts("", env(&[environment[1], ("NOVA_AUTH_AUDIENCE", given)])).unwrap();
            assert_eq!(config.edge.keys.audience, expected);
        }
        let list = Config::from_parts("[auth]\naudience = [\"a\", \"b\"]\njwks_file = \"/k\"\n", env(&[])).unwrap();
        assert_eq!(list.edge.keys.audience, ["a", "b"]);
        let both = [environment[1], ("NOVA_AUTH_HS256_SECRET_FILE", "/secret")];
        let text = Config::from_parts("[auth]\naudience = [\"\"]\n", env(&both)).unwrap_err().to_string();
        assert!(
            text.contains("auth.audience: expected texts") && text.contains("auth.hs256_secret_file: stands beside")
        );
        let wrong = [
            ("NOVA_AUTH_ISSUER", "me"),
            ("NOVA_HTTP_TLS_CERT", "/cert"),
            ("NOVA_HTTP_CORS_ORIGINS", "https://a.example/path"),
            ("NOVA_HTTP_TRUSTED_PROXIES", "localhost"),
            ("NOVA_LIMITS_FEED_PER_S", "0"),
        ];
        let text = Config::from_parts("", env(&wrong)).unwrap_err().to_string();
        for part in ["auth.jwks_file: is needed", "http.tls_cert: needs", "write that", "networks", "1 to 1000000"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn numbers_of_ranking_are_set_and_a_wrong_one_is_told_with_its_range() {
        let file = "[feed]\nrecency_weight = 0.25\nlength = 50\n[trending]\nwindows = [\"24h\", \"1h\"]\n";
        let environment = [("NOVA_ENGAGEMENT_LIKE_WEIGHT", "2.5"), ("NOVA_SUGGESTIONS_LIST_MAX", "7")];
        let config = Config::from_parts(file, env(&environment)).unwrap();
        assert_eq!((config.ranking.feed.recency_weight.get(), config.ranking.feed.length), (0.25, 50));
        assert_eq!(config.ranking.weights, [0, 1, 25, 30, 50]);
        assert_eq!(config.ranking.trending.windows, [true, false, true, false]);
        assert_eq!(config.ranking.suggestions.list_max, 7);
        assert_eq!(Config::from_parts(&config.file(), env(&[])), Ok(config.clone()));
        assert_eq!(config.json()["feed"]["recency_weight"], 0.25);
        let file =
            "[feed]\nrecency_decay = -1\nlength = 601\nauthor_distance = 2.5\n[engagement]\nview_weight = 0.05\n";
        let error = Config::from_parts(file, env(&[("NOVA_TRENDING_WINDOWS", "1h")])).unwrap_err();
        let expected = [
            "engagement.view_weight: expected 0 to 1000, in steps of 0.1, found \"0.05\"",
            "feed.author_distance: expected 1 to 10, found \"2.5\"",
            "feed.length: expected 1 to 600, found \"601\"",
            "feed.recency_decay: expected 0 to 10, in steps of 0.001, found \"-1\"",
            "trending.windows: 24h is not among them",
        ];
        assert_eq!(error.0.len(), expected.len(), "{error}");
        assert!(error.0.iter().zip(expected).all(|(told, expected)| told.starts_with(expected)), "{error}");
    }

    #[test]
    fn a_cluster_needs_replicated_tables_and_a_name_without_quotes() {
        let cluster = ("NOVA_CLICKHOUSE_CLUSTER", "main");
        let text = Config::from_parts("", env(&[cluster])).unwrap_err().to_string();
        assert_eq!(text, "clickhouse.cluster: needs clickhouse.replicated = true");
        assert!(Config::from_parts("", env(&[cluster, ("NOVA_CLICKHOUSE_REPLICATED", "true")])).is_ok());
        assert!(Config::from_parts("", env(&[("NOVA_CLICKHOUSE_CLUSTER", "a' SYNC")])).is_err());
    }

    #[test]
    fn secrets_are_never_printed() {
        let file = "[clickhouse]\nurl = \"http://h:8123\"\npassword = \"hunter2\"\n\
                    [postgres]\nurl = \"postgres://me:hunter9@h/app?sslmode=disable\"\n";
        let config = Config::from_parts(file, env(&[("NOVA_KAFKA_SASL_PASSWORD", "hunter3")])).unwrap();
        assert_eq!(config.clickhouse_password.as_deref(), Some("hunter2"));
        for text in [config.file(), config.json().to_string(), format!("{config:?}")] {
            assert!(!text.contains("hunter"), "{text}");
        }
        let leaks = [
            ("NOVA_CLICKHOUSE_URL", "http://me:hunter4@h:8123"),
            ("NOVA_REGISTRY_URL", "https://me:hunter5@h/"),
            ("NOVA_CACHE_REDIS_URL", "http://:hunter6@h"),
            ("NOVA_POSTGRES_URL", "mysql://me:hunter7@h/app"),
            ("NOVA_POSTGRES_URL", "postgres://me:hunter8@h:port/app"),
        ];
        for leak in leaks {
            let text = Config::from_parts("", env(&[leak])).unwrap_err().to_string();
            assert!(!text.contains("hunter"), "{text}");
        }
    }

    #[test]
    fn the_printed_file_reads_back_as_the_same_configuration() {
        let config = Config { log_json: true, truncate: TruncatePolicy::Apply, ..Config::default() };
        assert_eq!(Config::from_parts(&config.file(), env(&[])), Ok(config.clone()));
        assert_eq!(config.json()["log"]["format"], "json");
        let documented = include_str!("../../docs/configuration.md");
        assert!(documented.contains(&Config::default().file()), "docs/configuration.md is not `nova config --default`");
    }
}
