//! `nova demo`: the whole pipeline on a bundled real social data set.

pub mod data;
mod source;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::app::{self, AppError, Setup};
use crate::clock::Clock;
use crate::config::Config;
use crate::decode::{NoSchemas, Topics};
use crate::discover::{self, Suggestion};
use crate::event::Id;
use crate::feed::candidates;
use crate::feed::rank::{self, Making};
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::publish::Published;
use crate::feed::trending::{self, Window};
use crate::http::Auth;
use crate::source::Source;
use crate::state::State;

use self::data::Social;
use self::source::DemoSource;
use super::serve::serve_setup;
use super::{CliError, out, report};

/// The data set as records, all of it.
pub(super) fn source_of(social: Arc<Social>) -> Box<dyn Source> {
    Box::new(DemoSource::new(social, None))
}

/// Posts that are printed of each list.
const SHOWN: usize = 10;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only the first N users, and what they do; in a store of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// End after the report instead of serving the API.
    #[arg(long)]
    once: bool,
    /// Where to listen, over the configuration.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(args: &Args, config: &Config, json: bool) -> Result<(), CliError> {
    let social = Arc::new(Social::bundled().map_err(|error| CliError::Failed(error.to_string()))?);
    let end_ms = social.end_ms();
    // A store of its own: the demo's ids must not mix with those of a real one, nor the offsets of one part of the data
    // with those of another.
    let data_dir = &config.data_dir.join(args.users.map_or("demo".to_owned(), |users| format!("demo-{users}")));
    let setup = Setup::new(data_dir, Topics::default(), Arc::new(NoSchemas));
    let opened = app::open(&setup)?;
    let source = DemoSource::new(social, args.users);
    let mut progress = out::Progress::new("demo", source.done(), source.total());
    let state = Arc::clone(&opened.state);
    let running = opened.start(Box::new(source), &setup)?;
    let started = std::time::Instant::now();
    let statuses = running.finish(|statuses| progress.tick(report::totals(statuses).consumed))?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish();
    report::none_held(&statuses)?;
    let state = state.read();
    if json {
        let list = trending::rank(&state, Window::Day, end_ms, &Overrides::default());
        let list = Published::new(&state, list).page(0, SHOWN, |_| true).body;
        let accounting = report::json(&statuses)?;
        out::line(&format!(r#"{{"accounting":{accounting},"trending":{list}}}"#))?;
        return Ok(());
    }
    let totals = report::totals(&statuses);
    out::line(&format!("{} records in {seconds:.2} s, each committed to {}", totals.consumed, data_dir.display()))?;
    report::table(&statuses)?;
    for window in [Window::Hour, Window::Day] {
        let at = jiff::Timestamp::from_millisecond(end_ms).unwrap_or_default();
        out::line(&format!("\ntrending {} at {at:.0}", window.name()))?;
        for (entry, rank) in
            trending::rank(&state, window, end_ms, &Overrides::default()).entries.iter().take(SHOWN).zip(1..)
        {
            let [_, views, likes, comments, shares] = entry.counts;
            let score = entry.score as f64 / 10.0;
            let line = format!(
                "{rank:>3}  {}  {score:>6.1}  {views} views, {likes} likes, {comments} comments, {shares} shares",
                entry.post
            );
            out::line(&line)?;
        }
    }
    let person = show_person(&state, end_ms, data_dir)?;
    drop(state);
    match (args.once, person) {
        (false, Some(person)) => go_on(setup, args.listen.unwrap_or(config.listen), person, end_ms),
        _ => Ok(()),
    }
}

/// Serves the API over the demo's store, its clock going on where the data ends.
fn go_on(mut setup: Setup, listen: SocketAddr, person: Id, end_ms: i64) -> Result<(), CliError> {
    setup.clock = Clock::shifted_to(end_ms);
    let auth = Auth::open(&setup.data_dir).map_err(AppError::from)?;
    // Tokens are checked against the time of day, whatever the demo's clock says.
    let token = auth.mint(person, None, Clock::System.now_ms(), 86_400).map_err(AppError::from)?;
    serve_setup(&setup, listen, |addr| {
        out::line(&format!("\nlistening on http://{addr}; end with Ctrl-C. Go on with:\n"))?;
        out::line(&format!("TOKEN={token}"))?;
        let bearer = "-H \"Authorization: Bearer $TOKEN\"";
        out::line(&format!("curl {bearer} 'http://{addr}/api/v1/feed?limit=5&explain=1'"))?;
        out::line(&format!("curl {bearer} 'http://{addr}/api/v1/discover/suggested-users?limit=5'"))?;
        out::line(&format!("curl 'http://{addr}/api/v1/feed/trending?window=24h&limit=5'"))?;
        Ok(())
    })
}

/// The feed of the user who follows most people, with its reasons, and whom that user could follow.
fn show_person(state: &State, now_ms: i64, data_dir: &Path) -> Result<Option<Id>, CliError> {
    let follows = |user: &u32| state.graph.followees_len(*user);
    let Some(user) = (0..state.users.len() as u32).max_by_key(follows) else { return Ok(None) };
    let name = state.user_row(user).map_or("", |row| &row.username);
    let id = state.users.id(user);
    out::line(&format!("\nthe feed of {name}"))?;
    let trending = candidates::trending_posts(state, now_ms);
    let feed = rank::feed(state, user, &Making::strict(now_ms, &trending));
    for (post, place) in feed.posts.iter().take(SHOWN).zip(1..) {
        let [recency, engagement, affinity] = post.terms();
        let (id, score) = (post.post, post.score());
        let terms = format!("{recency:.3} recency + {engagement:.3} engagement + {affinity:.3} affinity");
        out::line(&format!("{place:>3}  {id}  {score:.3} = {terms}"))?;
    }
    out::line(&format!("\n{name} could follow"))?;
    for suggestion in discover::suggest(state, user, now_ms, 5, &FxHashSet::default()) {
        let Suggestion { user, username, mutual, .. } = &suggestion;
        out::line(&format!("     {user}  {username}, as {mutual} of those do whom {name} follows"))?;
    }
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    out::line(&format!("\ngo on: nova --data {} dump --feed {id} --now {now}", data_dir.display()))?;
    Ok(Some(id))
}
