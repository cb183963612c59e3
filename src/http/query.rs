//! Reads what a query or a path names, such as numbers and users, and makes the errors for values that do not fit.

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

pub(super) fn user(text: &str) -> Result<Id, Problem> {
    Id::parse(text.as_bytes())
        .map_err(|error| Problem::InvalidParameter { field: "user_id", detail: format!("user_id: {error}") })
}
