//! Reads values such as numbers and users from a query or a path, and makes the errors for values that do not fit.

#![warn(clippy::indexing_slicing)]

use crate::event::Id;

use super::error::Problem;
use super::percent::{digits, parameter};

pub(super) fn wrong(field: &'static str, expected: &str) -> Problem {
    Problem::InvalidParameter { field, detail: format!("{field}: expected {expected}") }
}

pub(super) fn number(query: &str, name: &'static str, default: u64) -> Result<u64, Problem> {
    parameter(query, name)?.map_or(Ok(default), |text| digits(&text).ok_or_else(|| wrong(name, "a number")))
}

/// Reads a parameter of a query that is 0 or 1.
pub(super) fn flag(query: &str, name: &'static str, default: bool) -> Result<bool, Problem> {
    match number(query, name, default.into())? {
        flag @ 0..=1 => Ok(flag == 1),
        _ => Err(wrong(name, "0 or 1")),
    }
}

pub(super) fn id(field: &'static str, text: &str) -> Result<Id, Problem> {
    Id::parse(text.as_bytes()).map_err(|error| Problem::InvalidParameter { field, detail: format!("{field}: {error}") })
}

pub(super) fn user(text: &str) -> Result<Id, Problem> {
    id("user_id", text)
}
