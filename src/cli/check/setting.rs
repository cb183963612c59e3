//! The settings of a connector, as Kafka Connect names them.

use std::collections::BTreeMap;

use super::finding::Finding;

/// By their names.
pub(super) type Config = BTreeMap<String, String>;

/// A setting, or an empty text where it is not made.
pub(super) fn value<'a>(config: &'a Config, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

/// A setting that is to be made otherwise.
pub(super) fn set(code: &'static str, config: &Config, key: &str, wanted: &str, reason: &str) -> Finding {
    let found = config.get(key).map_or("not set".to_owned(), |value| format!("{value:?}"));
    Finding::new(code, format!("{key} is {found}: {reason}"), format!("set {key} to {wanted}"))
}
