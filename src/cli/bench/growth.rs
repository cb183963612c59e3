//! Measures a node with worlds of growing size: the load, the disk and memory, the restart, and the rate of answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::{self, AppError, Setup};
use crate::arrival::TimeOf;
use crate::cli::error::CliError;
use crate::cli::runtime::runtime;
use crate::cli::scratch::Scratch;
use crate::clock::{Clock, monotonic_now};
use crate::config::Config;
use crate::decode::{NoSchemas, Topics};
use crate::state::STRUCTURES;

use super::ingest::mixed;
use super::load::{self, Connection, Framing, Target};
use super::machine;
use super::node::Serving;
use super::report::Report;
use super::serve::{get_request, listed, post_request};
use super::statistics::percentile;
use super::world::{END_MS, FOLLOWS_A_USER, VIEWS_A_USER, World, post, user};

const SEED: u64 = 1;
const MILLION: u64 = 1_000_000;
/// The number of users for whom the bench requests feed pages. The bench first requests a first page for each user, and
/// after that pages for all users in turn.
const READERS: u64 = 2_000;
const CONNECTIONS: usize = 16;
const PAGES: Duration = Duration::from_secs(5);
/// The rates, in events a second, at which the bench measures how many bytes nova writes.
const EVENT_RATES: [u64; 3] = [0, 10, 1_000];
const TOKEN_TTL_S: u64 = 86_400;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of users. Each user follows 50 users, and adds 1.4 posts, 10 likes and 20 views. If several numbers
    /// are given, they are measured one after the other.
    #[arg(long, value_name = "N", default_values_t = [10_000, 100_000], num_args = 1.., value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    users: Vec<u64>,
    /// The number of seconds for which each rate of events is measured.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    for users in &args.users {
        Growth { users: *users, report, scratch: Scratch::new(&config.data_dir)? }.run(args.seconds)?;
    }
    Ok(())
}

/// The bench of a world of one size.
struct Growth<'a> {
    users: u64,
    report: &'a Report,
    scratch: Scratch,
}

impl Growth<'_> {
    fn line(&self, what: &str, value: f64, unit: &str) -> Result<(), CliError> {
        let note = format!("{} users", self.users);
        self.report.line(what, value, unit, Some(&note))
    }

    fn setup(&self) -> Setup {
        let mut setup = Setup::new(self.scratch.path(), Topics::default(), Arc::new(NoSchemas));
        // Limits are off, because the bench measures the node and not the quota of one caller.
        setup.edge.limits.enabled = false;
        setup
    }

    fn run(&self, seconds: u32) -> Result<(), CliError> {
        self.load()?;
        let mut setup = self.setup();
        // The node's clock starts at the time at which the generated data ends, so the posts are young enough to be
        // ranked.
        setup.clock = Clock::shifted_to(END_MS);
        let began = monotonic_now();
        let node = Serving::start(&setup)?;
        self.line("start: after an orderly end", ms(began), "ms")?;
        let measured = self.memory(&node).and_then(|()| self.serve(&node, seconds));
        // The copy of the store's file is the state after a crash, with the journal of the events.
        let crashed = Scratch::new(self.scratch.path())?;
        std::fs::copy(app::store_path(self.scratch.path()), app::store_path(crashed.path()))?;
        node.stop()?;
        measured?;
        self.crash(&crashed)
    }

    /// Runs the world through the pipeline, as `nova replay` does.
    fn load(&self) -> Result<(), CliError> {
        let mut setup = self.setup();
        setup.settings.time_of = TimeOf::File;
        setup.settings.for_load();
        let world = World::new(self.users, SEED);
        let records = world.records();
        let (before, began) = (machine::written_bytes(), monotonic_now());
        let (mut seen, mut shown) = (vec![(0.0, 0)], Ok(0));
        let statuses = app::open(&setup)?.start(Box::new(world), &setup)?.finish(|statuses| {
            let consumed: u64 = statuses.iter().map(|status| status.row.consumed).sum();
            seen.push((began.elapsed().as_secs_f64(), consumed));
            if let Ok(millions) = shown {
                shown = self.rates(&seen, millions);
            }
        })?;
        shown?;
        let took_s = began.elapsed().as_secs_f64();
        let applied: u64 = statuses.iter().map(|status| status.row.outcomes[0]).sum();
        if applied != records {
            return Err(CliError::Failed(format!(
                "{applied} of {records} records were applied; this is a defect of nova"
            )));
        }
        self.line("load: records", records as f64, "records")?;
        self.line("load: rate over all", records as f64 / took_s, "records/s")?;
        let stored = std::fs::metadata(app::store_path(self.scratch.path()))?.len();
        self.line("store: size", stored as f64, "bytes")?;
        self.line("store: size for a record", stored as f64 / records as f64, "bytes")?;
        if let Some((before, after)) = before.zip(machine::written_bytes()) {
            self.line("load: written for a record", (after - before) as f64 / records as f64, "bytes")?;
        }
        Ok(())
    }

    /// Reports the rate of each million records that nova has consumed and the bench has not yet reported. The bench
    /// reports during the load, because a load may take an hour. Returns the number of reported millions.
    fn rates(&self, seen: &[(f64, u64)], reported: u64) -> Result<u64, CliError> {
        let millions = seen.last().map_or(0, |(_, consumed)| consumed / MILLION);
        for million in reported..millions {
            let rate = MILLION as f64 / (at(seen, (million + 1) * MILLION) - at(seen, million * MILLION)).max(1e-3);
            self.line(&format!("load: rate of million {}", million + 1), rate, "records/s")?;
        }
        Ok(millions)
    }

    fn memory(&self, node: &Serving) -> Result<(), CliError> {
        for (name, bytes) in STRUCTURES {
            let bytes = bytes(&node.edge.serving.state.read()) as f64;
            self.line(&format!("memory: {name}"), bytes, "bytes")?;
            match name {
                "graph" => self.line("memory: a follow", bytes / (self.users * FOLLOWS_A_USER) as f64, "bytes")?,
                "touches" => self.line("memory: a view", bytes / (self.users * VIEWS_A_USER) as f64, "bytes")?,
                _ => {}
            }
        }
        match machine::resident_bytes() {
            Some(bytes) => self.line("memory: the process, resident", bytes as f64, "bytes"),
            None => Ok(()),
        }
    }

    fn serve(&self, node: &Serving, seconds: u32) -> Result<(), CliError> {
        let token = |number: u64| {
            let minted = node.edge.auth.mint(user(number), None, Clock::System.now_ms(), TOKEN_TTL_S);
            minted.map_err(|error| CliError::App(AppError::from(error)))
        };
        let readers = READERS.min(self.users);
        let step = self.users / readers;
        let tokens = (0..readers).map(|reader| token(reader * step)).collect::<Result<Vec<_>, _>>()?;
        let pages: Vec<Vec<u8>> = tokens.iter().map(|token| get_request("/api/v1/feed?limit=20", token)).collect();
        let runtime = runtime()?;
        let mut times_us = runtime.block_on(one_by_one(node, &pages))?;
        times_us.sort_unstable();
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            self.line(&format!("feed without a snapshot: {name}"), percentile(&times_us, percent), "us")?;
        }
        let what = "feed pages of 2 000 users in turn";
        let pages = Target::new(what, node.addr, Framing::Http, listed(pages));
        self.line(what, load::run(&pages, CONNECTIONS, PAGES)?.rate(), "requests/s")?;
        for rate in EVENT_RATES {
            self.written(node, &runtime, (&tokens, rate), seconds)?;
        }
        Ok(())
    }

    /// Measures the bytes that nova writes while events come at a given rate. Each request has one event, which is
    /// durable before the answer 202.
    fn written(
        &self,
        node: &Serving,
        runtime: &tokio::runtime::Runtime,
        (tokens, rate): (&[String], u64),
        seconds: u32,
    ) -> Result<(), CliError> {
        let (before, began) = (machine::written_bytes(), monotonic_now());
        let (mut worst_ms, mut sent) = (0f64, 0);
        runtime.block_on(async {
            let mut connection = Connection::open(node.addr, Framing::Http).await?;
            let end = began + Duration::from_secs(u64::from(seconds));
            while monotonic_now() < end {
                let due = if rate == 0 { end } else { began + Duration::from_secs(1) * sent as u32 / rate as u32 };
                tokio::time::sleep_until(due.min(end).into()).await;
                if rate == 0 {
                    break;
                }
                let request = self.event(node, tokens, rate, sent);
                let asked = monotonic_now();
                connection.ask(&request).await?;
                worst_ms = worst_ms.max(ms(asked));
                sent += 1;
            }
            Ok::<_, CliError>(())
        })?;
        if let Some((before, after)) = before.zip(machine::written_bytes()) {
            let a_minute = (after - before) as f64 * 60.0 / began.elapsed().as_secs_f64();
            self.line(&format!("written in a minute at {rate} events a second"), a_minute, "bytes")?;
        }
        if rate > 0 {
            self.line(&format!("slowest answer at {rate} events a second"), worst_ms, "ms")?;
        }
        Ok(())
    }

    fn event(&self, node: &Serving, tokens: &[String], rate: u64, number: u64) -> Vec<u8> {
        let (id, now_ms) = (mixed(number + (rate << 32) + (1 << 50)), node.edge.clock.now_ms());
        let post = post(number.wrapping_mul(7_919) % self.users);
        let event = format!(
            r#"{{"events":[{{"event_id":"{id}","event_time":{now_ms},"post_id":"{post}","action":"view","dwell_ms":800}}]}}"#
        );
        post_request(&tokens[number as usize % tokens.len()], &event)
    }

    fn crash(&self, crashed: &Scratch) -> Result<(), CliError> {
        let mut setup = Setup::new(crashed.path(), Topics::default(), Arc::new(NoSchemas));
        setup.clock = Clock::shifted_to(END_MS);
        let began = monotonic_now();
        let opened = app::open(&setup)?;
        self.line("start: after a crash, until the last commit is served", ms(began), "ms")?;
        self.line("start: blobs of the journal", opened.recovery.journal_batches as f64, "blobs")
    }
}

fn ms(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

/// The time in seconds at which nova had consumed `count` records. The function assumes a constant rate between two
/// samples.
fn at(seen: &[(f64, u64)], count: u64) -> f64 {
    let after = seen.partition_point(|(_, consumed)| *consumed < count);
    let pair = after.checked_sub(1).and_then(|before| seen.get(before)).zip(seen.get(after));
    let Some(((from_s, from), (to_s, to))) = pair else { return seen.first().map_or(0.0, |(first_s, _)| *first_s) };
    from_s + (to_s - from_s) * (count - from) as f64 / (to - from).max(1) as f64
}

/// The time of each request in microseconds.
async fn one_by_one(node: &Serving, requests: &[Vec<u8>]) -> Result<Vec<u32>, CliError> {
    let mut connection = Connection::open(node.addr, Framing::Http).await?;
    let mut times_us = Vec::with_capacity(requests.len());
    for request in requests {
        let began = monotonic_now();
        connection.ask(request).await?;
        times_us.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(times_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_two_looks_are_as_if_records_came_evenly() {
        let seen = [(0.0, 0), (1.0, 100), (1.0, 100), (3.0, 300)];
        assert_eq!(at(&seen, 0), 0.0);
        assert_eq!(at(&seen, 50), 0.5);
        assert_eq!(at(&seen, 200), 2.0);
        assert_eq!(at(&seen, 300), 3.0);
    }
}
