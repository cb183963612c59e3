//! The configuration keys of the edge: `[http]`, `[auth]` and `[limits]`.

use toml::Value;

use crate::http::ConsoleMode;

use super::fields::Field;
use super::origin;
use super::text::{address, filled, list, texts};

/// Makes the key of a text or path that may be unset.
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

/// Makes the key of a number within limits.
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

/// Makes the key of a number of `[limits]` within a given range. Without a given range, the number of `[limits]` is a
/// rate in requests a second.
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
        help: "Metrics and admin routes listen on this address and port, and nowhere else. When unset, they are with the API.",
        set: |config, text| {
            config.edge.admin_listen = if text.is_empty() { None } else { Some(address(text)?) };
            Ok(())
        },
        get: |config| Value::from(config.edge.admin_listen.map(|addr| addr.to_string()).unwrap_or_default()),
    },
    optional!(
        "http",
        "tls_cert",
        tls_cert,
        "This PEM file holds the certificate chain. When unset, nova listens without TLS."
    ),
    optional!("http", "tls_key", tls_key, "This PEM file holds the private key of tls_cert."),
    Field {
        section: "http",
        key: "cors_origins",
        help: "Pages of these origins may call the API. Write an origin as a browser or web view sends it, such as https://app.example; * allows all.",
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
        help: "nova believes X-Forwarded-For or Forwarded of these addresses or networks, such as 10.0.0.0/8, and of no others.",
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
        "nova closes a connection that had no request for this many seconds, 1 to 3600. The default is 75. Choose more than a proxy in front of nova uses."
    ),
    Field {
        section: "http",
        key: "console",
        help: "The console at /console/ is off; or read, where nobody can change anything from it; or full, where the role admin can act. The default is full.",
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
        "This file holds the JSON Web Key Set of the issuer of tokens. nova reads it again when it changes. When nothing of [auth] is set, nova uses its development key."
    ),
    optional!("auth", "jwks_url", keys.jwks_url, "nova gets the key set from this address, in place of a file."),
    optional!(
        "auth",
        "hs256_secret_file",
        keys.hs256_secret_file,
        "This file (mode 0600) holds a secret of at least 32 bytes for tokens of HS256, in place of a key set."
    ),
    optional!(
        "auth",
        "issuer",
        keys.issuer,
        "A token's iss must be this text; * allows any. Set it where there is a key set."
    ),
    Field {
        section: "auth",
        key: "audience",
        help: "A token's aud must have one of these texts; * allows any. Set it where there is a key set.",
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
    optional!(
        "auth",
        "subject_claim",
        keys.subject_claim,
        "This claim of a token names the user. When unset, it is sub."
    ),
    optional!(
        "auth",
        "require_typ",
        keys.require_typ,
        "A token's typ must be this text, such as at+jwt. When unset, it may be JWT, at+jwt or absent."
    ),
    Field {
        section: "limits",
        key: "enabled",
        help: "With true, each user has quotas, and each address without a token. A burst may be two seconds' worth. The default is true.",
        set: |config, text| {
            config.edge.limits.enabled = text.parse().map_err(|_| "expected true or false".to_owned())?;
            Ok(())
        },
        get: |config| Value::from(config.edge.limits.enabled),
    },
    limit!(
        "feed_per_s",
        feed_per_s,
        "A caller gets this many feed pages a second, 1 to 1000000. The roles service and admin get twenty times as many. The default is 100."
    ),
    limit!(
        "trending_per_s",
        trending_per_s,
        "A caller gets this many trending lists a second, 1 to 1000000. The default is 1000."
    ),
    limit!(
        "suggestions_per_s",
        suggestions_per_s,
        "A caller may ask for suggestions, or dismiss one, this many times a second, 1 to 1000000. The default is 50."
    ),
    limit!(
        "events_per_s",
        events_per_s,
        "A caller may send this many requests with events a second, 1 to 1000000, each of up to 100 events. The default is 50."
    ),
    limit!(
        "admin_per_s",
        admin_per_s,
        "A caller may send this many admin requests a second, 1 to 1000000. The default is 20."
    ),
    limit!(
        "public_per_s",
        public_per_s,
        "A caller may ask for metrics, the key set and the description of the API this many times a second, 1 to 1000000. The default is 50."
    ),
    limit!(
        "probes_per_s",
        probes_per_s,
        "An address may ask for health this many times a second, 1 to 1000000. The default is 1000."
    ),
    limit!(
        "refused_per_s",
        refused_per_s,
        "An address may send this many requests a second without the valid token that they need, 1 to 1000000. The default is 50."
    ),
    limit!(
        "lag_max_s",
        lag_max_s,
        1..=604_800,
        "expected 1 to 604800",
        "A node that is more than this many seconds behind its source is not ready, 1 to 604800. More than 60 s behind, it grants fewer requests. The default is 300."
    ),
    limit!(
        "disk_min_mib",
        disk_min_mib,
        0..=1_048_576,
        "expected 0 to 1048576",
        "A node with less than this many MiB free on the store's disk is not ready, 0 to 1048576. The default is 512."
    ),
];
