//! Measures the throughput from the Kafka broker to ClickHouse with three runs. In the first run, a bare consumer of
//! librdkafka reads the events. In the second run, nova delivers the same events to ClickHouse. In the third run, the
//! bench inserts the rows into ClickHouse directly, in the batches that nova sends. The three runs follow one another
//! on one machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::app::{self, AppError, Setup};
use crate::cli::error::CliError;
use crate::cli::runtime::runtime;
use crate::cli::scratch::Scratch;
use crate::clock::{Clock, monotonic_now};
use crate::config::Config;
use crate::decode::{NoSchemas, Topics, client};
use crate::source::kafka::{KafkaSettings, Producer, bare, topics};
use crate::warehouse::Target;
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::migrate::migrate;
use crate::warehouse::outbox::BATCH_MAX_BYTES;

use super::batch::failed;
use super::ingest;
use super::node::Serving;
use super::report::Report;

/// The number of events for which the bench awaits the broker's acknowledgement at the same time.
const PRODUCED_AT_ONCE: usize = 5_000;
/// The interval at which the bench reads the counts of the node, and later the counts of ClickHouse.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const COUNT_EVERY: Duration = Duration::from_millis(50);
/// The time without progress after which the bench fails.
const STANDS_MAX: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The brokers as `host:port`, separated by commas. The default is kafka.brokers.
    #[arg(long, value_name = "LIST")]
    brokers: Option<String>,
    /// The URL of ClickHouse. The default is clickhouse.url.
    #[arg(long, value_name = "URL")]
    clickhouse: Option<String>,
    /// The number of client events, of 20 000 users on 5 000 posts.
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1_000..=20_000_000))]
    events: u32,
}

/// The servers, and the bench's own names of topics and databases, so that the bench reads and writes nothing of a
/// running deployment.
struct Servers {
    /// The name of the bench's topic, of its consumer group and of nova's database.
    own: String,
    kafka: KafkaSettings,
    clickhouse: ClickHouseSettings,
    /// The settings of the database into which the bench inserts rows without nova.
    engine: ClickHouseSettings,
}

impl Servers {
    fn find(args: &Args, config: &Config) -> Result<Servers, CliError> {
        let missing = |what: &str, option: &str, key: &str| {
            let variable = key.replace('.', "_").to_uppercase();
            CliError::Usage(format!("bench kafka needs {what}: name it with {option}, {key} or NOVA_{variable}"))
        };
        let mut config = config.clone();
        config.kafka_brokers = args.brokers.clone().or(config.kafka_brokers);
        config.clickhouse_url = args.clickhouse.clone().or(config.clickhouse_url);
        let kafka = app::kafka(&config).ok_or_else(|| missing("Kafka", "--brokers", "kafka.brokers"))?;
        let clickhouse =
            app::clickhouse(&config).ok_or_else(|| missing("ClickHouse", "--clickhouse", "clickhouse.url"))?;
        let own = format!("bench_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let database = |name: String| ClickHouseSettings { database: name, ..clickhouse.clone() };
        let engine = database(format!("{own}_engine"));
        let kafka = KafkaSettings { group_id: own.clone(), instance_id: None, ..kafka };
        Ok(Servers { kafka, clickhouse: database(own.clone()), engine, own })
    }

    /// Runs `work` with a topic and two databases, and removes the topic and the databases after `work`.
    fn with(&self, runtime: &Runtime, work: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
        let made = self.databases(runtime).and_then(|()| self.with_topic(runtime, work));
        // The caller gets the error of `work`. A failed removal is only logged: if ClickHouse does not answer, `work`
        // fails for the same reason.
        for settings in [&self.clickhouse, &self.engine] {
            let Ok(server) = ClickHouse::new(settings) else { continue };
            let drop = format!("DROP DATABASE IF EXISTS `{}`", settings.database);
            if let Err(error) = runtime.block_on(server.run_bare(&drop)) {
                tracing::debug!("the database {} is left behind: {error}", settings.database);
            }
        }
        made
    }

    fn databases(&self, runtime: &Runtime) -> Result<(), CliError> {
        for settings in [&self.clickhouse, &self.engine] {
            let server = ClickHouse::new(settings).map_err(AppError::from)?;
            runtime.block_on(migrate(&server)).map_err(|error| {
                CliError::Failed(format!("ClickHouse at {} cannot be used: {error}; see --clickhouse", settings.url))
            })?;
        }
        Ok(())
    }

    fn with_topic(&self, runtime: &Runtime, work: impl FnOnce() -> Result<(), CliError>) -> Result<(), CliError> {
        runtime.block_on(topics::create_events(&self.kafka, &self.own)).map_err(|error| {
            CliError::Failed(format!("Kafka at {} cannot be used: {error}; see --brokers", self.kafka.brokers))
        })?;
        let done = work();
        if let Err(error) = runtime.block_on(topics::delete(&self.kafka, &self.own)) {
            tracing::warn!("the topic {} is left behind: {error}", self.own);
        }
        done
    }
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    let servers = Servers::find(args, config)?;
    let runtime = runtime()?;
    let bench = Bench { servers: &servers, events: u64::from(args.events), runtime: &runtime };
    servers.with(&runtime, || bench.measure(config, report))
}

struct Bench<'a> {
    servers: &'a Servers,
    events: u64,
    runtime: &'a Runtime,
}

impl Bench<'_> {
    fn measure(&self, config: &Config, report: &Report) -> Result<(), CliError> {
        self.runtime.block_on(self.produce())?;
        let note = format!("{} client events", self.events);
        let rate = |took: Duration| self.events as f64 / took.as_secs_f64();
        let told = |what: &str, value: f64, unit: &str| report.line(what, value, unit, Some(&note));
        let read = bare::read(&self.servers.kafka, &self.servers.own, self.events).map_err(AppError::from)?;
        told("size of an event", read.bytes as f64 / self.events as f64, "bytes")?;
        told("a bare consumer of librdkafka", rate(read.took), "events/s")?;
        let through = self.through_nova(config)?;
        told("broker, nova, ClickHouse", rate(through), "events/s")?;
        let (engine, batches) = self.runtime.block_on(self.engine())?;
        told("the engine alone, the same rows in the same batches", rate(engine), "rows/s")?;
        told("batches", batches as f64, "batches")?;
        let slower = read.took.max(engine);
        told("through nova, for the slower of the two others", slower.as_secs_f64() / through.as_secs_f64(), "ratio")
    }

    async fn produce(&self) -> Result<(), CliError> {
        let producer = Producer::new(&self.servers.kafka, &self.servers.own).map_err(AppError::from)?;
        let mut sent = 0;
        while sent < self.events {
            let now_ms = Clock::System.now_ms();
            let next = (sent + PRODUCED_AT_ONCE as u64).min(self.events);
            let events = (sent..next).map(|number| ingest::event(number as usize, now_ms));
            let events = events.map(|event| (event.user_id, client::encode(&event).into())).collect();
            producer.append(events, now_ms).await.map_err(|error| CliError::Failed(format!("Kafka: {error}")))?;
            sent = next;
        }
        Ok(())
    }

    /// The time from the first record that a new node consumed until ClickHouse has every row.
    fn through_nova(&self, config: &Config) -> Result<Duration, CliError> {
        let scratch = Scratch::new(&config.data_dir)?;
        let own = self.servers.own.clone();
        let topics = Topics { prefix: own.clone(), events: own, last_part: false };
        let mut setup = Setup::new(scratch.path(), topics, Arc::new(NoSchemas));
        setup.kafka = Some(self.servers.kafka.clone());
        setup.clickhouse = Some(self.servers.clickhouse.clone());
        let node = Serving::start(&setup)?;
        let took = self.runtime.block_on(self.arrived(&node));
        node.stop()?;
        took
    }

    async fn arrived(&self, node: &Serving) -> Result<Duration, CliError> {
        let server = ClickHouse::new(&self.servers.clickhouse).map_err(AppError::from)?;
        let (mut began, mut consumed, mut moved) = (None, 0, monotonic_now());
        loop {
            let now: u64 = node.edge.watch.shared.partitions().iter().map(|status| status.consumed()).sum();
            if now > consumed {
                (consumed, moved) = (now, monotonic_now());
                began.get_or_insert(moved);
            }
            if consumed >= self.events {
                break;
            }
            self.stands(moved, &format!("{consumed} of {} events were consumed", self.events))?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let count = format!("SELECT count() FROM {}", Target::Events);
        let mut stored = 0;
        loop {
            let now = server.number(&count).await.map_err(failed)?;
            if now > stored {
                (stored, moved) = (now, monotonic_now());
            }
            if stored >= self.events {
                return Ok(began.map_or(Duration::ZERO, |began| began.elapsed()));
            }
            self.stands(moved, &format!("ClickHouse has {stored} of {} events", self.events))?;
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    fn stands(&self, moved: Instant, how: &str) -> Result<(), CliError> {
        match moved.elapsed() > STANDS_MAX {
            true => Err(CliError::Failed(format!("{how}, and no more came within {} s", STANDS_MAX.as_secs()))),
            false => Ok(()),
        }
    }

    /// Measures the time that ClickHouse takes for nova's batches in sequence, and returns the time and the number of
    /// batches.
    async fn engine(&self) -> Result<(Duration, usize), CliError> {
        let from = ClickHouse::new(&self.servers.clickhouse).map_err(AppError::from)?;
        let to = ClickHouse::new(&self.servers.engine).map_err(AppError::from)?;
        let columns = Target::Events.columns();
        let batches = from.rows(&format!("SELECT DISTINCT _nova_batch FROM {}", Target::Events)).await;
        let batches: Vec<String> = batches.map_err(failed)?.into_iter().flatten().collect();
        let mut took = Duration::ZERO;
        for batch in &batches {
            let sql = format!("SELECT {} FROM {} WHERE _nova_batch = {batch}", columns.names(), Target::Events);
            let rows = from.row_binary(&sql, 2 * BATCH_MAX_BYTES as usize).await.map_err(failed)?;
            let (began, id) = (monotonic_now(), format!("{}:{batch}", self.servers.own));
            to.insert(Target::Events, columns, rows, &id, &id).await.map_err(failed)?;
            took += began.elapsed();
        }
        let stored = to.number(&format!("SELECT count() FROM {}", Target::Events)).await.map_err(failed)?;
        match stored == self.events {
            true => Ok((took, batches.len())),
            false => Err(CliError::Failed(format!("the engine alone has {stored} of {} rows", self.events))),
        }
    }
}
