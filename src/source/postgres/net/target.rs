//! The hosts in the address of a PostgreSQL server, each with the role and the session's settings.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host};

use crate::source::postgres::server::Failure;

use super::settings::{ConnectSettings, SslMode};

/// How long nova waits until a connection to PostgreSQL is established.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);
/// The time after which the operating system reports a broken connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);
/// The session's `wal_sender_timeout` in seconds: half of the longest silence after which a session still counts as
/// alive.
const WAL_SENDER_TIMEOUT_S: u64 = 30;

/// Returns the settings that make every server write values as the same text, and that keep the server from ending
/// sessions because of their age.
pub(super) fn session_options() -> String {
    let pinned = [
        "datestyle=ISO",
        "timezone=UTC",
        "intervalstyle=postgres",
        "extra_float_digits=1",
        "bytea_output=hex",
        "client_encoding=UTF8",
        "statement_timeout=0",
        "lock_timeout=0",
        "idle_session_timeout=0",
        "idle_in_transaction_session_timeout=0",
        // nova must read all rows, whatever the role's own setting is.
        "row_security=off",
        "search_path=pg_catalog",
    ];
    let mut options: Vec<_> = pinned.iter().map(|one| format!("-c {one}")).collect();
    options.push(format!("-c wal_sender_timeout={WAL_SENDER_TIMEOUT_S}s"));
    options.join(" ")
}

/// One host in the address of a PostgreSQL server.
#[derive(Clone)]
pub(super) struct Target {
    pub config: Config,
    pub host: String,
    pub port: u16,
    pub password: String,
}

/// Returns the address without its parameter `sslmode`, and the TLS mode that the parameter names. Addresses of managed
/// servers often have this parameter. Returns `None` if the mode is not a mode of libpq.
pub fn split_ssl_mode(url: &str) -> Option<(String, Option<SslMode>)> {
    // The role and the password end at the first `@`, and the parameters of the address come after this `@`.
    let begin = url.find('@').map_or(0, |at| at + 1);
    let Some(mark) = url[begin..].find('?').map(|mark| begin + mark) else { return Some((url.to_owned(), None)) };
    let (place, parameters) = (&url[..mark], &url[mark + 1..]);
    let (modes, others): (Vec<_>, Vec<_>) = parameters.split('&').partition(|one| one.starts_with("sslmode="));
    let mode = match modes.last().and_then(|mode| mode.split_once('=')) {
        Some((_, name)) => Some(SslMode::from_name(name)?),
        None => None,
    };
    let others = others.join("&");
    Some((if others.is_empty() { place.to_owned() } else { format!("{place}?{others}") }, mode))
}

/// Parameters of libpq, poolers and other clients, each with a remedy. People often copy such a parameter together with
/// an address. An error names only known parameters, because the text of an unknown parameter may be a part of a
/// password.
const UNKNOWN_PARAMETERS: [(&[&str], &str); 5] = [
    (&["sslrootcert"], "set postgres.ca_file instead"),
    (&["passfile"], "set postgres.password_file instead, a file with the password alone in its first line"),
    (
        &["sslcert", "sslkey", "sslpassword", "sslcertmode", "sslidentity"],
        "leave it out: nova shows no certificate of its own, and has a password (postgres.password_file)",
    ),
    (
        &["schema", "search_path", "currentSchema"],
        "leave it out: the publication says in which schema the tables are (nova postgres setup --schema)",
    ),
    (
        &[
            "gssencmode",
            "gsslib",
            "gssdelegation",
            "krbsrvname",
            "require_auth",
            "requirepeer",
            "requiressl",
            "sslaccept",
            "sslcompression",
            "sslcrl",
            "sslcrldir",
            "sslsni",
            "ssl",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
            "client_encoding",
            "fallback_application_name",
            "replication",
            "service",
            "servicefile",
            "keepalives_count",
            "pgbouncer",
            "connection_limit",
            "pool_timeout",
            "socket_timeout",
            "statement_cache_size",
            "statement_cache_mode",
            "prepareThreshold",
            "supa",
        ],
        "leave it out: nova does without (TLS: postgres.ssl_mode)",
    ),
];

/// Returns the message for a parameter of the address that nova does not accept. Returns `None` if nova accepts all
/// parameters of the address.
pub fn unknown_parameter(url: &str) -> Option<String> {
    let begin = url.find('@').map_or(0, |at| at + 1);
    let (_, parameters) = url[begin..].split_once('?')?;
    let mut names = parameters.split('&').filter_map(|one| one.split('=').next());
    let told = |name: &str| {
        let (_, remedy) = UNKNOWN_PARAMETERS.iter().find(|(names, _)| names.contains(&name))?;
        Some(format!("nova does not take the parameter {name}: {remedy}"))
    };
    names.find_map(told)
}

/// Returns the role that an address names.
pub fn role_of(url: &str) -> Option<String> {
    let config: Config = url.parse().ok()?;
    config.get_user().map(str::to_owned)
}

/// Returns what PostgreSQL stores for the configured password (SCRAM-SHA-256), so that no statement contains the
/// password itself. Returns `None` if no password is configured.
pub fn verifier(settings: &ConnectSettings) -> Result<Option<String>, Failure> {
    let password = targets(settings)?.into_iter().next().map(|target| target.password).unwrap_or_default();
    Ok((!password.is_empty()).then(|| postgres_protocol::password::scram_sha_256(password.as_bytes())))
}

/// Returns a target for each host of the address.
pub(super) fn targets(settings: &ConnectSettings) -> Result<Vec<Target>, Failure> {
    let wrong = |detail: String| Failure::Wrong(format!("postgres.url: {detail}"));
    // The library's error text may contain a part of the address, so nova does not print it.
    let expected = || "expected postgres://user@host:port/database".to_owned();
    let all: Config =
        settings.url.parse().map_err(|_| wrong(unknown_parameter(&settings.url).unwrap_or_else(expected)))?;
    let binding = all.get_channel_binding();
    if binding == ChannelBinding::Require && settings.ssl_mode == SslMode::Disable {
        let text =
            "channel_binding=require needs TLS, and postgres.ssl_mode (or sslmode) is disable: leave one of them out";
        return Err(wrong(text.to_owned()));
    }
    let password = match &settings.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Wrong(format!("postgres.password_file: {}: {error}", path.display())))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => String::from_utf8_lossy(all.get_password().unwrap_or_default()).into_owned(),
    };
    let user = all.get_user().ok_or_else(|| wrong("names no user".to_owned()))?.to_owned();
    let database = all.get_dbname().unwrap_or(&user).to_owned();
    let ports = all.get_ports();
    let target = |(index, host): (usize, &Host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5_432);
        let mut config = Config::new();
        let host = match host {
            Host::Tcp(name) => {
                config.host(name.as_str());
                name.clone()
            }
            Host::Unix(path) => {
                config.host_path(path);
                path.display().to_string()
            }
        };
        config.port(port).user(user.as_str()).dbname(database.as_str()).options(session_options());
        config.application_name("nova").connect_timeout(CONNECT_MAX).channel_binding(binding);
        config.keepalives_idle(TCP_KEEPALIVE).tcp_user_timeout(TCP_USER_TIMEOUT);
        if !password.is_empty() {
            config.password(password.as_bytes());
        }
        Target { config, host, port, password: password.clone() }
    };
    let targets: Vec<_> = all.get_hosts().iter().enumerate().map(target).collect();
    if targets.is_empty() { Err(wrong("names no host".to_owned())) } else { Ok(targets) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_of_an_address_is_a_target_with_its_port() {
        let url = "postgres://me:secret@one:1,two:2/app?sslmode=disable".to_owned();
        let server = ConnectSettings { url, ..ConnectSettings::default() };
        let found = targets(&server).unwrap();
        let places: Vec<_> = found.iter().map(|target| (target.host.as_str(), target.port)).collect();
        assert_eq!(places, [("one", 1), ("two", 2)]);
        assert_eq!(found[0].password, "secret");
        let split = |url: &str| split_ssl_mode(url);
        assert_eq!(
            split("postgres://h/d?a=b&sslmode=require&c=d"),
            Some(("postgres://h/d?a=b&c=d".into(), Some(SslMode::Require)))
        );
        assert_eq!(
            split("postgres://h/d?sslmode=verify-full"),
            Some(("postgres://h/d".into(), Some(SslMode::VerifyFull)))
        );
        assert_eq!((split("postgres://h/d?sslmode=no"), split("h").unwrap().1), (None, None));
        // A question mark in the password does not begin the parameters of the address.
        assert_eq!(split("postgres://me:a?sslmode=no@h/d"), Some(("postgres://me:a?sslmode=no@h/d".into(), None)));
        for wrong in ["", "postgres://me@/", "mysql://me:hunter2@h/d"] {
            let server = ConnectSettings { url: wrong.to_owned(), ..ConnectSettings::default() };
            let told = targets(&server).err().map_or(String::new(), |failure| failure.to_string());
            assert!(told.starts_with("postgres.url: ") && !told.contains("hunter2"), "{wrong}: {told}");
        }
    }

    #[test]
    fn a_parameter_that_nova_does_not_take_is_named_with_the_setting_to_use_instead() {
        let told = |url: &str, ssl_mode| {
            let server = ConnectSettings { url: url.to_owned(), ssl_mode, ..ConnectSettings::default() };
            targets(&server).err().map_or(String::new(), |failure| failure.to_string())
        };
        for (parameter, words) in [
            ("sslrootcert=/etc/ca.pem", "parameter sslrootcert: set postgres.ca_file"),
            ("application_name=x&gssencmode=disable", "parameter gssencmode: leave it out"),
            ("schema=app", "nova postgres setup --schema"),
            ("passfile=x", "postgres.password_file"),
            ("hunter2=x", "expected postgres://user@host:port/database"),
        ] {
            let told = told(&format!("postgres://me@h/d?{parameter}"), SslMode::Prefer);
            assert!(told.contains(words) && !told.contains("hunter2"), "{told}");
        }
        let bound = "postgres://me@h/d?channel_binding=require";
        assert!(told(bound, SslMode::Disable).contains("needs TLS"));
        assert_eq!(told(bound, SslMode::Require), "");
        let server = ConnectSettings { url: bound.to_owned(), ..ConnectSettings::default() };
        assert_eq!(targets(&server).unwrap()[0].config.get_channel_binding(), ChannelBinding::Require);
    }
}
