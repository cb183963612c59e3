//! `nova dump`: the live rows of a table, or a list as HTTP would answer it, from a stopped store.

use std::io::Write as _;

use clap::ArgGroup;

use crate::app::{self, AppError};
use crate::clock::Clock;
use crate::config::Config;
use crate::discover;
use crate::event::{Id, Table};
use crate::feed::page::{Shape, page_json};
use crate::feed::shown;
use crate::feed::snapshot::{Algorithm, Ask, Snapshots};
use crate::feed::trending::publish::Published;
use crate::feed::trending::{self, TRENDING_MAX, Window};
use crate::http::Auth;

use super::stopped::open;
use super::{CliError, rows};

/// At least one of them is asked for.
const WHAT: [&str; 4] = ["table", "trending", "feed", "suggestions"];

#[derive(clap::Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(WHAT)))]
pub(super) struct Args {
    /// The live rows as JSON lines under the source's column names, ordered by id.
    #[arg(long, value_parser = super::cdc::table)]
    table: Option<Table>,
    /// The trending posts of a window: 1h, 6h, 24h or 7d.
    #[arg(long, value_parser = window, value_name = "WINDOW")]
    trending: Option<Window>,
    /// The feed of a user, with the reasons of every post.
    #[arg(long, value_parser = user, value_name = "USER")]
    feed: Option<Id>,
    /// Whom a user could follow, and why.
    #[arg(long, value_parser = user, value_name = "USER")]
    suggestions: Option<Id>,
    /// The time for which to answer; now, where it is left out.
    #[arg(long, value_name = "RFC3339")]
    now: Option<jiff::Timestamp>,
    /// At most so many posts or users.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=TRENDING_MAX as i64))]
    limit: u16,
}

fn window(name: &str) -> Result<Window, String> {
    Window::from_name(name).ok_or_else(|| "expected 1h, 6h, 24h or 7d".to_owned())
}

fn user(text: &str) -> Result<Id, String> {
    Id::parse(text.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let opened = open(config)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(table) = args.table {
        let mut failed = Ok(());
        let each = |row| {
            if failed.is_ok() {
                failed = writeln!(out, "{}", rows::json(table, &row));
            }
        };
        opened.writer.dump(table, each).map_err(AppError::from)?;
        failed?;
    }
    let now_ms = args.now.map_or_else(|| Clock::System.now_ms(), |now| now.as_millisecond());
    let limit = usize::from(args.limit);
    let overrides = app::load_overrides(&opened.store).map_err(AppError::from)?;
    let list = |window| {
        let state = opened.state.read();
        Published::new(&state, trending::rank(&state, window, now_ms, &overrides))
    };
    if let Some(window) = args.trending {
        writeln!(out, "{}", list(window).page(0, limit, |_| true).body)?;
    }
    if let Some(user) = args.feed {
        let key = Auth::open(&config.data_dir).map_err(AppError::from)?.secret("cursor");
        let (trending, algorithm) = (list(Window::Day).numbers, Algorithm::Ranked);
        let shown = &shown::NOTHING;
        let ask = Ask { user, algorithm, cursor: None, shown, limit, now_ms, trending: &trending, late: &|| false };
        let page = Snapshots::default().page(&opened.state, &ask);
        let shape = Shape { explain: true, hydrate: false, latency_us: 0 };
        writeln!(out, "{}", page_json(&page, user, algorithm, &key, &shape))?;
    }
    if let Some(id) = args.suggestions {
        let state = opened.state.read();
        let user = state.users.number(id).unwrap_or(u32::MAX);
        let dismissed = app::load_dismissals(&opened.store).map_err(AppError::from)?.of(id, &state);
        let list = discover::suggest(&state, user, now_ms, limit, &dismissed);
        writeln!(out, "{}", discover::json(&list, now_ms))?;
    }
    out.flush()?;
    Ok(())
}
