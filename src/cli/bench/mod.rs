//! `nova bench`: what `docs/performance.md` tells, measured on this machine, one JSON line a figure.

mod batch;
mod freshness;
mod growth;
mod ingest;
mod kafka;
mod load;
mod machine;
mod node;
mod redis;
mod serve;
mod world;

use serde::Serialize;

use crate::config::Config;

use self::machine::Machine;
use super::{CliError, out};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Client events and changes in Debezium's envelope, from bytes to durable commit.
    Ingest(ingest::Args),
    /// Requests over sockets to a node with the bundled data set.
    Serve(serve::Args),
    /// Worlds of several sizes: loading, disk, memory, starting again, serving.
    Growth(growth::Args),
    /// From the broker through nova to ClickHouse, beside a bare consumer and the engine alone.
    Kafka(kafka::Args),
    /// From an event's 202 to trending, beside a query over ClickHouse every minute.
    Freshness(freshness::Args),
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let machine = Machine::here();
    match &args.subject {
        Subject::Ingest(args) => ingest::run(args, config, &Report { subject: "ingest", machine }),
        Subject::Serve(args) => serve::run(args, config, &Report { subject: "serve", machine }),
        Subject::Growth(args) => growth::run(args, config, &Report { subject: "growth", machine }),
        Subject::Kafka(args) => kafka::run(args, config, &Report { subject: "kafka", machine }),
        Subject::Freshness(args) => freshness::run(args, config, &Report { subject: "freshness", machine }),
    }
}

/// Writes the figures of a subject.
struct Report {
    subject: &'static str,
    machine: Machine,
}

#[derive(Serialize)]
struct Line<'a> {
    subject: &'a str,
    what: &'a str,
    value: f64,
    unit: &'a str,
    /// How the figure is to be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    machine: &'a Machine,
    version: &'a str,
}

impl Report {
    fn line(&self, what: &str, value: f64, unit: &str, note: Option<&str>) -> Result<(), CliError> {
        let (subject, machine, version) = (self.subject, &self.machine, env!("CARGO_PKG_VERSION"));
        let value = (value * 1e3).round() / 1e3;
        let line = serde_json::to_string(&Line { subject, what, value, unit, note, machine, version });
        Ok(out::line(&line.map_err(|error| CliError::Failed(error.to_string()))?)?)
    }
}

/// The value that `percent` of the values do not exceed (the nearest rank), the values being sorted; 0 of none.
fn percentile<T: Copy + Into<f64>>(sorted: &[T], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |value| (*value).into())
}

/// The middle value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    percentile(&values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(
            mut values in proptest::collection::vec(any::<u32>(), 1..200),
            percent in 1..=100usize,
        ) {
            values.sort_unstable();
            let found = percentile(&values, percent);
            let covered = |bound: f64| values.iter().filter(|value| f64::from(**value) <= bound).count() * 100;
            prop_assert!(covered(found) >= percent * values.len());
            let below = values.iter().filter(|value| f64::from(**value) < found).count() * 100;
            prop_assert!(below < percent * values.len());
        }
    }
}
