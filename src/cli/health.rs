//! `nova health` says whether a running node is ready, for containers and scripts.

use crate::app;
use crate::config::Config;
use crate::data_dir::listening::{Listening, Note, noted};
use crate::tls::Trust;

use super::ask::{Credentials, Question, ask};
use super::error::CliError;
use super::out;
use super::remote::base;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The node's address. The default is the node that has the store in --data, or else the address in the
    /// configuration.
    #[arg(long, value_name = "URL", value_parser = base)]
    url: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let (url, trust) = match &args.url {
        Some(url) => (url.clone(), Trust::Machine),
        None => own(config),
    };
    let ready = format!("{url}/health/ready");
    let question = Question { trust, ..Question::of(&ready, Credentials::Nobody, None) };
    let answer = ask(&question)?;
    match answer.status.as_u16() {
        200 => Ok(out::line(&answer.text())?),
        status => Err(CliError::Failed(format!("{url} answers {status}: {}", answer.text()))),
    }
}

/// The address of the node on this machine, and the certificate that the node shows. If no node has written its address
/// beside the store, the address is from the configuration. A wrong address does no harm, because `nova health` sends
/// no token.
fn own(config: &Config) -> (String, Trust) {
    let Listening { url, certificate, .. } = match noted(&config.data_dir) {
        Ok(Note::Good(listening)) => listening,
        _ => app::listening(&config.edge, config.edge.admin_listen.unwrap_or(config.listen)),
    };
    (url, certificate.map_or(Trust::Machine, Trust::Certificate))
}
