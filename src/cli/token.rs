//! `nova token` makes a token with the development key.

use clap::ValueEnum;
use serde_json::json;

use crate::app::AppError;
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Id;
use crate::http::{Auth, KeyError};

use super::error::CliError;
use super::out;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The user.
    #[arg(long, value_name = "UUID", value_parser = id)]
    sub: Id,
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// How long the token is valid: a number with s, m, h or d.
    #[arg(long, default_value = "1h", value_parser = seconds)]
    ttl: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Admin,
    Service,
}

/// The longest lifetime of a token in seconds: ten years. A lifetime of more than ten years must be a mistake.
const TTL_MAX_S: u64 = 3_650 * 86_400;

fn id(text: &str) -> Result<Id, String> {
    Id::parse(text.as_bytes()).map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let found = units.iter().find_map(|(unit, factor)| {
        let seconds = text.strip_suffix(*unit)?.parse::<u64>().ok()?.checked_mul(*factor)?;
        (1..=TTL_MAX_S).contains(&seconds).then_some(seconds)
    });
    found.ok_or_else(|| "expected a number with s, m, h or d, such as 1h; at most 3650d".to_owned())
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    if !config.edge.keys.development() {
        return Err(CliError::Failed(KeyError::Configured.to_string()));
    }
    let role = args.role.map(|role| match role {
        Role::Admin => "admin",
        Role::Service => "service",
    });
    let auth = Auth::open(&config.data_dir).map_err(AppError::from)?;
    let token = auth.mint(args.sub, role, Clock::System.now_ms(), args.ttl).map_err(AppError::from)?;
    Ok(out::done(json, &token, &json!({ "token": token, "expires_in_s": args.ttl }))?)
}
