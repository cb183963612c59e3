//! The environment of the process. This is the one place that reads it: whoever depends on a variable gets its value as an
//! argument, or asks here.

use std::env::{self, Vars};
use std::ffi::OsString;

/// A variable that is text; none if it is not set.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn text(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// A variable as it is.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn value(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// Every variable.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn all() -> Vars {
    env::vars()
}
