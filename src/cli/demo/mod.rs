//! `nova demo`: the whole pipeline on a bundled real social data set.

pub mod data;
mod source;

use std::path::Path;
use std::sync::Arc;

use crate::app::{self, Setup};
use crate::decode::{NoSchemas, Topics};
use crate::feed::trending::{self, Window};

use self::data::Social;
use self::source::DemoSource;
use super::{CliError, out, report};

/// Posts that are printed of each list.
const SHOWN: usize = 10;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only the first N users, and what they do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    users: Option<u32>,
    /// End after the report (the only mode so far).
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &Args, data: &Path, json: bool) -> Result<(), CliError> {
    let social = Arc::new(Social::bundled().map_err(|error| CliError::Failed(error.to_string()))?);
    let end_ms = social.end_ms();
    // A store of its own: the demo's ids must not mix with those of a real one.
    let data = data.join("demo");
    let setup = Setup::new(&data, Topics::default(), Arc::new(NoSchemas));
    let opened = app::open(&setup)?;
    let source = DemoSource::new(social, args.users);
    let mut progress = out::Progress::new("demo", source.done(), source.total());
    let state = Arc::clone(&opened.state);
    let running = opened.start(Box::new(source), setup.decoder())?;
    let started = std::time::Instant::now();
    let statuses = running.finish(|statuses| progress.tick(report::totals(statuses).consumed))?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish();
    let state = state.read();
    if json {
        let list = trending::rank(&state, Window::Day, end_ms, SHOWN).json();
        let accounting = report::json(&statuses)?;
        out::line(&format!(r#"{{"accounting":{accounting},"trending":{list}}}"#))?;
        return Ok(());
    }
    let totals = report::totals(&statuses);
    out::line(&format!("{} records in {seconds:.2} s, each committed to {}", totals.consumed, data.display()))?;
    report::table(&statuses)?;
    for window in [Window::Hour, Window::Day] {
        let at = jiff::Timestamp::from_millisecond(end_ms).unwrap_or_default();
        out::line(&format!("\ntrending {} at {at:.0}", window.name()))?;
        for (entry, rank) in trending::rank(&state, window, end_ms, SHOWN).entries.iter().zip(1..) {
            let [_, views, likes, comments, shares] = entry.counts;
            let score = entry.score as f64 / 10.0;
            let line = format!(
                "{rank:>3}  {}  {score:>6.1}  {views} views, {likes} likes, {comments} comments, {shares} shares",
                entry.post
            );
            out::line(&line)?;
        }
    }
    out::line(&format!(
        "\ngo on: nova --data {} dump --trending 24h --now {}",
        data.display(),
        jiff::Timestamp::from_millisecond(end_ms).unwrap_or_default()
    ))?;
    Ok(())
}
