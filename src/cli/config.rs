//! `nova config` prints the configuration in force, or a configuration file with the defaults.

use crate::config::Config;

use super::error::CliError;
use super::out;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print a file with every setting at its default.
    #[arg(long)]
    default: bool,
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let default = Config::default();
    let config = if args.default { &default } else { config };
    let text = if json { config.json().to_string() } else { config.file().trim_end().to_owned() };
    Ok(out::line(&text)?)
}
