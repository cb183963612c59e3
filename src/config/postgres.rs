//! The configuration keys of `[postgres]`.

use toml::Value;

use super::fields::Field;
use super::settings::Config;
use super::text::{optional, shown};
use crate::source::postgres::net::{SslMode, split_ssl_mode, unknown_parameter};

/// The maximum length in bytes of a name in PostgreSQL.
const NAME_MAX_BYTES: usize = 63;

/// Checks the name of a slot or publication, because nova puts the name into commands without quotes.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match (1..=NAME_MAX_BYTES).contains(&text.len()) && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 63 lower case letters, digits and underscores".to_owned()),
    }
}

/// Checks a connection URI of PostgreSQL. The error of the parser is not shown, because it may contain a password.
fn address(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let expected = || "expected postgres://user@host:port/database, several hosts with commas".to_owned();
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(expected());
    }
    let modes = || format!("expected a sslmode of {}", SslMode::ALL.map(SslMode::name).join(", "));
    let (plain, _) = split_ssl_mode(text).ok_or_else(modes)?;
    // If a password contains an @, the text behind the first @ would count as a host or a database, and nova would show
    // this part of the password.
    if text.matches('@').count() > 1 {
        return Err("an @ in a name or a password is written as %40".to_owned());
    }
    let config: tokio_postgres::Config =
        plain.parse().map_err(|_| unknown_parameter(&plain).unwrap_or_else(expected))?;
    match config.get_user().is_some() && !config.get_hosts().is_empty() {
        true => Ok(optional(text)),
        false => Err(expected()),
    }
}

/// The parameters of a connection URI that contain no secret.
const OPEN: [&str; 9] = [
    "sslmode",
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "port",
    "target_session_attrs",
    "user",
];

/// Returns the connection URI as nova prints it, without the password.
fn masked(config: &Config) -> Value {
    let Some(url) = config.postgres_url.as_deref() else { return Value::from("") };
    Value::from(without_password(url).unwrap_or_else(|| "***".to_owned()))
}

/// Returns the connection URI without its password. The URI is split as for a connection: name and password end at the
/// first @. Returns `None` if no connection can be made with the URI, or if a second @ would make a part of the
/// password look like a host.
fn without_password(url: &str) -> Option<String> {
    address(url).ok()??;
    let (scheme, rest) = url.split_once("://")?;
    let (credentials, place) = match rest.split_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let credentials = match credentials.map(|text| text.split_once(':').ok_or(text)) {
        Some(Ok((user, _))) => format!("{user}:***@"),
        Some(Err(user)) => format!("{user}@"),
        None => String::new(),
    };
    let is_open = |one: &str| one.split_once('=').is_some_and(|(name, _)| OPEN.contains(&name));
    let place = match place.split_once('?') {
        Some((place, parameters)) if !parameters.split('&').all(is_open) => format!("{place}?***"),
        _ => place.to_owned(),
    };
    Some(format!("{scheme}://{credentials}{place}"))
}

pub(super) const FIELDS: &[Field] = &[
    Field {
        section: "postgres",
        key: "url",
        help: "nova follows PostgreSQL itself, without Debezium and Kafka, at postgres://user@host:port/database. When unset, changes come from Kafka.",
        set: |config, text| {
            config.postgres_url = address(text)?;
            Ok(())
        },
        get: masked,
    },
    Field {
        section: "postgres",
        key: "password_file",
        help: "The first line of this file is the password. nova reads it for each connection, so a rotated password needs no restart.",
        set: |config, text| {
            config.postgres_password_file = optional(text);
            Ok(())
        },
        get: |config| shown(&config.postgres_password_file),
    },
    Field {
        section: "postgres",
        key: "ssl_mode",
        help: "TLS to PostgreSQL is disable, prefer, require, verify-ca or verify-full, as in libpq; an sslmode in postgres.url wins. The default is prefer.",
        set: |config, text| {
            let modes = || SslMode::ALL.map(SslMode::name).join(", ");
            config.postgres_ssl_mode =
                SslMode::from_name(text).ok_or_else(|| format!("expected one of {}", modes()))?;
            Ok(())
        },
        get: |config| Value::from(config.postgres_ssl_mode.name()),
    },
    Field {
        section: "postgres",
        key: "ca_file",
        help: "This PEM file holds the certificate authority of the server. When unset, nova uses Mozilla's list.",
        set: |config, text| {
            config.postgres_ca_file = optional(text);
            Ok(())
        },
        get: |config| shown(&config.postgres_ca_file),
    },
    Field {
        section: "postgres",
        key: "slot",
        help: "nova makes this replication slot, which belongs to one store. The default is nova.",
        set: |config, text| {
            config.postgres_slot = name(text)?;
            Ok(())
        },
        get: |config| Value::from(config.postgres_slot.as_str()),
    },
    Field {
        section: "postgres",
        key: "publication",
        help: "nova reads this publication of the tables users, posts, follows, comments and likes. The default is nova.",
        set: |config, text| {
            config.postgres_publication = name(text)?;
            Ok(())
        },
        get: |config| Value::from(config.postgres_publication.as_str()),
    },
    Field {
        section: "postgres",
        key: "failover",
        help: "With true, standbys that synchronise slots keep this slot (PostgreSQL 17 and later). The default is true.",
        set: |config, text| {
            config.postgres_failover = text.parse().map_err(|_| "expected true or false".to_owned())?;
            Ok(())
        },
        get: |config| Value::from(config.postgres_failover),
    },
    Field {
        section: "postgres",
        key: "on_slot_lost",
        help: "When the slot is lost, halt waits for a person (nova cdc resnapshot), and resnapshot reads all tables again, at most three times an hour. The default is halt.",
        set: |config, text| {
            config.postgres_resnapshot = match text {
                "halt" => false,
                "resnapshot" => true,
                _ => return Err("expected halt or resnapshot".to_owned()),
            };
            Ok(())
        },
        get: |config| Value::from(if config.postgres_resnapshot { "resnapshot" } else { "halt" }),
    },
    Field {
        section: "postgres",
        key: "max_held_wal_mib",
        help: "nova drops the slot when the server keeps more than this many MiB of its log for it, 0 to 1048576; then all tables must be read again. The default is 0, no limit.",
        set: |config, text| {
            config.postgres_max_held_wal_mib =
                text.parse().ok().filter(|mib| *mib <= 1_048_576).ok_or("expected 0 to 1048576")?;
            Ok(())
        },
        get: |config| Value::from(i64::from(config.postgres_max_held_wal_mib)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(url: String) -> String {
        let config = Config { postgres_url: Some(url), ..Config::default() };
        masked(&config).as_str().unwrap().to_owned()
    }

    proptest! {
        /// In this test, passwords have no small letters, and the rest of each address has no capital letters.
        #[test]
        fn no_part_of_a_password_is_shown(password in "[A-Z/?@:#%&=,\\[\\]]{1,12}", known in 0..4usize) {
            let more = ["", "?sslmode=disable", "?application_name=", "?user="][known];
            for url in [
                format!("postgres://me:{password}@127.0.0.1/app{more}"),
                format!("postgres://me:{password}x@h:1,i:2/app"),
                format!("postgres://me@h/app?password={password}"),
                format!("postgres://me@h/app?sslmode=disable&password={password}&application_name=a"),
                // An address without an @ names a host only, and nova refuses it because it names no user.
                format!("postgres://me:{}", password.replace('@', "")),
            ] {
                let shown = shown(url.clone());
                prop_assert!(!shown.chars().any(|one| one.is_ascii_uppercase()), "{} for {}", shown, url);
            }
        }
    }

    #[test]
    fn names_go_into_commands_and_are_plain() {
        assert_eq!(name("nova_2"), Ok("nova_2".to_owned()));
        for wrong in ["", "Nova", "a b", "a,b", "a'b", "a-b", &"a".repeat(64)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_masked_wherever_it_stands_in_the_address() {
        for (url, expected) in [
            ("postgres://me:secret@h:1,i:2/app", "postgres://me:***@h:1,i:2/app"),
            ("postgres://me@h/app?sslmode=disable", "postgres://me@h/app?sslmode=disable"),
            ("postgresql://me@h/app?password=secret", "postgresql://me@h/app?***"),
            ("postgres://me:se/cret@127.0.0.1/app", "postgres://me:***@127.0.0.1/app"),
            ("postgres://me:se?cr=et@h/app", "postgres://me:***@h/app"),
            // No connection can be made with this address, because an @ in a password must be written as %40.
            ("postgres://me:se:cr@et@h/app", "***"),
            ("postgres://me:se@cr/et@h/app", "***"),
        ] {
            let config = Config { postgres_url: Some(url.to_owned()), ..Config::default() };
            assert_eq!(masked(&config).as_str(), Some(expected));
        }
        assert!(address("postgres://me@h/app?sslmode=verify-full").is_ok());
        for wrong in [
            "h",
            "postgres://me@h/app?sslmode=maybe",
            "mysql://me@h/app",
            "postgres://h/app",
            "postgres://me@h:port/app",
            "postgres://me:a@b@h/app",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        let told = address("postgres://me@h/app?sslrootcert=/etc/ca.pem").unwrap_err();
        assert!(told.contains("postgres.ca_file"), "{told}");
    }
}
