//! Reads the environment of the process. No module except this one reads the environment: code that depends on a
//! variable gets the variable's value as an argument, or calls this module.

use std::env::{self, Vars};
use std::ffi::OsString;

/// The text of a variable of the environment, or `None` if the variable is not set or is not text.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn text(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// The value of a variable of the environment, which may have any bytes.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn value(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// All variables of the environment.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn all() -> Vars {
    env::vars()
}
