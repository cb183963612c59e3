//! A node that serves: where its records come from, and what the edge needs.

use std::sync::Arc;
use std::time::Duration;

use nova_storage::schema::EDGE;
use nova_storage::{ReadError, Store};

use crate::discover::dismissals::{self, Dismissals};
use crate::event::TopicPartition;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::overrides::{self, Overrides};
use crate::feed::trending::publish::Board;
use crate::http::{Auth, Edge, Log, Observed, Streams};
use crate::jobs::serving::Served;
use crate::jobs::{self, Runner};
use crate::source::kafka::{KafkaSource, KafkaStatus, Producer};
use crate::source::local::{LOCAL_PARTITION, LocalSource};
use crate::source::{Progress as _, Source};

use super::setup::{Setup, table_topics};
use super::{AppError, Opened, Running};

/// The dismissals of a store.
pub fn load_dismissals(store: &Store) -> Result<Dismissals, ReadError> {
    let mut names = Vec::new();
    store.read()?.scan(EDGE, (dismissals::KIND, &[][..]).., |(kind, name), _| {
        names.push(name.to_vec());
        kind == dismissals::KIND
    })?;
    Ok(Dismissals::load(names.iter().map(Vec::as_slice)))
}

/// A node that serves: the batch loop over the local log, and what the edge needs.
pub struct Node {
    pub running: Running,
    pub edge: Arc<Edge>,
}

/// What operators say about trending, as a store holds it.
pub fn load_overrides(store: &Store) -> Result<Overrides, ReadError> {
    let mut entries = Vec::new();
    store.read()?.scan(EDGE, (overrides::KIND, &[][..]).., |(kind, name), value| {
        if kind == overrides::KIND {
            entries.push((name.to_vec(), value.to_vec()));
        }
        kind == overrides::KIND
    })?;
    Ok(Overrides::load(entries.iter().map(|(name, value)| (&name[..], &value[..]))))
}

/// Starts the batch loop over Kafka, or over the local log of client events, and the jobs.
pub fn start_node(setup: &Setup, mut opened: Opened, recovery: Duration) -> Result<Node, AppError> {
    let auth = Auth::open(&setup.data_dir)?;
    let observed = Arc::new(Observed::default());
    observed.recovery_seconds.set(recovery.as_secs_f64());
    let feeds = Arc::new(Snapshots::new(setup.relaxed_spacing));
    let (told, seen, clock) = (Arc::clone(&observed), Arc::clone(&feeds), setup.clock.clone());
    opened.writer.set_on_commit(Box::new(move |facts| {
        told.committed(facts);
        if let Some(arrival_ms) = facts.oldest_arrival_ms {
            let now_ms = clock.now_ms();
            seen.served.visible(now_ms, now_ms - arrival_ms);
        }
    }));
    let Feed { source, log, kafka } = source(setup, &mut opened)?;
    if setup.clickhouse.is_none() {
        tracing::info!("clickhouse.url is not set: rows are not sent anywhere");
    }
    let dismissals = load_dismissals(&opened.store)?;
    let overrides = load_overrides(&opened.store)?;
    let (state, shared, warehouse) = (Arc::clone(&opened.state), Arc::clone(&opened.shared), opened.warehouse.clone());
    let clock = setup.clock.clone();
    let trending = Arc::new(Board::new(Arc::clone(&state), overrides, clock.now_ms()));
    let served = Served {
        state: Arc::clone(&state),
        trending: Arc::clone(&trending),
        feeds: Arc::clone(&feeds),
        rising: Arc::default(),
        shown: Arc::default(),
    };
    let (rising, shown) = (Arc::clone(&served.rising), Arc::clone(&served.shown));
    let running = opened.start(source, setup)?;
    let jobs = Runner::new(jobs::serving::jobs(&served), clock.clone(), clock.now_ms() as u64);
    let jobs = jobs.start().map_err(|source| AppError::Spawn { name: "jobs", source })?;
    let (streams, cursor_key, writer) = (Streams::default(), auth.secret("cursor"), running.inbox.clone());
    let edge = Edge {
        clock,
        state,
        shared,
        log,
        auth,
        observed,
        feeds,
        trending,
        rising,
        shown,
        streams,
        jobs,
        cursor_key,
        dismissals,
        writer,
        warehouse,
        kafka,
    };
    Ok(Node { running, edge: Arc::new(edge) })
}

/// Where records come from, and where the edge puts client events.
struct Feed {
    source: Box<dyn Source>,
    log: Log,
    kafka: Option<Arc<KafkaStatus>>,
}

fn source(setup: &Setup, opened: &mut Opened) -> Result<Feed, AppError> {
    let events = setup.topics.events.as_str();
    let Some(settings) = &setup.kafka else {
        let next = opened.shared.next_offset(&TopicPartition::new(events, LOCAL_PARTITION)).unwrap_or(0);
        let (source, log, acks) = LocalSource::new(events, next);
        opened.writer.set_local(acks);
        return Ok(Feed { source: Box::new(source), log: Log::Local(log), kafka: None });
    };
    let mut settings = settings.clone();
    // A copy of the store elsewhere has the same name, and the group lets only one of them in.
    settings.instance_id.get_or_insert_with(|| format!("nova-{:016x}", opened.writer.store_id()));
    let status = Arc::<KafkaStatus>::default();
    let mut topics = table_topics(&setup.topics);
    topics.push(events.to_owned());
    let source = KafkaSource::new(&settings, &topics, Arc::clone(&opened.shared) as _, Arc::clone(&status))?;
    let log = Log::Kafka(Producer::new(&settings, events)?);
    Ok(Feed { source: Box::new(source), log, kafka: Some(status) })
}
