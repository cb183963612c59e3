//! `nova replay` runs captures through the whole pipeline and accounts for every record.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;

use crate::app::{self, Setup};
use crate::arrival::TimeOf;
use crate::config::Config;
use crate::decode::{NoSchemas, Schemas};
use crate::pipeline::TruncatePolicy;
use crate::source::capture::{CaptureSource, schemas_path};

use super::error::CliError;
use super::{compare, out, report};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The captures, replayed one after the other; `-` is standard input. NAME.schemas.json beside a capture stands in
    /// for the Schema Registry.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How topics are matched: by the last part of their name, or as prefix and table.
    #[arg(long, value_enum, default_value = "last-part")]
    topics: Matching,
    /// The effect of a truncate of a source table. This option overrides the configuration.
    #[arg(long, value_enum)]
    truncate: Option<Truncate>,
    /// Print how the lists differ between the ranking settings of A.toml and of B.toml, and how many later clicks and
    /// likes went to the posts that each configuration shows. No store is changed.
    #[arg(long, num_args = 2, value_names = ["A.toml", "B.toml"])]
    compare: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Matching {
    LastPart,
    Prefix,
}

#[derive(Clone, Copy, ValueEnum)]
enum Truncate {
    Quarantine,
    Apply,
    Ignore,
}

/// The schemas in the file beside the captures. Only one file of schemas is allowed, because one id may mean different
/// schemas in two registries.
fn schemas(files: &[PathBuf]) -> Result<Arc<dyn Schemas>, CliError> {
    let neighbours: BTreeSet<_> = files.iter().map(|file| schemas_path(file)).filter(|path| path.exists()).collect();
    let mut neighbours = neighbours.iter();
    match (neighbours.next(), neighbours.next()) {
        (None, _) => Ok(Arc::new(NoSchemas)),
        (Some(path), None) => Ok(Arc::new(app::file_schemas(path)?)),
        (Some(first), Some(second)) => Err(CliError::Usage(format!(
            "{} and {} number their schemas each for itself: replay these captures one at a time",
            first.display(),
            second.display()
        ))),
    }
}

/// The setup of the pipeline for reading the captures.
fn setup(args: &Args, config: &Config) -> Result<Setup, CliError> {
    let mut setup = Setup::configured(config, schemas(&args.files)?);
    setup.settings.time_of = TimeOf::File;
    setup.settings.for_load();
    setup.topics.last_part = matches!(args.topics, Matching::LastPart);
    if let Some(truncate) = args.truncate {
        setup.settings.truncate = match truncate {
            Truncate::Quarantine => TruncatePolicy::Quarantine,
            Truncate::Apply => TruncatePolicy::Apply,
            Truncate::Ignore => TruncatePolicy::Ignore,
        };
    }
    Ok(setup)
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let source = CaptureSource::new(args.files.clone()).map_err(app::AppError::from)?;
    if !args.compare.is_empty() {
        let setup = |of: &Config, data_dir: PathBuf| {
            let made = setup(args, of)?;
            Ok(Setup { data_dir, clickhouse: None, redis_url: None, ..made })
        };
        return compare::run(&args.compare, &args.files, config, &setup, json);
    }
    let setup = setup(args, config)?;
    let opened = app::open(&setup)?;
    let mut progress = out::Progress::new("replay", source.read_bytes(), source.total_bytes());
    let running = opened.start(Box::new(source), &setup)?;
    let statuses = running.finish(|statuses| progress.tick(report::totals(statuses).consumed))?;
    progress.finish();
    if json {
        out::line(&report::json(&statuses)?)?;
    } else {
        report::table(&statuses)?;
        let totals = report::totals(&statuses);
        if totals.unfilled > 0 {
            out::line(&format!(
                "{} values came as placeholders, and no stored row had them: they are printed as null until a record brings \
                 them",
                totals.unfilled
            ))?;
        }
        let dead = totals.dead;
        if dead > 0 {
            out::line(&format!("{dead} records are dead letters: nova --data {} dlq list", config.data_dir.display()))?;
        }
    }
    report::none_held(&statuses)
}
