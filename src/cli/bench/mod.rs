//! `nova bench` measures the figures of `docs/performance.md` on this machine, and prints one JSON line for each
//! figure.

mod batch;
mod freshness;
mod growth;
mod ingest;
mod kafka;
mod load;
mod machine;
mod node;
mod redis;
mod report;
mod serve;
mod statistics;
mod world;

use crate::config::Config;

use self::machine::Machine;
use self::report::Report;
use super::error::CliError;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Measure client events and changes in Debezium's envelope, from bytes to the durable commit.
    Ingest(ingest::Args),
    /// Measure requests over sockets to a node with the bundled data set.
    Serve(serve::Args),
    /// Measure worlds of several sizes: loading, disk, memory, starting again, serving.
    Growth(growth::Args),
    /// Measure the path from the broker through nova to ClickHouse, and for comparison a bare consumer and ClickHouse
    /// alone.
    Kafka(kafka::Args),
    /// Measure how soon trending shows an event after the answer 202, and for comparison a query over ClickHouse every
    /// minute.
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
