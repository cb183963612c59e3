//! Measures how soon trending shows an event. One run measures both nova's trending and a query over ClickHouse in
//! every period, with the same events for both.
//!
//! Each event is a share by a different user, so each event adds one share to its post. An event counts as visible when
//! the post's shares in the list of seven days have risen by the number of sent events. For nova, the bench reads the
//! shares over HTTP. For the batch, an event is visible at the end of the run that counted it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{self, AppError, Setup};
use crate::cli::error::CliError;
use crate::cli::runtime::runtime;
use crate::cli::scratch::Scratch;
use crate::clock::{Clock, monotonic_now};
use crate::config::Config;
use crate::decode::{NoSchemas, Topics};
use crate::event::Id;
use crate::jobs::Status;
use crate::source::kafka::topics;
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::migrate::migrate;

use super::batch::{self, Shares};
use super::load::{Connection, Framing};
use super::node::{Serving, fill, social};
use super::report::Report;
use super::serve::post_request;
use super::statistics::percentile;

/// The number of posts to which events are sent. The shared posts are the first posts of the list, so that all shared
/// posts stay in the list.
const POSTS: usize = 20;
/// The interval at which the bench reads the trending list.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The time that a consumer needs to join its group. The first event must be visible after the consumer has joined its
/// group.
const WARM_UP: Duration = Duration::from_secs(60);
const TOKEN_TTL_S: u64 = 86_400;
const TRENDING: &str = "/api/v1/feed/trending?window=7d&limit=200";

#[derive(clap::Args)]
pub(super) struct Args {
    /// The seconds between two runs of the batch.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    period: u32,
    /// The number of periods in which events are sent.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    periods: u32,
    /// The number of events, spread evenly over the periods.
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    events: u32,
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    let clickhouse = app::clickhouse(config).ok_or_else(|| {
        CliError::Usage(
            "bench freshness compares with queries over ClickHouse, and clickhouse.url is not set: set it, or \
             NOVA_CLICKHOUSE_URL; with kafka.brokers events go through Kafka, without through the local log"
                .to_owned(),
        )
    })?;
    // The bench uses its own names of topics and databases, so it reads and writes nothing of a running deployment.
    let own = format!("bench_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
    let clickhouse = ClickHouseSettings { database: own.clone(), ..clickhouse };
    let server = ClickHouse::new(&clickhouse).map_err(AppError::from)?;
    let runtime = runtime()?;
    runtime.block_on(migrate(&server)).map_err(|error| CliError::Failed(format!("ClickHouse: {error}")))?;
    let mut kafka = app::kafka(config);
    if let Some(settings) = &mut kafka {
        (settings.group_id, settings.instance_id) = (own.clone(), None);
        runtime.block_on(topics::create_events(settings, &own)).map_err(AppError::from)?;
    }
    let done = over(args, config, report, &Names { own: &own, clickhouse, kafka: kafka.clone() }, &runtime);
    if let Some(Err(error)) = kafka.map(|settings| runtime.block_on(topics::delete(&settings, &own))) {
        tracing::warn!("the topic {own} is left behind: {error}");
    }
    if let Err(error) = runtime.block_on(server.run_bare(&format!("DROP DATABASE IF EXISTS `{own}`"))) {
        tracing::warn!("the database {own} is left behind: {error}");
    }
    done
}

/// The names of the topic and of the database to which the bench's events go.
struct Names<'a> {
    /// The name of the bench's topic, group and database.
    own: &'a str,
    clickhouse: ClickHouseSettings,
    kafka: Option<crate::source::kafka::KafkaSettings>,
}

fn over(
    args: &Args,
    config: &Config,
    report: &Report,
    names: &Names<'_>,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), CliError> {
    let (scratch, social) = (Scratch::new(&config.data_dir)?, social()?);
    let mut setup = Setup::new(scratch.path(), Topics::default(), Arc::new(NoSchemas));
    // Limits are off, because the bench measures the node and not the quota of one caller.
    setup.edge.limits.enabled = false;
    setup.clickhouse = Some(names.clickhouse.clone());
    setup.clock = Clock::shifted_to(social.end_ms());
    fill(&setup, Arc::clone(&social))?;
    let clickhouse = ClickHouse::new(&names.clickhouse).map_err(AppError::from)?;
    let stored = runtime.block_on(clickhouse.number("SELECT count() FROM post_events"));
    let (stored, filled) = (stored.map_err(batch::failed)?, social.events.len());
    if stored != filled as u64 {
        // The bench would mistake rows that arrive later for its own events.
        return Err(CliError::Failed(format!("ClickHouse holds {stored} of {filled} events before the bench begins")));
    }
    setup.drain = app::Drain { idle: Duration::from_secs(2), most: Duration::from_secs(5) };
    if let Some(settings) = &names.kafka {
        setup.kafka = Some(settings.clone());
        setup.topics = Topics { prefix: names.own.to_owned(), events: names.own.to_owned(), last_part: false };
    }
    let node = Serving::start(&setup)?;
    let measured = runtime.block_on(measure(args, &node, &clickhouse, names.own, report));
    node.stop()?;
    measured
}

/// An event that the bench has sent.
struct Sent {
    post: usize,
    /// The rise of the post's shares at which the event counts as visible.
    rise: u64,
    accepted: Instant,
    ours: Option<Duration>,
    batch: Option<Duration>,
}

struct Bench<'a> {
    node: &'a Serving,
    clickhouse: &'a ClickHouse,
    /// The comment at the beginning of the batch's queries, by which the bench finds the queries in the server's log.
    mark: &'a str,
    token: String,
    /// The posts to which the bench sends shares, and the post of the first event, whose only purpose is to warm nova
    /// up.
    posts: Vec<String>,
    /// The number of shares that each post has before the first event, in nova's list and in the batch's list.
    before: [Shares; 2],
    sent: RefCell<Vec<Sent>>,
    runs: RefCell<Vec<Duration>>,
    /// Whether the bench has sent all events.
    all: Cell<bool>,
}

async fn measure(
    args: &Args,
    node: &Serving,
    clickhouse: &ClickHouse,
    mark: &str,
    report: &Report,
) -> Result<(), CliError> {
    let token = node.edge.auth.mint(Id::NIL, Some("service"), Clock::System.now_ms(), TOKEN_TTL_S);
    let token = token.map_err(AppError::from)?;
    let mut reader = Reader::open(node).await?;
    reader.look().await?;
    let counted = batch::run(clickhouse, node.edge.clock.now_ms(), mark).await?.shares;
    let mut posts: Vec<String> = reader.order.clone();
    posts.retain(|post| counted.contains_key(post));
    posts.truncate(POSTS + 1);
    let Some(warm_up) = posts.pop().filter(|_| posts.len() == POSTS) else {
        return Err(CliError::Failed("trending is too short for the bench; this is a defect of nova".to_owned()));
    };
    let bench = Bench {
        node,
        clickhouse,
        mark,
        token,
        posts,
        before: [reader.shares.clone(), counted],
        sent: RefCell::default(),
        runs: RefCell::default(),
        all: Cell::new(false),
    };
    bench.warm_up(&warm_up, &mut reader).await?;
    let published = bench.publishing();
    let period = Duration::from_secs(u64::from(args.period));
    let most = period * (args.periods + 2) + WARM_UP;
    let work = async { tokio::try_join!(bench.send(args, period), bench.watch(&mut reader), bench.batch(period)) };
    match tokio::time::timeout(most, work).await {
        Ok(done) => drop(done?),
        // The bench only warns about events that did not become visible in time.
        Err(_) => tracing::warn!("some events did not become visible in {} s", most.as_secs()),
    }
    bench.tell(published, report).await
}

impl Bench<'_> {
    async fn share(&self, connection: &mut Connection, post: &str) -> Result<(), CliError> {
        let (event, user) = (uuid::Uuid::now_v7(), uuid::Uuid::new_v4());
        let now_ms = self.node.edge.clock.now_ms();
        let body = format!(
            r#"{{"events":[{{"event_id":"{event}","user_id":"{user}","event_time":{now_ms},"post_id":"{post}","action":"share"}}]}}"#
        );
        connection.ask(&post_request(&self.token, &body)).await.map(drop)
    }

    async fn warm_up(&self, post: &str, reader: &mut Reader) -> Result<(), CliError> {
        let mut connection = Connection::open(self.node.addr, Framing::Http).await?;
        self.share(&mut connection, post).await?;
        let seen = async {
            while reader.shares.get(post) == self.before[0].get(post) {
                tokio::time::sleep(LOOK_EVERY).await;
                reader.look().await?;
            }
            Ok(())
        };
        let late = |_| CliError::Failed(format!("the first event did not show within {} s", WARM_UP.as_secs()));
        tokio::time::timeout(WARM_UP, seen).await.map_err(late)?
    }

    async fn send(&self, args: &Args, period: Duration) -> Result<(), CliError> {
        let mut connection = Connection::open(self.node.addr, Framing::Http).await?;
        let mut ticks = interval(period * args.periods / args.events);
        for n in 0..args.events as usize {
            ticks.tick().await;
            let post = n % self.posts.len();
            self.share(&mut connection, &self.posts[post]).await?;
            let (accepted, rise) = (monotonic_now(), (n / self.posts.len() + 1) as u64);
            self.sent.borrow_mut().push(Sent { post, rise, accepted, ours: None, batch: None });
        }
        self.all.set(true);
        Ok(())
    }

    async fn watch(&self, reader: &mut Reader) -> Result<(), CliError> {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.seen(0, &reader.shares, |sent| &mut sent.ours) {
            ticks.tick().await;
            reader.look().await?;
        }
        Ok(())
    }

    async fn batch(&self, period: Duration) -> Result<(), CliError> {
        let mut ticks = interval(period);
        loop {
            ticks.tick().await;
            let run = batch::run(self.clickhouse, self.node.edge.clock.now_ms(), self.mark).await?;
            self.runs.borrow_mut().push(run.took);
            if self.seen(1, &run.shares, |sent| &mut sent.batch) {
                return Ok(());
            }
        }
    }

    /// Marks the events that are visible now, and returns true if all events are visible.
    fn seen(&self, side: usize, shares: &Shares, member: fn(&mut Sent) -> &mut Option<Duration>) -> bool {
        let (now, mut all) = (monotonic_now(), self.all.get());
        for sent in &mut *self.sent.borrow_mut() {
            let post = &self.posts[sent.post];
            let count = |shares: &Shares| shares.get(post).copied().unwrap_or(0);
            let visible = count(shares) >= count(&self.before[side]) + sent.rise;
            let waited = now.duration_since(sent.accepted);
            let member = member(sent);
            if member.is_none() && visible {
                *member = Some(waited);
            }
            all &= member.is_some();
        }
        all
    }

    /// The status of the job that publishes trending, and the job's cost since the start of the node.
    fn publishing(&self) -> Status {
        let statuses = self.node.edge.watch.jobs.runner.statuses();
        statuses.into_iter().find(|(name, _)| *name == "trending_publish").map(|(_, status)| status).unwrap_or_default()
    }

    async fn tell(&self, before: Status, report: &Report) -> Result<(), CliError> {
        let log =
            if self.node.edge.watch.kafka.is_some() { "events through Kafka" } else { "events through the local log" };
        let member = |side| move |sent: &Sent| if side == 0 { sent.ours } else { sent.batch };
        for (side, what) in ["ours: from the 202 to trending", "batch: from the 202 to trending"].iter().enumerate() {
            let sent = self.sent.borrow();
            let mut times_ms: Vec<f64> =
                sent.iter().filter_map(member(side)).map(|time| time.as_secs_f64() * 1e3).collect();
            times_ms.sort_unstable_by(f64::total_cmp);
            for (name, percent) in [("p50", 50), ("p95", 95), ("max", 100)] {
                report.line(&format!("{what}: {name}"), percentile(&times_ms, percent), "ms", Some(log))?;
            }
            report.line(&format!("{what}: visible"), times_ms.len() as f64, "events", None)?;
            report.line(
                &format!("{what}: not visible in time"),
                (sent.len() - times_ms.len()) as f64,
                "events",
                None,
            )?;
        }
        let mut took_ms: Vec<f64> = self.runs.borrow().iter().map(|took| took.as_secs_f64() * 1e3).collect();
        took_ms.sort_unstable_by(f64::total_cmp);
        for (name, percent) in [("p50", 50), ("p95", 95)] {
            let what = format!("batch: the queries of one run, four windows: {name}");
            report.line(&what, percentile(&took_ms, percent), "ms", None)?;
        }
        let (rows, how) = batch::rows_read(self.clickhouse, self.node.edge.clock.now_ms(), self.mark).await?;
        report.line("batch: rows read by one run", rows as f64, "rows", Some(how))?;
        let after = self.publishing();
        let refreshes = (after.ended.iter().sum::<u64>() - before.ended.iter().sum::<u64>()).max(1);
        let mean_ms = (after.total - before.total).as_secs_f64() * 1e3 / refreshes as f64;
        let note = "the mean; what happened since the last one is added, no row is read";
        report.line("ours: publishing four windows", mean_ms, "ms", Some(note))
    }
}

/// Reads the trending list like a client that fetches the list only after a change.
struct Reader {
    connection: Connection,
    etag: String,
    shares: Shares,
    /// The posts of the trending list, best first.
    order: Vec<String>,
}

impl Reader {
    async fn open(node: &Serving) -> Result<Reader, CliError> {
        let connection = Connection::open(node.addr, Framing::Http).await?;
        Ok(Reader { connection, etag: "\"\"".to_owned(), shares: Shares::new(), order: Vec::new() })
    }

    async fn look(&mut self) -> Result<(), CliError> {
        #[derive(Deserialize)]
        struct Post {
            post_id: String,
            shares: u64,
        }
        #[derive(Deserialize)]
        struct Page {
            posts: Vec<Post>,
        }
        let request = format!("GET {TRENDING} HTTP/1.1\r\nHost: nova\r\nIf-None-Match: {}\r\n\r\n", self.etag);
        let answer = self.connection.ask(request.as_bytes()).await?;
        if answer.body.is_empty() {
            return Ok(());
        }
        let wrong = |error: &dyn std::fmt::Display| CliError::Failed(format!("trending cannot be read: {error}"));
        let page: Page = serde_json::from_slice(answer.body).map_err(|error| wrong(&error))?;
        let head = String::from_utf8_lossy(&answer.whole[..answer.whole.len() - answer.body.len()]);
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
        self.etag = etag.ok_or_else(|| wrong(&"there is no ETag"))?.to_owned();
        self.order = page.posts.iter().map(|post| post.post_id.clone()).collect();
        self.shares = page.posts.into_iter().map(|post| (post.post_id, post.shares)).collect();
        Ok(())
    }
}
