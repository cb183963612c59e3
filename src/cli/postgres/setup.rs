//! `nova postgres setup` prepares PostgreSQL for nova.

use serde_json::json;

use crate::app;
use crate::config::Config;
use crate::event::{Table, Tables};
use crate::source::postgres::finding::Finding;
use crate::source::postgres::fitness;
use crate::source::postgres::net::{Administrator, ConnectSettings, Refused, role_of, split_ssl_mode, verifier};
use crate::source::postgres::server::Failure;
use crate::source::postgres::setup::{self, DEFAULT_SCHEMA, Plan, Wanted};

use crate::cli::error::CliError;
use crate::cli::out;
use crate::cli::runtime::runtime;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print the statements. With --url, only the statements that the server still needs are printed; otherwise all
    /// statements for the tables of deploy/postgres are printed.
    #[arg(long, conflicts_with = "apply")]
    print: bool,
    /// Run the statements in one transaction. Existing objects are not changed.
    #[arg(long)]
    apply: bool,
    /// The address of an administrator who owns the tables: postgres://user:password@host:port/database. The default is
    /// postgres.url.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The schema of the tables.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SCHEMA)]
    schema: String,
    /// The role with which nova connects. The default is the user of postgres.url, or else nova.
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    let nova = app::postgres(config).map(|settings| settings.connect);
    let role = args.role.clone().or_else(|| role_of(&nova.as_ref()?.url));
    let wanted = Wanted {
        role: role.unwrap_or_else(|| "nova".to_owned()),
        publication: config.postgres_publication.clone(),
        schema: args.schema.clone(),
        keep_unknown: config.keep_unknown.clone(),
    };
    if !args.apply && args.url.is_none() {
        return print(&wanted, &setup::by_default(&wanted), as_json);
    }
    let administrator = administrator(args, config, nova.as_ref())?;
    let runtime = runtime()?;
    let connected = runtime.block_on(async {
        let connected = Administrator::connect(administrator).await?;
        let existing = connected.existing(&wanted).await?;
        Ok((connected, existing))
    });
    let (connected, existing) =
        connected.map_err(|failure: Failure| CliError::Failed(failure.finding().to_string()))?;
    // A new role gets the password of postgres.url as a verifier, so the server never sees the password in plain text.
    let verifier = match (&existing.role, &nova) {
        (None, Some(nova)) => verifier(nova).map_err(|failure| CliError::Failed(failure.to_string()))?,
        _ => None,
    };
    let plan = setup::plan(&wanted, &existing, verifier.as_deref()).map_err(|found| undecided(&found))?;
    if !args.apply {
        return print(&wanted, &plan, as_json);
    }
    let applied = runtime.block_on(connected.apply(&wanted, &plan));
    applied.map_err(|refused| CliError::Failed(format!("nothing was changed: {refused}{}", advice(&refused))))?;
    let after = runtime.block_on(connected.existing(&wanted));
    let after = after.map_err(|failure| CliError::Failed(failure.finding().to_string()))?;
    let found = fitness::findings(&after.seen, &config.postgres_slot, &wanted.publication);
    told(&wanted, &plan, &found, verifier.is_none() && existing.role.is_none(), as_json)
}

fn administrator(args: &Args, config: &Config, nova: Option<&ConnectSettings>) -> Result<ConnectSettings, CliError> {
    let Some(url) = &args.url else {
        return nova.cloned().ok_or_else(|| {
            CliError::Usage(
                "say --url: an administrator's address, postgres://user:password@host:port/database".to_owned(),
            )
        });
    };
    let (url, mode) =
        split_ssl_mode(url).ok_or_else(|| CliError::Usage("--url: expected a sslmode of libpq".to_owned()))?;
    let settings = nova.cloned().unwrap_or_default();
    Ok(ConnectSettings {
        url,
        password_file: None,
        ssl_mode: mode.unwrap_or(config.postgres_ssl_mode),
        ca_file: config.postgres_ca_file.as_ref().map(Into::into),
        slot: config.postgres_slot.clone(),
        publication: config.postgres_publication.clone(),
        ..settings
    })
}

fn undecided(found: &[Finding]) -> CliError {
    let lines: Vec<_> = found.iter().map(|finding| format!("\n  {finding}")).collect();
    CliError::Failed(format!("nothing was changed, somebody has to decide first:{}", lines.concat()))
}

/// The advice that most often helps after PostgreSQL has refused a statement.
fn advice(refused: &Refused) -> &'static str {
    let statement = refused.statement.as_str();
    let code = match &refused.failure {
        Failure::Refused { code, .. } => code.as_str(),
        _ => "",
    };
    match statement {
        // The SQLSTATE of PostgreSQL for an exceeded `lock_timeout`.
        _ if code == "55P03" => {
            ". Another session has held a lock on the table for more than 5 s. Run this again at a quieter time, or look who it is: \
             SELECT pid, state, xact_start, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start"
        }
        _ if statement.starts_with("UPDATE") || statement.starts_with("DELETE") => {
            ". The application's own statement would fail like this once the table is published"
        }
        _ if statement.contains("ROLE") || statement.contains("rds_replication") => {
            ". The administrator of --url lacks a right for this: a superuser may do it, and from PostgreSQL 16 on a role with \
             CREATEROLE that has REPLICATION (or BYPASSRLS) itself. Who gives it at a managed service: nova postgres setup \
             --print"
        }
        _ if statement.contains("PUBLICATION") => {
            ". It takes the owner of the tables, who may also CREATE in the database"
        }
        _ => "",
    }
}

fn print(wanted: &Wanted, plan: &Plan, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return Ok(out::line(&report(wanted, plan, &[], false).to_string())?);
    }
    Ok(out::line(setup::script(wanted, plan).trim_end())?)
}

fn report(wanted: &Wanted, plan: &Plan, found: &[Finding], applied: bool) -> serde_json::Value {
    let statements: Vec<_> = plan.steps.iter().map(|step| step.shown.as_str()).collect();
    let findings: Vec<_> = found.iter().map(super::status::finding).collect();
    json!({
        "role": wanted.role,
        "publication": wanted.publication,
        "statements": statements,
        "probes": plan.probes,
        "applied": applied,
        "changed": applied && !plan.steps.is_empty(),
        "findings": findings,
    })
}

fn told(wanted: &Wanted, plan: &Plan, found: &[Finding], no_password: bool, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return Ok(out::line(&report(wanted, plan, found, true).to_string())?);
    }
    for step in &plan.steps {
        out::line(&format!("{};", step.shown))?;
    }
    out::line(match plan.steps.is_empty() {
        true => "Everything was there: nothing was changed.",
        false => "Done, in one transaction.",
    })?;
    out::line("The application's own UPDATE and DELETE work on every table that is published.")?;
    if no_password {
        let role = &wanted.role;
        out::line(&format!("The role {role} has no password yet: in psql, \\password {role}"))?;
    }
    if plan.read_again != Tables::NONE {
        let names: Vec<_> = plan.read_again.iter().map(Table::name).collect();
        out::line(&format!("Where nova follows them already: nova cdc resnapshot {}", names.join(" ")))?;
    }
    for finding in found {
        out::line(&finding.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_advice_of_its_cause_and_not_of_its_statement_alone() {
        let refused = |statement: &str, code: &str| Refused {
            statement: statement.to_owned(),
            failure: Failure::Refused { code: code.to_owned(), text: "no".to_owned() },
        };
        for (statement, code, words) in [
            ("CREATE PUBLICATION nova FOR TABLE users", "55P03", "held a lock"),
            ("CREATE PUBLICATION nova FOR TABLE users", "42501", "the owner of the tables"),
            ("ALTER ROLE nova REPLICATION", "42501", "The administrator of --url"),
            ("UPDATE users SET id = id WHERE false", "42P10", "The application's own statement"),
        ] {
            assert!(advice(&refused(statement, code)).contains(words), "{statement} {code}");
        }
    }
}
