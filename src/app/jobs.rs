//! The jobs of a node, and their access to the store and to servers outside nova.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::Sender;
use nova_storage::Store;
use parking_lot::Mutex;

#[cfg(feature = "redis-cache")]
use crate::cache::Redis;
use crate::decode::{SchemaLookup, Schemas, schema_id};
use crate::discover::dismissals::Dismissals;
use crate::feed::trending::Window;
use crate::feed::trending::warmed::Counted;
use crate::jobs::analytics::{Analytics, Asked, Drift, Found, Warmup};
use crate::jobs::connector::ConnectorWatch;
#[cfg(feature = "redis-cache")]
use crate::jobs::copies::Copies;
use crate::jobs::copies::{Publisher, SharedCache};
use crate::jobs::figures::{self, Change, Durable, Figures};
use crate::jobs::rebuilt::ReadToEnd;
use crate::jobs::retry::{Counts, DeadLetterRetry, Letter, Letters, Retried};
use crate::jobs::serving::{self, Served};
use crate::jobs::{CacheRefreshJob, JobError};
use crate::pipeline::progress::Shared;
use crate::pipeline::writer::{Command, CommandError, EdgeEntry, Message, Replayed};
use crate::pipeline::{dead, edge};
use crate::source::connect::ConnectorStatus;
use crate::source::kafka::KafkaStatus;
use crate::source::postgres::status::PostgresStatus;
use crate::warehouse::Target;
use crate::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use crate::warehouse::status::Status as WarehouseStatus;
use crate::warehouse::views::{Buckets, Unread, Views};

use super::commanded::{command, unreadable};
use super::error::AppError;
use super::logs::{Ends, FirstSnapshot, Logs, Rebuild};
use super::setup::Setup;

/// How long a node that ends waits until the writer's queue has space for a message.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// The timeout of a job's query to ClickHouse is shorter than the time that a refresh may take. A ClickHouse server
/// that does not answer a query within the timeout counts as out of reach, so no job waits longer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(8);

/// The parts of the node that jobs use.
pub(super) struct Parts<'a> {
    pub setup: &'a Setup,
    pub served: Served,
    pub dismissals: &'a Arc<Dismissals>,
    pub cursor_key: [u8; 32],
    pub store: &'a Arc<Store>,
    pub writer: &'a Sender<Message>,
    pub shared: &'a Arc<Shared>,
    /// The status of Kafka, if changes come from Kafka.
    pub kafka: Option<&'a Arc<KafkaStatus>>,
    /// The connector's status, if nova can ask Kafka Connect about the connector.
    pub connector: Option<&'a Arc<ConnectorStatus>>,
    /// The status of the connection to PostgreSQL, if changes come from PostgreSQL directly.
    pub postgres: Option<&'a Arc<PostgresStatus>>,
    pub warehouse: Option<&'a Arc<WarehouseStatus>>,
    /// Whether nothing was ever committed to the store.
    pub fresh: bool,
}

/// The jobs of a node, and the results of jobs that the edge shows.
pub(super) struct Jobs {
    pub all: Vec<Box<dyn CacheRefreshJob>>,
    pub shared_cache: Option<Arc<SharedCache>>,
    /// The differences that the job `Drift` has found, if rows go to ClickHouse.
    pub drift: Option<Arc<Mutex<Found>>>,
    pub retries: Arc<Counts>,
}

impl Jobs {
    pub(super) fn new(parts: Parts<'_>) -> Result<Jobs, AppError> {
        let Parts { setup, served, store, writer, .. } = parts;
        let mut all = serving::jobs(&served, &setup.feed);
        let shared_cache = shared_cache(setup)?;
        if let Some(shared) = &shared_cache {
            let (served, dismissals, shared) = (served.clone(), Arc::clone(parts.dismissals), Arc::clone(shared));
            all.push(Box::new(Arc::new(Publisher { served, dismissals, cursor_key: parts.cursor_key, shared })));
        }
        if let Some(status) = parts.connector {
            all.push(Box::new(ConnectorWatch { status: Arc::clone(status) }));
        }
        let mut drift = None;
        if let (Some(settings), Some(status)) = (&setup.clickhouse, parts.warehouse) {
            let settings = ClickHouseSettings { timeout: QUERY_TIMEOUT.min(settings.timeout), ..settings.clone() };
            let (clickhouse, status) = (ClickHouse::new(&settings)?, Arc::clone(status));
            let weights = setup.state.ranking.weights;
            let analytics = Arc::new(Counting { views: Views { clickhouse, status }, weights });
            if parts.fresh {
                served.trending.begin_warm(setup.clock.now_ms());
                let (trending, analytics) = (Arc::clone(&served.trending), Arc::clone(&analytics));
                all.push(Box::new(Warmup { trending, analytics }));
            }
            let found = Arc::<Mutex<Found>>::default();
            all.push(Box::new(Drift { served: served.clone(), analytics, found: Arc::clone(&found) }));
            drift = Some(found);
        }
        let retries = Arc::<Counts>::default();
        let (schemas, writer) = (Arc::clone(&setup.schemas), writer.clone());
        let letters = Arc::new(Queue { store: Arc::clone(store), schemas, writer: writer.clone() });
        all.push(Box::new(DeadLetterRetry::new(letters, Arc::clone(&retries))));
        let ends = match (parts.postgres, parts.kafka) {
            (Some(postgres), _) => Some(Ends::Slot(Arc::clone(postgres))),
            (None, Some(kafka)) => Some(Ends::Topics(Arc::clone(kafka), setup.topics.clone())),
            (None, None) => None,
        };
        if let Some(ends) = ends {
            let (store, shared) = (Arc::clone(store), Arc::clone(parts.shared));
            let logs = Arc::new(Logs { store, shared, ends, writer: writer.clone() });
            all.push(Box::new(ReadToEnd::new(Arc::new(Rebuild(Arc::clone(&logs))))));
            all.push(Box::new(ReadToEnd::new(Arc::new(FirstSnapshot { logs, said: AtomicBool::new(false) }))));
        }
        let entries = edge::entries(store, figures::KIND)?.into_iter();
        all.push(Box::new(Figures::load(served, Arc::new(EdgeTable(writer)), entries)));
        Ok(Jobs { all, shared_cache, drift, retries })
    }
}

/// The cache from which readers outside nova also read, if a Redis server is configured and the feature `redis-cache`
/// is built in.
#[cfg(feature = "redis-cache")]
fn shared_cache(setup: &Setup) -> Result<Option<Arc<SharedCache>>, AppError> {
    /// The limit of the cache in this process that answers while the Redis server does not. The cache in this process
    /// is small, because nobody reads from it.
    const STAND_IN_MAX_BYTES: usize = 8 << 20;
    let Some(url) = &setup.redis_url else { return Ok(None) };
    let cache = Arc::new(Redis::new(url, STAND_IN_MAX_BYTES, setup.clock.clone())?);
    Ok(Some(Arc::new(SharedCache { cache, copies: Copies::default() })))
}

#[cfg(not(feature = "redis-cache"))]
fn shared_cache(_setup: &Setup) -> Result<Option<Arc<SharedCache>>, AppError> {
    Ok(None)
}

/// Reads the materialised views of ClickHouse for jobs.
struct Counting {
    views: Views,
    weights: [i64; 5],
}

impl From<Unread> for JobError {
    fn from(unread: Unread) -> JobError {
        match unread {
            Unread::Away(why) => JobError::Away(why),
            Unread::Failed(why) => JobError::Failed(why),
        }
    }
}

impl Analytics for Counting {
    fn events(&self, hours: std::ops::Range<i64>) -> Asked<[i64; 5]> {
        let asked = self.views.events(hours);
        Box::pin(async move { asked.await.map_err(JobError::from) })
    }

    fn posts(&self, window: Window, minutes: std::ops::Range<i64>, limit: usize) -> Asked<Vec<Counted>> {
        // ClickHouse keeps minutes for 35 days, but a query over the minutes of seven days would read too many rows.
        let buckets = if window == Window::Week { Buckets::Hours } else { Buckets::Minutes };
        let asked = self.views.posts(buckets, minutes, self.weights, limit);
        Box::pin(async move { asked.await.map_err(JobError::from) })
    }

    fn waiting(&self) -> i64 {
        self.views.status.targets()[Target::Events.index()].waiting_rows as i64
    }
}

/// The queue of the dead letters in the store.
struct Queue {
    store: Arc<Store>,
    schemas: Arc<dyn Schemas>,
    writer: Sender<Message>,
}

impl Letters for Queue {
    fn page(&self, after: Option<u64>, limit: usize) -> Result<Vec<Letter>, JobError> {
        let mut page = Vec::new();
        let read = self.store.read().map_err(unreadable)?;
        loop {
            let (before, last) = (page.len(), page.last().map(|letter: &Letter| letter.id));
            let scanned = dead::each(&read, last.or(after), limit - before, |id, letter| {
                let whole = letter.value.as_ref().map_or(0, Vec::len) as u64 == letter.value_bytes;
                let (attempts, died_at_ms) = (letter.attempts, letter.died_at_ms);
                page.push(Letter { id, reason: letter.reason, attempts, died_at_ms, whole });
            });
            scanned.map_err(unreadable)?;
            if page.len() == before {
                return Ok(page);
            }
        }
    }

    fn retry(&self, ids: Vec<u64>) -> Result<Retried, JobError> {
        let (mut done, mut ready) = (Retried::default(), Vec::new());
        let read = self.store.read().map_err(unreadable)?;
        for id in ids {
            let Some(letter) = dead::get(&read, id).map_err(unreadable)? else { continue };
            let schemas = [&letter.key, &letter.value].map(|bytes| bytes.as_deref().and_then(schema_id));
            // The job asks the registry for the schema of a letter on the job's own thread. When a dead letter is
            // replayed, the writer finds its schema in memory and does not wait for the registry.
            let away = |schema| matches!(self.schemas.schema(schema), SchemaLookup::Unavailable(_));
            match schemas.into_iter().flatten().any(away) {
                true => done.waiting += 1,
                false => ready.push(id),
            }
        }
        drop(read);
        if ready.is_empty() {
            return Ok(done);
        }
        let results = command(&self.writer, |reply| Command::ReplayDead {
            ids: ready,
            actor: "the job dlq_retry".to_owned(),
            force: None,
            reply,
        })?;
        for (_, result) in results {
            match result {
                Ok(Replayed::Gone(_)) => done.healed += 1,
                Ok(Replayed::StillDead) => done.kept += 1,
                Err(CommandError::NoSuchLetter(_)) => {}
                Err(_) => done.waiting += 1,
            }
        }
        Ok(done)
    }
}

/// The table of the store that holds the edge's entries.
struct EdgeTable(Sender<Message>);

fn edge_command(changes: Vec<Change>, reply: crate::pipeline::writer::Reply<()>) -> Command {
    let entry = |(name, value)| EdgeEntry { kind: figures::KIND, name, value };
    Command::Edge { entries: changes.into_iter().map(entry).collect(), audit: None, reply }
}

impl Durable for EdgeTable {
    fn put(&self, changes: Vec<Change>) -> Result<(), JobError> {
        command(&self.0, |reply| edge_command(changes, reply))
    }

    fn leave(&self, changes: Vec<Change>) {
        let message = Message::Command(edge_command(changes, Box::new(|()| {})));
        if self.0.send_timeout(message, LEAVE_WAIT).is_err() {
            tracing::warn!("the figures of the last minute are lost: the writer takes nothing more");
        }
    }
}
