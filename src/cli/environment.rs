//! The environment of the process. Only this module reads it: code that depends on a variable gets its value as an
//! argument, or asks here.

use std::env::{self, Vars};
use std::ffi::OsString;

/// A variable that is text. `None` if it is not set.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn text(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// The value of a variable, of any bytes.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn value(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// All variables of the environment.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(super) fn all() -> Vars {
    env::vars()
}
