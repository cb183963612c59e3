//! `nova explain` says why a user's feed shows a post at its place, or which rule keeps the post out.

use serde_json::{Value, json};

use crate::app::{self, AppError, Opened};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::Id;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::{self, Window};
use crate::http::explained::{Asked, explain};
use crate::http::lists;
use crate::http::{Auth, ReadFailed};

use super::dump::user;
use super::error::CliError;
use super::out;
use super::remote::{Place, Remote, plain};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The user of the feed.
    #[arg(long, value_parser = user, value_name = "USER")]
    user: Id,
    /// The post to explain: its place, or the first rule that keeps it out. By default, the command explains the places
    /// of the feed's first posts.
    #[arg(long, value_parser = user, value_name = "POST")]
    post: Option<Id>,
    /// The maximum number of places to explain.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(args: &Args, config: &Config, as_json: bool) -> Result<(), CliError> {
    let place = args.remote.place(config)?;
    match args.post {
        Some(post) => one(&explained(&place, (args.user, post), config)?, as_json),
        None => all(&feed(&place, args, config)?, as_json),
    }
}

fn explained(place: &Place<Box<Opened>>, (user, post): (Id, Id), config: &Config) -> Result<Value, CliError> {
    let opened = match place {
        Place::Running(node) => return node.get(&format!("explain?user_id={user}&post_id={post}")),
        Place::Stopped(opened) => opened,
    };
    let now_ms = Clock::System.now_ms();
    let overrides = app::load_overrides(&opened.store).map_err(AppError::from)?;
    let list = trending::rank(&opened.state.read(), Window::Day, now_ms, &overrides);
    let state = opened.state.read();
    let trending: Vec<_> = list.entries.iter().filter_map(|entry| state.post_ids.number(entry.post)).collect();
    drop(state);
    let row = |table, key| {
        let read = opened.store.read().map_err(|error| ReadFailed(error.into()))?;
        app::stored_row(read, table, key).map_err(|error| ReadFailed(error.into()))
    };
    let (state, feeds) = (&*opened.state, &Snapshots::new(config.feed.relaxed_spacing));
    let asked = Asked { user, post, now_ms, state, feeds, trending: &trending, row: &row };
    Ok(json!(explain(&asked).map_err(|error| CliError::Failed(error.to_string()))?))
}

fn feed(place: &Place<Box<Opened>>, args: &Args, config: &Config) -> Result<Value, CliError> {
    let (user, limit) = (args.user, args.limit);
    let opened = match place {
        Place::Running(node) => return node.get(&format!("users/{user}/explain-feed?limit={limit}")),
        Place::Stopped(opened) => opened,
    };
    let key = Auth::open(&config.data_dir).map_err(AppError::from)?.secret("cursor");
    let overrides = app::load_overrides(&opened.store).map_err(AppError::from)?;
    let asked = lists::Asked { now_ms: Clock::System.now_ms(), limit: usize::from(limit) };
    let feeds = Snapshots::new(config.feed.relaxed_spacing);
    let page = lists::feed(&opened.state, (&feeds, &overrides), user, &key, asked);
    serde_json::from_str(&page).map_err(|error| CliError::Failed(format!("the page is no JSON: {error}")))
}

fn one(explained: &Value, as_json: bool) -> Result<(), CliError> {
    let text = |name: &str| plain(explained[name].as_str().unwrap_or_default());
    if as_json {
        return Ok(out::line(&explained.to_string())?);
    }
    match explained["rule"].as_str() {
        Some(rule) => out::line(&format!("not shown: {}: {}", plain(rule), text("why")))?,
        None => out::line(&format!("shown: {}", text("why")))?,
    }
    if !explained["item"].is_null() {
        out::line(&parts(&explained["item"]))?;
    }
    Ok(out::line(&format!("as of {}", text("as_of")))?)
}

/// Writes the score of a post as a sum of its parts.
fn parts(item: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let (terms, features) = (&item["terms"], &item["features"]);
    let sources = item["sources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!(
        "score {:.6} = recency {:.6} (age {:.2} h) + engagement {:.6} ({}) + affinity {:.6} ({}); from {}",
        number(&item["score"]),
        number(&terms["recency"]),
        number(&features["age_h"]),
        number(&terms["engagement"]),
        features["engagement"],
        number(&terms["affinity"]),
        features["affinity"],
        sources.map(plain).collect::<Vec<_>>().join(", ")
    )
}

fn all(page: &Value, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return Ok(out::line(&page.to_string())?);
    }
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for item in items {
        let post = plain(item["post_id"].as_str().unwrap_or_default());
        out::line(&format!("{:>4}  {post}  {}", item["rank"].as_u64().unwrap_or_default(), parts(item)))?;
    }
    let as_of = plain(page["as_of"].as_str().unwrap_or_default());
    Ok(out::line(&format!("{} of {} posts, as of {as_of}", items.len(), page["total_count"]))?)
}
