//! `nova demo` runs the whole pipeline on a bundled real social data set, whose times are moved so that the data ends
//! at the present.

pub mod data;
mod living;
mod offer;
mod shown;
mod source;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::app::{self, AppError, Setup};
use crate::clock::{Clock, monotonic_now};
use crate::config::{Config, address};
use crate::decode::{NoSchemas, Topics};
use crate::event::Id;
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::publish::Published;
use crate::feed::trending::{self, Window};
use crate::http::{self, Auth, Reserved};
use crate::source::Source;

use self::data::Social;
use self::shown::Show;
use self::source::DemoSource;
use super::error::CliError;
use super::serve::{Address, serve_setup};
use super::signals::Signals;
use super::{out, report};

/// The whole data set as records, at its original times.
pub(super) fn source_of(social: Arc<Social>) -> Box<dyn Source> {
    Box::new(DemoSource::new(social, None))
}

/// The file beside the demo's store with the end of the store's data, epoch milliseconds as text.
const END_FILE: &str = "demo-end-ms";
/// The demo uses an existing store if at most this time has passed since the end of the store's data. Otherwise the
/// demo replaces the store, because the store's lists would be empty.
const STALE_MS: i64 = 3_600_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Use only the first N users and their activity, in a separate store.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// End after the report instead of serving the API.
    #[arg(long)]
    once: bool,
    /// The address on which nova listens. This option overrides the configuration.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
}

pub(super) fn run(args: &Args, config: &Config, json: bool, signals: &Signals) -> Result<(), CliError> {
    let runtime = http::runtime()?;
    let reserved = match args.once || json {
        true => None,
        // The demo binds the address before it does any work, so that a used address fails at once.
        false => {
            let _in_runtime = runtime.enter();
            Some(Reserved::bind(args.listen.unwrap_or(config.listen), None).map_err(AppError::from)?)
        }
    };
    // The demo has its own store, because the ids of the demo must not mix with the ids of a real store. The offsets of
    // two different parts of the data must not mix, so each part also has its own store.
    let data_dir = &config.data_dir.join(args.users.map_or("demo".to_owned(), |users| format!("demo-{users}")));
    let social = Social::bundled().map_err(|error| CliError::Failed(error.to_string()))?;
    let end_ms = end_ms(data_dir)?;
    let later_ms = end_ms - social.end_ms();
    let social = Arc::new(social.later(later_ms));
    let setup = Setup::new(data_dir, Topics::default(), Arc::new(NoSchemas));
    let opened = app::open(&setup)?;
    // nova has opened the store, so no second demo uses the directory now.
    offer::remove_page(data_dir);
    let source = DemoSource::new(Arc::clone(&social), args.users);
    let mut progress = out::Progress::new("demo", source.done(), source.total());
    let state = Arc::clone(&opened.state);
    let running = opened.start(Box::new(source), &setup)?;
    let started = monotonic_now();
    let statuses = running.finish(|statuses| progress.tick(report::totals(statuses).consumed))?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish();
    report::none_held(&statuses)?;
    let state = state.read();
    if json {
        let list = trending::rank(&state, Window::Day, end_ms, &Overrides::default());
        let list = Published::new(&state, list).page(0, shown::POSTS, |_| true).body;
        let accounting = report::json(&statuses)?;
        out::line(&format!(r#"{{"accounting":{accounting},"trending":{list}}}"#))?;
        return Ok(());
    }
    let totals = report::totals(&statuses);
    out::line(&format!("{} records in {seconds:.2} s, each committed to {}", totals.consumed, data_dir.display()))?;
    report::table(&statuses)?;
    let show = Show::new(&state, &social, end_ms);
    let post = show.trending()?;
    let person = show.person(data_dir)?;
    drop(state);
    let world = living::world(&social, args.users);
    match (reserved, person) {
        (Some(reserved), Some(person)) => {
            let address = Address { runtime, reserved, redis: None };
            serve(setup, address, (person, post), world, signals)
        }
        _ => Ok(()),
    }
}

/// The end of the data in the demo's store, in epoch milliseconds. The function removes a store that is too old to show
/// anything.
fn end_ms(data_dir: &Path) -> Result<i64, CliError> {
    let now_ms = Clock::System.now_ms();
    let (file, store) = (data_dir.join(END_FILE), app::store_path(data_dir));
    let known = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i64>().ok());
    if let Some(end_ms) = known.filter(|end_ms| (now_ms - STALE_MS..=now_ms).contains(end_ms)) {
        return Ok(end_ms);
    }
    app::make_data_dir(data_dir)?;
    if store.exists() {
        // nova removes the store only if no process has the store open.
        drop(nova_storage::Store::open(&store, &nova_storage::Options::default(), |_| {}).map_err(AppError::from)?);
        std::fs::remove_file(&store)?;
        tracing::info!(
            "the store of the demo before is over an hour old: it is made again, and ends at the present time"
        );
    }
    std::fs::write(&file, now_ms.to_string())?;
    Ok(now_ms)
}

/// The lifetime in seconds of the tokens that the demo prints.
const TOKENS_TTL_S: u64 = 86_400;

/// Serves the API and the console over the demo's store, and keeps the demo's world active.
fn serve(
    setup: Setup,
    address: Address,
    (person, post): (Id, Option<Id>),
    world: (Vec<Id>, Vec<Id>),
    signals: &Signals,
) -> Result<(), CliError> {
    let auth = Auth::open(&setup.data_dir).map_err(AppError::from)?;
    let mint = |whose, role| auth.mint(whose, role, Clock::System.now_ms(), TOKENS_TTL_S).map_err(AppError::from);
    let (token, admin) = (mint(person, None)?, mint(Id::NIL, Some("admin"))?);
    let (mut life, mut offer) = (None, None);
    serve_setup(&setup, address, signals, |addr| {
        // If the node listens on every address, the activity uses the loopback address with the same port.
        let at = if addr.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], addr.port())) } else { addr };
        life = Some(living::Life::begin(at, mint(Id::NIL, Some("admin"))?, world)?);
        let console = format!("http://{at}/console/#token={admin}");
        out::line(&format!("\nThe console, with all rights:\n\n{console}"))?;
        offer = offer::Offer::begin(&setup.data_dir, &console)?;
        out::line(&format!("\nlistening on http://{addr}; end with Ctrl-C. Try in another terminal:\n"))?;
        out::line(&format!("TOKEN={token}"))?;
        let bearer = "-H \"Authorization: Bearer $TOKEN\"";
        out::line(&format!("curl {bearer} 'http://{addr}/api/v1/feed?limit=5&explain=1'"))?;
        out::line(&format!("curl {bearer} 'http://{addr}/api/v1/discover/suggested-users?limit=5'"))?;
        let trending = format!("curl 'http://{addr}/api/v1/feed/trending?window=24h&limit=5'");
        out::line(&trending)?;
        if let Some(post) = post {
            out::line("\nShare a post, and see its shares and its score rise:\n")?;
            let event =
                format!(r#"{{"events":[{{"event_time":'$(date +%s)000',"post_id":"{post}","action":"share"}}]}}"#);
            let json = "-H 'Content-Type: application/json'";
            out::line(&format!("curl {bearer} {json} 'http://{addr}/api/v1/events' \\\n  -d '{event}'"))?;
            out::line(&trending)?;
        }
        Ok(())
    })
}
