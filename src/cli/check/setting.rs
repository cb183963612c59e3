//! The settings of a connector, in Kafka Connect's names.

use std::collections::BTreeMap;

use super::finding::Finding;

/// The settings by name.
pub(super) type Config = BTreeMap<String, String>;

/// The value of a setting. The text is empty if the setting is missing.
pub(super) fn value<'a>(config: &'a Config, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

/// The finding that a setting must be changed.
pub(super) fn set(code: &'static str, config: &Config, key: &str, wanted: &str, reason: &str) -> Finding {
    let found = config.get(key).map_or("not set".to_owned(), |value| format!("{value:?}"));
    Finding::new(code, format!("{key} is {found}: {reason}"), format!("set {key} to {wanted}"))
}
