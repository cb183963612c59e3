//! `nova dump` prints the live rows of a table, or a list in the form of the HTTP API, from a stopped store or from a
//! running node.

use std::io::{BufWriter, Write};

use clap::ArgGroup;
use http::Method;

use crate::app::{self, AppError, Opened};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::event::{Id, Table};
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::{self, TRENDING_MAX, Window};
use crate::http::Auth;
use crate::http::lists::{self, Asked};
use crate::pipeline::row_json::{self, RowsError};

use super::error::CliError;
use super::remote::{Node, Place, Remote};

/// The options of `nova dump`; each call needs at least one of them.
const WHAT: [&str; 4] = ["table", "trending", "feed", "suggestions"];
/// The default number of posts or users in a list.
const LIMIT_DEFAULT: u64 = 20;

#[derive(clap::Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(WHAT)))]
pub(super) struct Args {
    /// Print the live rows as JSON lines under the source's column names, ordered by id.
    #[arg(long, value_parser = super::cdc::table)]
    table: Option<Table>,
    /// Print the trending posts of a window: 1h, 6h, 24h or 7d.
    #[arg(long, value_parser = window, value_name = "WINDOW")]
    trending: Option<Window>,
    /// Print the feed of a user, with the reasons of every post.
    #[arg(long, value_parser = user, value_name = "USER")]
    feed: Option<Id>,
    /// Print whom a user could follow, and why.
    #[arg(long, value_parser = user, value_name = "USER")]
    suggestions: Option<Id>,
    /// The time at which the list is made. The default is now.
    #[arg(long, value_name = "RFC3339")]
    now: Option<jiff::Timestamp>,
    /// The maximum number of rows (the default is all), or of posts or users (the default is 20, the maximum 200).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

fn window(name: &str) -> Result<Window, String> {
    Window::from_name(name).ok_or_else(|| "expected 1h, 6h, 24h or 7d".to_owned())
}

pub(super) fn user(text: &str) -> Result<Id, String> {
    Id::parse(text.as_bytes()).map_err(|error| error.to_string())
}

impl Args {
    /// The maximum number of posts or users in the list.
    fn limit(&self) -> Result<usize, CliError> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let lists = self.trending.is_some() || self.feed.is_some() || self.suggestions.is_some();
        match limit <= TRENDING_MAX as u64 || !lists {
            true => Ok(limit as usize),
            false => Err(CliError::Usage(format!("--limit: {limit} is too many of a list: give 1 to {TRENDING_MAX}"))),
        }
    }
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let limit = args.limit()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.remote.place(config)? {
        Place::Running(node) => of_node(args, limit, &node, &mut out)?,
        Place::Stopped(opened) => of_store(args, limit, &opened, config, &mut out)?,
    }
    Ok(out.flush()?)
}

fn of_node(args: &Args, limit: usize, node: &Node, out: &mut impl Write) -> Result<(), CliError> {
    if let Some(table) = args.table {
        let limit = args.limit.map_or(String::new(), |limit| format!("?limit={limit}"));
        node.fetch(Method::GET, &format!("rows/{table}{limit}"), |piece| Ok(out.write_all(piece)?))?;
    }
    let now = args.now.map_or(String::new(), |now| format!("&now={}", rfc3339(now.as_microsecond())));
    let mut list = |what: String| -> Result<(), CliError> {
        out.write_all(&node.text(&format!("lists/{what}limit={limit}{now}"))?)?;
        Ok(out.write_all(b"\n")?)
    };
    if let Some(window) = args.trending {
        list(format!("trending?window={}&", window.name()))?;
    }
    if let Some(user) = args.feed {
        list(format!("feed/{user}?"))?;
    }
    if let Some(user) = args.suggestions {
        list(format!("suggestions/{user}?"))?;
    }
    Ok(())
}

fn of_store(args: &Args, limit: usize, opened: &Opened, config: &Config, out: &mut impl Write) -> Result<(), CliError> {
    if let Some(table) = args.table {
        let read = opened.store.read().map_err(AppError::from)?;
        row_json::write(read, table, args.limit.unwrap_or(u64::MAX), out).map_err(|error| match error {
            RowsError::Read(error) => AppError::from(error).into(),
            RowsError::Write(error) => CliError::from(error),
        })?;
    }
    let now_ms = args.now.map_or_else(|| Clock::System.now_ms(), |now| now.as_millisecond());
    let asked = Asked { now_ms, limit };
    let overrides = app::load_overrides(&opened.store).map_err(AppError::from)?;
    if let Some(window) = args.trending {
        let kept: Vec<_> = trending::kept(&config.ranking).collect();
        if !kept.contains(&window) {
            return Err(CliError::Usage(format!("--trending: {}", trending::one_of(&kept))));
        }
        writeln!(out, "{}", lists::trending(&opened.state.read(), &overrides, window, asked))?;
    }
    if let Some(user) = args.feed {
        let key = Auth::open(&config.data_dir).map_err(AppError::from)?.secret("cursor");
        let feeds = Snapshots::new(config.feed.relaxed_spacing);
        writeln!(out, "{}", lists::feed(&opened.state, (&feeds, &overrides), user, &key, asked))?;
    }
    if let Some(user) = args.suggestions {
        let state = opened.state.read();
        let dismissed = app::load_dismissals(&opened.store).map_err(AppError::from)?.of(user, &state);
        writeln!(out, "{}", lists::suggestions(&state, user, &dismissed, asked))?;
    }
    Ok(())
}
