//! The settings of a connector, under Kafka Connect's names.

use std::collections::BTreeMap;

use super::finding::Finding;

/// The settings of a connector by name.
pub(super) type Config = BTreeMap<String, String>;

/// The value of a connector's setting, or an empty text if the setting is missing.
pub(super) fn value<'a>(config: &'a Config, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

/// Makes the finding that a connector's setting must change.
pub(super) fn set(code: &'static str, config: &Config, key: &str, wanted: &str, reason: &str) -> Finding {
    let found = config.get(key).map_or("not set".to_owned(), |value| format!("{value:?}"));
    Finding::new(code, format!("{key} is {found}: {reason}"), format!("set {key} to {wanted}"))
}
