//! What a configuration names and `nova serve` would refuse: files, certificates, keys, settings of Kafka. All of it is
//! looked at before a store is opened or an address bound, so that one start tells everything that is to be corrected.

use std::path::Path;

use crate::config::Config;
use crate::http;
use crate::http::auth::check_keys;
use crate::source::postgres::net;
use crate::tls::authorities;

use super::setup;

/// A line for each problem, which begins with the setting. Asks no server.
pub fn problems(config: &Config) -> Vec<String> {
    let edge = &config.edge;
    let mut problems = Vec::new();
    problems.extend(http::check_tls(edge).err().map(|error| error.to_string()));
    problems.extend(check_keys(&edge.keys).err().map(|error| error.to_string()));
    for (setting, path) in [
        ("kafka.ssl_ca_location", &config.kafka_ssl_ca_location),
        ("registry.ca_file", &config.registry_ca_file),
        ("clickhouse.ca_file", &config.clickhouse_ca_file),
    ] {
        let failed = path.as_deref().and_then(|path| authorities(Path::new(path)).err());
        problems
            .extend(failed.map(|error| format!("{setting}: {}", error.to_string().trim_start_matches("ca_file: "))));
    }
    if let Some(path) = &config.clickhouse_password_file {
        let failed = std::fs::read_to_string(path).err();
        problems.extend(failed.map(|error| format!("clickhouse.password_file: {path}: {error}")));
    }
    if let Some(settings) = setup::postgres(config) {
        problems.extend(net::check(&settings.connect).err().map(|failure| failure.to_string()));
    }
    if let Some(settings) = setup::kafka(config) {
        problems.extend(settings.check().err().map(|error| format!("kafka: {error}")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(None, variables).unwrap()
    }

    #[test]
    fn each_file_that_is_not_there_is_told_with_its_setting() {
        assert_eq!(problems(&config(&[])), Vec::<String>::new());
        let all = [
            ("NOVA_HTTP_TLS_CERT", "http.tls_cert"),
            ("NOVA_AUTH_JWKS_FILE", "auth.jwks_file"),
            ("NOVA_REGISTRY_CA_FILE", "registry.ca_file"),
            ("NOVA_CLICKHOUSE_CA_FILE", "clickhouse.ca_file"),
            ("NOVA_CLICKHOUSE_PASSWORD_FILE", "clickhouse.password_file"),
            ("NOVA_POSTGRES_PASSWORD_FILE", "postgres.password_file"),
        ];
        let others =
            [("NOVA_HTTP_TLS_KEY", "/nowhere/key.pem"), ("NOVA_POSTGRES_URL", "postgres://nova@127.0.0.1/app")];
        let given: Vec<_> = all.iter().map(|(name, _)| (*name, "/nowhere/file")).chain(others).collect();
        let found = problems(&config(&given));
        assert_eq!(found.len(), all.len(), "{found:?}");
        for (_, setting) in all {
            assert!(found.iter().any(|line| line.starts_with(setting) && line.contains("/nowhere/")), "{setting}");
        }
    }

    #[test]
    fn settings_that_the_kafka_client_refuses_are_told_before_a_broker_is_asked() {
        let given = |protocol| [("NOVA_KAFKA_BROKERS", "127.0.0.1:1"), ("NOVA_KAFKA_SECURITY_PROTOCOL", protocol)];
        assert_eq!(problems(&config(&given("plaintext"))), Vec::<String>::new());
        let found = problems(&config(&given("sasl")));
        assert!(
            found.len() == 1 && found[0].starts_with("kafka: ") && found[0].contains("security.protocol"),
            "{found:?}"
        );
    }
}
