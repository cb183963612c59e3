//! `nova replay --compare` replays captures to show how a change of the ranking's settings would have changed the
//! lists. `log` brings the captures into the order of time, `side` runs one configuration, and `measures` counts.
//!
//! The clicks and likes of the log are divided into [`MOMENTS`] + 1 parts of equal size. Each part of the log except
//! the first part begins with a moment. At a moment, both configurations know all earlier records. Each
//! configuration makes a feed for every user who clicked or liked something within the next [`LATER_MS`]. The result
//! depends neither on the clock nor on the machine, so two runs with equal input give equal reports.

mod log;
mod measures;
mod side;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::app::Setup;
use crate::clock::rfc3339;
use crate::config::Config;
use crate::feed::trending::Window;
use crate::state::ranking::NUMBERS;

use self::log::{Act, Log};
use self::measures::{FeedsReport, Mean, Measures, SideReport, overlap};
use self::side::Side;

use super::error::CliError;
use super::out;
use super::scratch::Scratch;

/// The number of moments at which the command compares lists. For each moment, the command reads the captures once
/// more.
const MOMENTS: usize = 8;
/// The maximum number of people whose lists the command compares at one moment. The command takes the people with the
/// lowest ids, because ids are unrelated to behaviour.
const USERS_MAX: usize = 2_000;
/// The time after a moment within which clicks and likes count for the feed that a user had at the moment.
const LATER_MS: i64 = 24 * 3_600_000;

/// A setting of the ranking that differs between the two configurations.
#[derive(Debug, Serialize)]
struct Changed {
    key: String,
    a: String,
    b: String,
}

#[derive(Debug, Serialize)]
struct Report {
    changed: Vec<Changed>,
    /// The times of the moments in RFC 3339.
    moments: Vec<String>,
    /// The number of records that nova cannot decode, and that both configurations lack.
    dead: u64,
    #[serde(flatten)]
    feeds: FeedsReport,
    /// For each trending window, the fraction (0 to 1) of the top posts that are in the lists of both configurations.
    /// The fraction is null if a configuration lacks the window.
    trending_overlap: Vec<(&'static str, Option<f64>)>,
}

/// Runs the comparison of two configurations. `setup` has the settings for reading captures. The comparison does not
/// touch the configured store.
pub(super) fn run(
    configs: &[PathBuf],
    files: &[PathBuf],
    config: &Config,
    setup: &dyn Fn(&Config, PathBuf) -> Result<Setup, CliError>,
    json: bool,
) -> Result<(), CliError> {
    if let Some(pipe) = files.iter().find(|file| !file.is_file()) {
        let path = pipe.display();
        return Err(CliError::Usage(format!(
            "{path}: a comparison reads its captures several times, so they must be files"
        )));
    }
    let both = configs.iter().map(|path| load(path)).collect::<Result<Vec<_>, _>>()?;
    let [a, b] = both.as_slice() else {
        return Err(CliError::Usage("--compare takes two configurations".to_owned()));
    };
    let changed = changed(a, b);
    if changed.is_empty() {
        let paths: Vec<_> = configs.iter().map(|path| path.display().to_string()).collect();
        return Err(CliError::Usage(format!(
            "{} set the same parameters of ranking: there is nothing to compare; docs/configuration.md lists the parameters",
            paths.join(" and ")
        )));
    }
    let log = Log::read(files, setup(config, PathBuf::new())?.decoder())?;
    let moments = moments(&log.acts);
    if moments.is_empty() {
        return Err(CliError::Usage(format!(
            "the captures have {} clicks and likes of different times; a comparison needs {} at least",
            log.acts.len(),
            MOMENTS + 1
        )));
    }
    let ends_ms: Vec<_> = moments.iter().map(|moment| moment.at_ms - 1).collect();
    let start = |of: &Config| {
        let scratch = Scratch::new(&config.data_dir)?;
        let setup = setup(of, scratch.path().to_owned())?;
        Side::start(&setup, scratch, &log, ends_ms.clone())
    };
    let sides = [start(a)?, start(b)?];
    let report = Report { dead: log.dead, ..compared(&sides, &moments, changed)? };
    sides.into_iter().try_for_each(Side::end)?;
    match json {
        true => Ok(out::line(&to_json(&report)?)?),
        false => Ok(table(&report)?),
    }
}

fn to_json(report: &Report) -> Result<String, CliError> {
    serde_json::to_string(report).map_err(|error| CliError::Failed(error.to_string()))
}

/// Reads a configuration only from its file, because variables of the environment would override both configurations.
fn load(path: &Path) -> Result<Config, CliError> {
    Config::load(Some(path), std::iter::empty())
        .map_err(|error| CliError::Config(format!("{}: {error}", path.display())))
}

fn changed(a: &Config, b: &Config) -> Vec<Changed> {
    let mut changed = Vec::new();
    for number in NUMBERS {
        let [of_a, of_b] = [a, b].map(|config| number.text((number.get)(&config.ranking)));
        if of_a != of_b {
            changed.push(Changed { key: format!("{}.{}", number.section, number.key), a: of_a, b: of_b });
        }
    }
    let windows = |config: &Config| {
        let names: Vec<_> = crate::feed::trending::kept(&config.ranking).map(Window::name).collect();
        names.join(", ")
    };
    if windows(a) != windows(b) {
        changed.push(Changed { key: "trending.windows".to_owned(), a: windows(a), b: windows(b) });
    }
    changed
}

/// A moment, and the clicks and likes of people after the moment.
struct Moment<'a> {
    at_ms: i64,
    /// The clicks and likes after the moment, in the order of time.
    later: &'a [Act],
}

/// Divides `acts`, which are sorted by time, into moments. Parts that begin at the same time become one part.
fn moments(acts: &[Act]) -> Vec<Moment<'_>> {
    let mut begins: Vec<i64> =
        (1..=MOMENTS).filter_map(|part| acts.get(part * acts.len() / (MOMENTS + 1))).map(|act| act.at_ms).collect();
    begins.dedup();
    begins.retain(|at_ms| acts.first().is_some_and(|first| first.at_ms < *at_ms));
    let ends = begins.iter().skip(1).copied().chain([i64::MAX]);
    let moment = |(at_ms, end_ms): (&i64, i64)| {
        let end_ms = end_ms.min(at_ms.saturating_add(LATER_MS));
        let place = |ms| acts.partition_point(|act| act.at_ms < ms);
        Moment { at_ms: *at_ms, later: &acts[place(*at_ms)..place(end_ms)] }
    };
    begins.iter().zip(ends).map(moment).collect()
}

fn compared(sides: &[Side; 2], moments: &[Moment<'_>], changed: Vec<Changed>) -> Result<Report, CliError> {
    let mut measures = Measures::default();
    let mut windows = Window::ALL.map(|_| Mean::default());
    for moment in moments {
        sides.iter().for_each(Side::begin);
        sides.iter().try_for_each(Side::wait)?;
        let [a, b] = [&sides[0], &sides[1]].map(|side| side.lists(moment.at_ms));
        for later in by_user(moment.later).chunk_by(|one, other| one.user == other.user).take(USERS_MAX) {
            let user = later[0].user;
            if let (Some(of_a), Some(of_b)) = (a.feed(user), b.feed(user)) {
                measures.add([&of_a, &of_b], later);
                measures.suggestions_overlap.add(overlap(&a.suggested(user), &b.suggested(user)));
            }
        }
        let of_b = b.windows();
        for (window, list) in a.windows() {
            if let Some((_, other)) = of_b.iter().find(|(other, _)| *other == window) {
                windows[window as usize].add(overlap(&list, other));
            }
        }
    }
    let moments = moments.iter().map(|moment| rfc3339(moment.at_ms.saturating_mul(1_000))).collect();
    let trending_overlap = Window::ALL.iter().zip(windows).map(|(window, mean)| (window.name(), mean.get())).collect();
    Ok(Report { changed, moments, dead: 0, feeds: measures.report(), trending_overlap })
}

fn by_user(acts: &[Act]) -> Vec<Act> {
    let mut acts = acts.to_vec();
    acts.sort_unstable_by_key(|act| (act.user, act.at_ms, act.post, act.like));
    acts
}

fn table(report: &Report) -> std::io::Result<()> {
    for Changed { key, a, b } in &report.changed {
        out::line(&format!("{key}: a has {a}, b has {b}"))?;
    }
    let FeedsReport { first, feeds, later_clicks, later_likes, a, b, .. } = &report.feeds;
    out::line(&format!(
        "{feeds} feeds at {} moments from {} on, their first {first} places; {later_clicks} clicks and {later_likes} likes came \
         within a day",
        report.moments.len(),
        report.moments.first().map_or("", String::as_str)
    ))?;
    if report.dead > 0 {
        out::line(&format!(
            "{} records cannot be decoded and are missing under both: nova replay of the captures says why, by nova dlq list",
            report.dead
        ))?;
    }
    let (yes, no) = (report.feeds.equal, feeds - report.feeds.equal);
    out::line(&format!(
        "{}: posts that a feed has under both ({yes} feeds are equal, {no} differ)",
        percent(report.feeds.overlap)
    ))?;
    out::line(&format!("{}: users that are suggested under both", percent(report.feeds.suggestions_overlap)))?;
    for (window, overlap) in report.trending_overlap.iter().filter(|(_, overlap)| overlap.is_some()) {
        out::line(&format!("{}: posts that trend under both, {window}", percent(*overlap)))?;
    }
    out::line(&format!("{:<44}{:>12}{:>12}", "", "a", "b"))?;
    let row =
        |what: &str, of: &dyn Fn(&SideReport) -> String| out::line(&format!("{what:<44}{:>12}{:>12}", of(a), of(b)));
    row("posts among the first places", &|side| plain(side.posts))?;
    row("different authors there", &|side| plain(side.authors))?;
    row("places of the most frequent author", &|side| percent(side.share_of_one_author))?;
    row("middle age of a post, hours", &|side| plain(side.median_age_h))?;
    row("later clicks on a post that was there", &|side| of(side.clicks_shown, *later_clicks))?;
    row("later likes of a post that was there", &|side| of(side.likes_shown, *later_likes))
}

fn plain(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{:.1} %", value * 100.0))
}

fn of(shown: u64, all: u64) -> String {
    match all {
        0 => "-".to_owned(),
        _ => format!("{shown} ({:.1} %)", shown as f64 / all as f64 * 100.0),
    }
}
