//! Prints the figures of a bench, one JSON line each.

use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::out;

use super::machine::Machine;

/// Writes the figures of one subject of the bench.
pub(super) struct Report {
    pub subject: &'static str,
    pub machine: Machine,
}

#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    what: &'a str,
    value: f64,
    unit: &'a str,
    /// A note on how to read the figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    machine: &'a Machine,
    version: &'a str,
}

impl Report {
    pub(super) fn line(&self, what: &str, value: f64, unit: &str, note: Option<&str>) -> Result<(), CliError> {
        let (subject, machine, version) = (self.subject, &self.machine, env!("CARGO_PKG_VERSION"));
        let value = (value * 1e3).round() / 1e3;
        let line = serde_json::to_string(&Line { subject, what, value, unit, note, machine, version });
        Ok(out::line(&line.map_err(|error| CliError::Failed(error.to_string()))?)?)
    }
}
