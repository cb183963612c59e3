//! The keys of the edge: `[http]`, `[auth]`, `[limits]`.

use toml::Value;

use crate::http::ConsoleMode;

use super::fields::Field;
use super::origin;
use super::text::{address, filled, list, texts};

/// A text or path that may be unset.
macro_rules! optional {
    ($section:literal, $key:literal, $($member:ident).+, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                config.edge.$($member).+ = if text.is_empty() { None } else { Some(filled(text)?.into()) };
                Ok(())
            },
            get: |config| {
                let value = config.edge.$($member).+.as_ref().map(|value| std::path::Path::new(value).display());
                Value::from(value.map(|value| value.to_string()).unwrap_or_default())
            },
        }
    };
}

/// A number within bounds.
macro_rules! number {
    ($section:literal, $key:literal, $($member:ident).+, $range:expr, $expected:literal, $help:literal) => {
        Field {
            section: $section,
            key: $key,
            help: $help,
            set: |config, text| {
                let number = text.parse().ok().filter(|number| ($range).contains(number));
                config.edge.$($member).+ = number.ok_or($expected)?;
                Ok(())
            },
            get: |config| Value::from(i64::from(config.edge.$($member).+)),
        }
    };
}

/// A number of `[limits]` within bounds; a rate, in requests a second, where none are given.
macro_rules! limit {
    ($key:literal, $member:ident, $help:literal) => {
        limit!($key, $member, 1..=1_000_000, "expected 1 to 1000000", $help)
    };
    ($key:literal, $member:ident, $range:expr, $expected:literal, $help:literal) => {
        number!("limits", $key, limits.$member, $range, $expected, $help)
    };
}

pub(super) const FIELDS: &[Field] = &[
    Field {
        section: "http",
        key: "admin_listen",
        help: "Address and port of metrics and admin routes, which then are nowhere else. Unset: with the API.",
        set: |config, text| {
            config.edge.admin_listen = if text.is_empty() { None } else { Some(address(text)?) };
            Ok(())
        },
        get: |config| Value::from(config.edge.admin_listen.map(|addr| addr.to_string()).unwrap_or_default()),
    },
    optional!("http", "tls_cert", tls_cert, "PEM file of the certificate chain. Unset: no TLS."),
    optional!("http", "tls_key", tls_key, "PEM file of its key."),
    Field {
        section: "http",
        key: "cors_origins",
        help: "Origins whose pages may call, as a browser or web view sends them, such as https://app.example, or *.",
        set: |config, text| {
            let origins = list(text)?;
            origins.iter().try_for_each(|one| origin::check(one))?;
            config.edge.cors_origins = origins;
            Ok(())
        },
        get: |config| texts(config.edge.cors_origins.iter().cloned()),
    },
    Field {
        section: "http",
        key: "trusted_proxies",
        help: "Addresses or networks whose X-Forwarded-For or Forwarded is believed, such as 10.0.0.0/8.",
        set: |config, text| {
            let net = |one: &String| {
                let address = one.parse::<std::net::IpAddr>().map(Into::into);
                one.parse().or(address).map_err(|_| "expected addresses or networks".to_owned())
            };
            config.edge.trusted_proxies = list(text)?.iter().map(net).collect::<Result<_, String>>()?;
            Ok(())
        },
        get: |config| texts(config.edge.trusted_proxies.iter().map(ToString::to_string)),
    },
    number!(
        "http",
        "idle_timeout_s",
        idle_timeout_s,
        1..=3_600,
        "expected 1 to 3600",
        "How long a connection without a request is kept: longer than a proxy in front keeps its side."
    ),
    Field {
        section: "http",
        key: "console",
        help: "The console at /console/, with metrics and admin routes: off; read, where nothing can be changed from it; or full, where the role admin can act.",
        set: |config, text| {
            let mode = ConsoleMode::ALL.into_iter().find(|mode| mode.name() == text);
            config.edge.console = mode.ok_or("expected off, read or full")?;
            Ok(())
        },
        get: |config| Value::from(config.edge.console.name()),
    },
    optional!(
        "auth",
        "jwks_file",
        keys.jwks_file,
        "JSON Web Key Set of the issuer of tokens, read again when it changes. Nothing of [auth] set: the development key."
    ),
    optional!("auth", "jwks_url", keys.jwks_url, "The same from an address, instead."),
    optional!(
        "auth",
        "hs256_secret_file",
        keys.hs256_secret_file,
        "File (mode 0600) of a secret of at least 32 bytes, for tokens of HS256, instead."
    ),
    optional!(
        "auth",
        "issuer",
        keys.issuer,
        "What iss of a token must be, or * for any. To be set where there is a key set."
    ),
    Field {
        section: "auth",
        key: "audience",
        help: "One or several, one of which aud of a token must have, or * for any. To be set where there is a key set.",
        set: |config, text| {
            let names = list(text)?;
            if names.iter().any(String::is_empty) {
                return Err("expected texts that are not empty".to_owned());
            }
            config.edge.keys.audience = names;
            Ok(())
        },
        get: |config| texts(config.edge.keys.audience.iter().cloned()),
    },
    optional!("auth", "subject_claim", keys.subject_claim, "The claim that names the user. Unset: sub."),
    optional!(
        "auth",
        "require_typ",
        keys.require_typ,
        "The only typ that a token may have, such as at+jwt. Unset: JWT, at+jwt, or none."
    ),
    Field {
        section: "limits",
        key: "enabled",
        help: "Whether callers have quotas: a user, or without a token an address. A burst is two seconds' worth.",
        set: |config, text| {
            config.edge.limits.enabled = text.parse().map_err(|_| "expected true or false".to_owned())?;
            Ok(())
        },
        get: |config| Value::from(config.edge.limits.enabled),
    },
    limit!("feed_per_s", feed_per_s, "Feed pages; the roles service and admin have twenty times as many."),
    limit!("trending_per_s", trending_per_s, "Trending lists."),
    limit!("suggestions_per_s", suggestions_per_s, "Suggestions and dismissals."),
    limit!("events_per_s", events_per_s, "Requests with events, of up to 100 each."),
    limit!("admin_per_s", admin_per_s, "Admin requests."),
    limit!("public_per_s", public_per_s, "Metrics, the key set and the description of the API."),
    limit!("probes_per_s", probes_per_s, "Requests for health, by address."),
    limit!("refused_per_s", refused_per_s, "Requests without a valid token where one is needed, by address."),
    limit!(
        "lag_max_s",
        lag_max_s,
        1..=604_800,
        "expected 1 to 604800",
        "A node further behind its source is not ready; above 60 it grants fewer requests."
    ),
    limit!(
        "disk_min_mib",
        disk_min_mib,
        0..=1_048_576,
        "expected 0 to 1048576",
        "A node with less room on the store's disk is not ready."
    ),
];
