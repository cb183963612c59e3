//! `nova health`: whether a running node is ready, for containers and scripts.

use crate::config::Config;

use super::{CliError, out};
use crate::ask::{Credentials, Question, ask};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The node's address; http.listen, where none is given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let ready = format!("{}/health/ready", url.trim_end_matches('/'));
    let answer = ask(&Question::of(&ready, Credentials::Nobody, None))?;
    match answer.status {
        200 => Ok(out::line(&answer.text())?),
        status => Err(CliError::Failed(format!("{url} answers {status}: {}", answer.text()))),
    }
}
