//! `nova completions` prints completions for shells, and `nova man` prints pages for man(1).

use std::io::Write as _;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::error::CliError;
use super::out;

#[derive(clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell for the completions.
    shell: Shell,
}

#[derive(clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, instead of writing nova's own page to standard output.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the completion script of a shell to standard output.
pub(super) fn completions(args: &CompletionsArgs, nova: &mut Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, nova, "nova", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

/// Writes the pages of the manual for man(1).
pub(super) fn man(args: &ManArgs, nova: Command) -> Result<(), CliError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(nova).render(&mut page)?;
        return Ok(std::io::stdout().lock().write_all(&page)?);
    };
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(nova, dir)?;
    Ok(out::line(&format!("the pages are in {}; read one with man -l {}/nova.1", dir.display(), dir.display()))?)
}
