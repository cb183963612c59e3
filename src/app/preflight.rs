//! Finds problems of a configuration that `nova serve` would refuse: files, certificates, keys, settings of Kafka, and
//! addresses that conflict. nova checks the whole configuration before it opens a store or binds an address, so one
//! start shows everything that must be corrected.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use rustix::net::sockopt::ipv6_v6only;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::config::Config;
use crate::http;
use crate::http::auth::check_keys;
use crate::source::postgres::net;
use crate::tls::authorities;

use super::setup;

/// Returns one line for each problem of the configuration. The line about a problem begins with the setting that has
/// the problem. The check of the configuration sends no requests to servers.
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
    problems.extend(meeting(&addresses(config)));
    problems
}

/// A setting that holds an address, and that address.
pub type Named = (&'static str, SocketAddr);

/// Returns each address on which a node listens, with its setting.
pub fn addresses(config: &Config) -> Vec<Named> {
    let others = [("http.admin_listen", config.edge.admin_listen), ("cache.listen", config.cache_listen)];
    let others = others.into_iter().filter_map(|(setting, addr)| Some((setting, addr?)));
    std::iter::once(("http.listen", config.listen)).chain(others).collect()
}

/// Returns a problem for each pair of addresses on which one program cannot listen. bind(2) accepts both addresses of
/// such a pair. Of two conflicting addresses, only the second listen(2) would fail, after nova has made the store.
fn meeting(addresses: &[Named]) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, (later, second)) in addresses.iter().enumerate() {
        for (earlier, first) in &addresses[..at] {
            if meet(*first, *second, dual_stack) {
                problems.push(format!(
                    "{later}: {second} and {earlier}, which is {first}, are one place to listen: give one of them another port"
                ));
            }
        }
    }
    problems
}

/// Whether a client that connects to the first of two addresses may reach a listener on the second address, or the
/// reverse.
fn meet(one: SocketAddr, other: SocketAddr, dual_stack: fn() -> bool) -> bool {
    let (one, other) = (canonical(one), canonical(other));
    // Port 0 means that the system chooses a free port.
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    match (one.ip(), other.ip()) {
        (IpAddr::V6(ip), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(ip)) => ip.is_unspecified() && dual_stack(),
        (first, second) => one == other || first.is_unspecified() || second.is_unspecified(),
    }
}

/// Converts an IPv4 address that is written as an IPv6 address (`::ffff:…`) to plain IPv4.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// Whether a listener on all IPv6 addresses also accepts connections to IPv4 addresses (ipv6(7)). A listener on all
/// IPv6 addresses accepts IPv4 connections unless the machine sets `bindv6only`.
fn dual_stack() -> bool {
    let only = socket(AddressFamily::INET6, SocketType::STREAM, None).and_then(|socket| ipv6_v6only(&socket));
    only.is_ok_and(|only| !only)
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
    fn two_listeners_at_one_place_are_told_with_both_settings() {
        let given = [
            ("NOVA_HTTP_LISTEN", ":9100"),
            ("NOVA_HTTP_ADMIN_LISTEN", "127.0.0.1:9100"),
            ("NOVA_CACHE_LISTEN", "127.0.0.1:9100"),
        ];
        let found = problems(&config(&given));
        assert_eq!(found.len(), 3, "{found:?}");
        let told = |later: &str, earlier: &str| {
            let words =
                |line: &&String| line.starts_with(later) && line.contains(earlier) && line.contains("another port");
            found.iter().filter(words).count() == 1
        };
        assert!(told("http.admin_listen: 127.0.0.1:9100", "http.listen, which is 0.0.0.0:9100"), "{found:?}");
        assert!(told("cache.listen:", "http.listen,") && told("cache.listen:", "http.admin_listen,"), "{found:?}");
        let free = [
            ("NOVA_HTTP_LISTEN", "127.0.0.1:0"),
            ("NOVA_HTTP_ADMIN_LISTEN", "127.0.0.1:0"),
            ("NOVA_CACHE_LISTEN", ":0"),
        ];
        assert_eq!(problems(&config(&free)), Vec::<String>::new());
    }

    #[test]
    fn addresses_meet_where_one_has_the_connections_of_the_other() {
        let meets = |one: &str, other: &str, dual: fn() -> bool| {
            let (one, other): (SocketAddr, SocketAddr) = (one.parse().unwrap(), other.parse().unwrap());
            let there = meet(one, other, dual);
            assert_eq!(meet(other, one, dual), there, "{one} {other}");
            there
        };
        for (one, other, dual, single) in [
            ("127.0.0.1:80", "127.0.0.1:80", true, true),
            ("127.0.0.1:80", "127.0.0.1:81", false, false),
            ("127.0.0.1:80", "127.0.0.2:80", false, false),
            ("0.0.0.0:80", "127.0.0.1:80", true, true),
            ("0.0.0.0:0", "0.0.0.0:0", false, false),
            ("[::]:80", "[::1]:80", true, true),
            ("[::]:80", "0.0.0.0:80", true, false),
            ("[::]:80", "127.0.0.1:80", true, false),
            ("[::1]:80", "127.0.0.1:80", false, false),
            ("[::1]:80", "0.0.0.0:80", false, false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true, true),
            ("[fe80::1%1]:80", "[fe80::1%2]:80", false, false),
        ] {
            assert_eq!(meets(one, other, || true), dual, "{one} {other}");
            assert_eq!(meets(one, other, || false), single, "{one} {other}");
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
