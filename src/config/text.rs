//! Converts the values of settings to texts and back.

use std::net::{Ipv4Addr, SocketAddr};

use toml::Value;

/// Parses an address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` (127.0.0.1), or `:8080` (every
/// address of IPv4).
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || "expected an address and port, such as 127.0.0.1:8080, localhost:8080 or :8080".to_owned();
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    match text.rsplit_once(':') {
        Some(("", number)) => Ok((Ipv4Addr::UNSPECIFIED, port(number)?).into()),
        Some((name, number)) if name.eq_ignore_ascii_case("localhost") => {
            Ok((Ipv4Addr::LOCALHOST, port(number)?).into())
        }
        _ => text.parse().map_err(|_| wrong()),
    }
}

pub(super) fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Checks a setting of Kafka's security, which may need TLS or SCRAM.
pub(super) fn kafka_security(text: &str) -> Result<Option<String>, String> {
    let upper = text.to_ascii_uppercase();
    let needs_tls = matches!(upper.as_str(), "SSL" | "SASL_SSL") || upper.starts_with("SCRAM-");
    if needs_tls && cfg!(not(feature = "kafka-tls")) {
        return Err(format!(
            "{text} needs TLS, which this nova was built without; add --features kafka-tls to its build"
        ));
    }
    Ok(optional(text))
}

pub(super) fn url(text: &str) -> Result<Option<String>, String> {
    let rest = text.strip_prefix("http://").or(text.strip_prefix("https://"));
    match rest {
        _ if text.is_empty() => Ok(None),
        // nova prints this URL, so it must not contain a password.
        Some(rest) if !rest.split('/').next().unwrap_or_default().contains('@') => Ok(optional(text)),
        Some(_) => Err("expected no name or password in it; they have settings of their own".to_owned()),
        None => Err("expected http://host:port or https://host:port".to_owned()),
    }
}

pub(super) fn shown(value: &Option<String>) -> Value {
    Value::from(value.as_deref().unwrap_or_default())
}

pub(super) fn hidden(value: &Option<String>) -> Value {
    Value::from(if value.is_some() { "***" } else { "" })
}

/// Parses a list of texts, which is a TOML list, or a text with commas between its parts as in the environment.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = if text.trim_start().starts_with('[') {
        let wrong = || "expected a list of texts".to_owned();
        let table: toml::Table = format!("list = {text}").parse().map_err(|_| wrong())?;
        let items = table.get("list").and_then(Value::as_array).ok_or_else(wrong)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect::<Result<_, _>>()?
    } else {
        text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
    };
    Ok(items)
}

pub(super) fn texts(items: impl Iterator<Item = String>) -> Value {
    Value::Array(items.map(Value::String).collect())
}
