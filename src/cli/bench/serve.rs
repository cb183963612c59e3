//! Sends requests over sockets to a node in this process; the node has the bundled data set. For comparison, the load
//! generator alternately sends GETs to Redis, for values that are as large as the feed pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::app::{AppError, Setup};
use crate::cli::demo::data::Social;
use crate::cli::error::CliError;
use crate::cli::runtime::runtime;
use crate::cli::scratch::Scratch;
use crate::clock::Clock;
use crate::config::Config;
use crate::decode::{NoSchemas, Topics};
use crate::event::Id;

use super::ingest::mixed;
use super::load::{self, Connection, Framing, Measured, Requests, Target};
use super::node::{Serving, fill, social};
use super::redis;
use super::report::Report;
use super::statistics::{median, percentile};

/// The number of rounds. The bench measures all targets in each round, so that other load on the machine affects all
/// targets alike.
const ROUNDS: u32 = 5;
/// The number of users for whom the bench sends requests. The bench takes the users who follow the most people.
const USERS: usize = 64;
const TOKEN_TTL_S: u64 = 86_400;
const NOTE: &str = "client and server share the cores; a client asks again when it is answered";

#[derive(clap::Args)]
pub(super) struct Args {
    /// The seconds for each kind of request.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// The number of connections that send requests at the same time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Also measure a Redis server for comparison: host:port.
    #[arg(long, value_name = "ADDR")]
    redis: Option<String>,
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    let redis = args.redis.as_deref().map(redis::address).transpose()?;
    let (scratch, social) = (Scratch::new(&config.data_dir)?, social()?);
    let mut setup = Setup::new(scratch.path(), Topics::default(), Arc::new(NoSchemas));
    // Limits are off, because the bench measures the node and not the quota of one caller.
    setup.edge.limits.enabled = false;
    fill(&setup, Arc::clone(&social))?;
    // The node's clock begins at the end of the data, so that the posts are young enough for a feed.
    setup.clock = Clock::shifted_to(social.end_ms());
    let node = Serving::start(&setup)?;
    let measured = measure(args, &node, &social, redis, report);
    node.stop()?;
    measured
}

fn measure(
    args: &Args,
    node: &Serving,
    social: &Social,
    redis: Option<SocketAddr>,
    report: &Report,
) -> Result<(), CliError> {
    let runtime = runtime()?;
    let mut targets = targets(node, social)?;
    // The first page of a user makes the snapshot of the feed, so the bench measures only the later pages.
    let pages = runtime.block_on(bodies(&targets[0]))?;
    let mean_bytes = pages.iter().map(Vec::len).sum::<usize>() as f64 / pages.len() as f64;
    let keys = match redis {
        Some(addr) => {
            let keys = runtime.block_on(redis::store(addr, &pages))?;
            targets.insert(1, gets(addr, &keys));
            keys
        }
        None => Vec::new(),
    };
    let before = node.edge.serving.feeds.served.total();
    let done = rounds(args, &targets);
    let after = node.edge.serving.feeds.served.total();
    if let Some(addr) = redis {
        forget(&runtime, addr, &keys);
    }
    let done = done?;
    for (target, runs) in targets.iter().zip(&done) {
        tell(target.what, runs, report)?;
    }
    report.line("feed page: size", mean_bytes, "bytes", None)?;
    let hits = (after.feed_hits - before.feed_hits) as f64 / (after.feeds - before.feeds).max(1) as f64;
    report.line("feed page: from a snapshot", hits, "ratio", None)?;
    if redis.is_some() {
        let ratios = done[0].iter().zip(&done[1]).map(|(feed, get)| feed.rate() / get.rate().max(1e-9));
        let note = "the middle of the ratios of 5 rounds, turn about; HTTP with a token beside RESP without one";
        report.line("feed pages for one Redis GET", median(ratios.collect()), "ratio", Some(note))?;
    }
    Ok(())
}

/// Deletes the bench's values in Redis. If Redis cannot delete the values, the values expire later.
fn forget(runtime: &Runtime, addr: SocketAddr, keys: &[String]) {
    if let Err(error) = runtime.block_on(redis::remove(addr, keys)) {
        tracing::warn!("values of the bench are left in Redis for an hour: {error}");
    }
}

/// Runs every target in each round. Every second round runs the targets in the reverse order.
fn rounds(args: &Args, targets: &[Arc<Target>]) -> Result<Vec<Vec<Measured>>, CliError> {
    let time = Duration::from_secs(u64::from(args.seconds)) / ROUNDS;
    let mut done: Vec<Vec<Measured>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        let forth = 0..targets.len();
        let order: Vec<usize> = if round % 2 == 0 { forth.collect() } else { forth.rev().collect() };
        for at in order {
            done[at].push(load::run(&targets[at], args.connections as usize, time)?);
        }
    }
    Ok(done)
}

fn tell(what: &str, runs: &[Measured], report: &Report) -> Result<(), CliError> {
    let rates = runs.iter().map(Measured::rate).collect();
    report.line(what, median(rates), "requests/s", Some(NOTE))?;
    let mut times_us: Vec<u32> = runs.iter().flat_map(|run| run.times_us.iter().copied()).collect();
    times_us.sort_unstable();
    for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
        report.line(&format!("{what}: {name}"), percentile(&times_us, percent), "us", None)?;
    }
    Ok(())
}

/// The bodies of the answers to the first requests, one for each user.
async fn bodies(target: &Target) -> Result<Vec<Vec<u8>>, CliError> {
    let mut connection = Connection::open(target.addr, target.framing).await?;
    let (mut bodies, mut request) = (Vec::new(), Vec::new());
    for user in 0..USERS as u64 {
        request.clear();
        (target.requests)(user, &mut request);
        bodies.push(connection.ask(&request).await?.body.to_vec());
    }
    Ok(bodies)
}

/// The users who follow the most people: the first half reads, the second half acts.
fn users(social: &Social) -> (Vec<Id>, Vec<Id>) {
    let mut follows = vec![0u32; social.users.len()];
    social.follows.iter().for_each(|follow| follows[follow.follower as usize] += 1);
    let mut users: Vec<usize> = (0..social.users.len()).collect();
    users.sort_by_key(|user| std::cmp::Reverse(follows[*user]));
    let ids = |users: &[usize]| users.iter().map(|user| social.users[*user].id).collect();
    (ids(&users[..USERS]), ids(&users[USERS..2 * USERS]))
}

/// The kinds of requests that the bench measures, with the feed first.
fn targets(node: &Serving, social: &Social) -> Result<Vec<Arc<Target>>, CliError> {
    let (readers, actors) = users(social);
    let bearers = |users: &[Id]| -> Result<Vec<String>, CliError> {
        let now_ms = Clock::System.now_ms();
        let token = |user: &Id| node.edge.auth.mint(*user, None, now_ms, TOKEN_TTL_S).map_err(AppError::from);
        Ok(users.iter().map(token).collect::<Result<_, _>>()?)
    };
    let (readers, actors) = (bearers(&readers)?, bearers(&actors)?);
    let get = |what, path: &str| {
        let request = |token: &String| get_request(path, token);
        let requests: Vec<Vec<u8>> = readers.iter().map(request).collect();
        Target::new(what, node.addr, Framing::Http, listed(requests))
    };
    let (clock, posts) = (node.edge.clock.clone(), social.posts.iter().map(|post| post.id).collect::<Vec<_>>());
    let events: Requests = Box::new(move |n, out| {
        let (event, post, now_ms) = (mixed(n + 1), posts[n as usize % posts.len()], clock.now_ms());
        let event = format!(
            r#"{{"events":[{{"event_id":"{event}","event_time":{now_ms},"post_id":"{post}","action":"view","dwell_ms":800}}]}}"#
        );
        out.extend_from_slice(&post_request(&actors[n as usize % actors.len()], &event));
    });
    Ok(vec![
        get("feed page from a snapshot", "/api/v1/feed?limit=20"),
        get("trending", "/api/v1/feed/trending?window=24h&limit=20"),
        get("suggestions", "/api/v1/discover/suggested-users?limit=20"),
        Target::new("one event, durable before its 202", node.addr, Framing::Http, events),
    ])
}

fn gets(addr: SocketAddr, keys: &[String]) -> Arc<Target> {
    let requests = keys.iter().map(|key| redis::command(&[b"GET", key.as_bytes()])).collect();
    Target::new("Redis GET of a value of the feed page's size", addr, Framing::Resp, listed(requests))
}

/// Makes requests by repeating a list of requests.
pub(super) fn listed(requests: Vec<Vec<u8>>) -> Requests {
    Box::new(move |n, out| out.extend_from_slice(&requests[n as usize % requests.len()]))
}

pub(super) fn get_request(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: nova\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

pub(super) fn post_request(token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: nova\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
