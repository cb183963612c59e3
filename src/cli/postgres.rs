//! `nova postgres` does the work of an operator at a PostgreSQL server that nova follows directly. The command reads
//! the slot and the publication at the server. The store's position comes from the stopped store, or from the node that
//! has the store.

mod configured;
mod drop_slot;
mod setup;
mod status;

use clap::Subcommand;

use crate::config::Config;

use super::error::CliError;
use super::remote::Remote;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prepare the role, the rights and the publication that nova needs, and prove that the application's own UPDATE
    /// and DELETE still work. The default is to print the statements.
    Setup(setup::Args),
    /// Show the slot, the publication, settings of the server, and their problems. Exit code 1 means that nova cannot
    /// continue to read.
    Status {
        #[command(flatten)]
        remote: Remote,
    },
    /// Drop nova's replication slot, before you stop using nova.
    DropSlot {
        /// Also drop the slot if the store still follows it. After the drop, the store must read all tables again.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    match &args.action {
        Action::Setup(args) => setup::run(args, config, as_json),
        Action::Status { remote } => status::run(remote, config, as_json),
        Action::DropSlot { force, remote } => drop_slot::run(*force, remote, config, as_json),
    }
}
