//! The findings of `nova check`.

use std::borrow::Cow;

/// A problem that `nova check` found, and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub code: Cow<'static, str>,
    pub detail: String,
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, detail: String, remedy: impl Into<String>) -> Finding {
        Finding { code: code.into(), detail, remedy: remedy.into() }
    }

    pub(super) fn unreachable(what: &str, why: &str, remedy: &str) -> Finding {
        Finding::new("unreachable", format!("{what}: {why}"), remedy)
    }
}
