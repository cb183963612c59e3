//! A serving node: the source of its records, and the parts that the edge needs.

use std::sync::Arc;
use std::time::Duration;

use nova_storage::schema::DEAD;
use nova_storage::{ReadError, Store};

use crate::cache::Embedded;
use crate::discover::dismissals::{self, Dismissals};
use crate::event::TopicPartition;
use crate::feed::snapshot::Snapshots;
use crate::feed::trending::overrides::{self, Overrides};
use crate::feed::trending::publish::Board;
use crate::http::auth::revocation;
use crate::http::{
    Auth, Control, Durable, Edge, Gate, Intake, Log, Observed, PortWatch, Serving, Streams, Watch, idempotency,
};
use crate::jobs::Runner;
use crate::jobs::serving::Served;
use crate::otlp::Tracer;
use crate::pipeline::edge;
use crate::pipeline::writer::RecoveryReport;
use crate::source::both::Both;
use crate::source::connect::ConnectorStatus;
use crate::source::handed::Handed;
use crate::source::kafka::{KafkaSource, KafkaStatus, Owner, Producer};
use crate::source::local::{LOCAL_PARTITION, LocalSource};
use crate::source::postgres::link;
use crate::source::postgres::session::Session;
use crate::source::{Progress as _, Source};
use crate::warehouse::Target;
use crate::warehouse::status::{Status as WarehouseStatus, TargetStatus};

use super::error::AppError;
use super::jobs::{Jobs, Parts};
use super::opened::Opened;
use super::reads::StoreReads;
use super::running::Running;
use super::setup::{Setup, table_topics};

/// Loads the users' dismissals from a store.
pub fn load_dismissals(store: &Store) -> Result<Dismissals, ReadError> {
    let entries = edge::entries(store, dismissals::KIND)?;
    Ok(Dismissals::load(entries.iter().map(|(name, _)| name.as_slice())))
}

/// Loads the operators' overrides of trending from a store.
pub fn load_overrides(store: &Store) -> Result<Overrides, ReadError> {
    let entries = edge::entries(store, overrides::KIND)?;
    Ok(Overrides::load(entries.iter().map(|(name, value)| (&name[..], &value[..]))))
}

/// A serving node: the batch loop, and the parts that the edge needs.
pub struct Node {
    pub running: Running,
    pub edge: Arc<Edge>,
}

/// Starts the jobs and the batch loop. The records of the loop come from Kafka, or from the local log of client events.
pub fn start_node(setup: &Setup, mut opened: Opened, recovery: Duration) -> Result<Node, AppError> {
    let auth = match &setup.testing {
        Some(testing) => Auth::of_key(&testing.key, testing.anyone)?,
        None => Auth::configured(&setup.data_dir, &setup.edge.keys)?,
    };
    auth.revocations.load(edge::entries(&opened.store, revocation::KIND)?.into_iter());
    let gate = Gate::new(setup.edge.clone());
    let reads = Box::new(StoreReads::new(setup, &opened));
    let answers = load_answers(&opened.store)?;
    let observed = recovered(&opened, recovery)?;
    let feeds = Arc::new(Snapshots::new(setup.feed.relaxed_spacing));
    tell_commits(&mut opened, setup, &gate, &observed, &feeds);
    let Feed { source, log, kafka, session } = source(setup, &mut opened)?;
    let testing = setup.testing.as_ref().map(|testing| Arc::clone(&testing.control));
    let (source, captures) = match testing {
        Some(_) => {
            let (source, captures) = Handed::over(source);
            (Box::new(source) as Box<dyn Source>, Some(captures))
        }
        None => (source, None),
    };
    let postgres = session.as_ref().map(|session| Arc::clone(&session.status));
    if setup.clickhouse.is_none() && setup.testing.is_none() {
        tracing::info!("clickhouse.url is not set: rows are not sent anywhere");
    }
    let dismissals = Arc::new(load_dismissals(&opened.store)?);
    let (state, shared, warehouse) = (Arc::clone(&opened.state), Arc::clone(&opened.shared), opened.warehouse.clone());
    let clock = setup.clock.clone();
    let served = served(&opened, Arc::clone(&feeds), clock.now_ms())?;
    let Served { trending, rising, shown, .. } = served.clone();
    let (fresh, cursor_key) = (opened.recovery == RecoveryReport::default(), auth.secret("cursor"));
    let mut running = opened.start(source, setup)?;
    running.ends_with(session);
    let connector = setup.connect.clone().map(|settings| Arc::new(ConnectorStatus::new(settings)));
    let Jobs { all, shared_cache, drift, retries } = Jobs::new(Parts {
        setup,
        served,
        dismissals: &dismissals,
        cursor_key,
        store: &running.store,
        writer: &running.inbox,
        shared: &running.shared,
        kafka: kafka.as_ref(),
        connector: connector.as_ref(),
        postgres: postgres.as_ref(),
        warehouse: warehouse.as_ref(),
        fresh,
    })?;
    let jobs = Runner::new(all, clock.clone(), clock.now_ms() as u64);
    let by_hand = setup.testing.as_ref().is_some_and(|testing| testing.by_hand);
    let jobs = if by_hand { jobs.by_hand() } else { jobs }.start();
    let jobs = jobs.map_err(|source| AppError::Spawn { name: "jobs", source })?;
    let durable = Durable::new(running.inbox.clone());
    let serving = Serving {
        clock: clock.clone(),
        state,
        feeds,
        trending,
        rising,
        shown,
        dismissals,
        streams: Streams::default(),
        cursor_key,
        shared_cache,
        runner: Arc::clone(&jobs.runner),
        durable: durable.clone(),
        testing: testing.clone(),
    };
    let tracer = tracer(setup, warehouse.as_ref())?;
    let seen = (Arc::clone(&shared), Arc::clone(&observed));
    let revocations = Arc::clone(&auth.revocations);
    let mut control = Control::new(clock.clone(), reads, seen, revocations, postgres.clone(), durable.clone());
    control.config.clone_from(&setup.shown);
    let intake = Intake {
        clock: clock.clone(),
        log,
        captures,
        prefix: setup.topics.prefix.clone(),
        state: Arc::clone(&serving.state),
        shared: Arc::clone(&shared),
        observed: Arc::clone(&observed),
        answers,
        tracer: tracer.clone(),
        durable,
    };
    let cache = |limit_bytes| Arc::new(PortWatch::new(Embedded::new(limit_bytes, clock.clone())));
    let port = setup.port.map(|port| cache(port.cache_bytes));
    let schemas = Arc::clone(&setup.schemas);
    let watch = Watch {
        clock: clock.clone(),
        shared,
        observed,
        jobs,
        retries,
        schemas,
        kafka,
        connector,
        postgres,
        warehouse,
        drift,
        testing: testing.clone(),
        port,
    };
    let (serving, intake, control) = (Arc::new(serving), Arc::new(intake), Arc::new(control));
    let edge =
        Edge { clock, auth, gate, serving, intake, control, watch, console: Default::default(), tracer, testing };
    Ok(Node { running, edge: Arc::new(edge) })
}

/// Starts the tracer that sends traces to a collector, if a collector is configured.
fn tracer(setup: &Setup, warehouse: Option<&Arc<WarehouseStatus>>) -> Result<Option<Arc<Tracer>>, AppError> {
    let Some(settings) = &setup.otlp else { return Ok(None) };
    let status = warehouse.cloned();
    let delivered = move || {
        let TargetStatus { next_batch, first_waiting_batch, .. } =
            status.as_ref()?.targets()[Target::Events.index()].clone();
        Some((next_batch, first_waiting_batch.unwrap_or(next_batch)))
    };
    let clock = setup.clock.clone();
    let now_ns = move || u64::try_from(clock.day_ms()).unwrap_or_default().saturating_mul(1_000_000);
    let tracer = Tracer::start(settings, Box::new(delivered), now_ns);
    tracer.map(|tracer| Some(Arc::new(tracer))).map_err(|source| AppError::Spawn { name: "otlp", source })
}

/// Loads the stored answers to requests with an idempotency key from a store.
fn load_answers(store: &Store) -> Result<idempotency::Answers, ReadError> {
    let answers = idempotency::Answers::default();
    answers.load(edge::entries(store, idempotency::KIND)?.into_iter());
    Ok(answers)
}

/// Notes for the metrics how long the start of the node took and what it found in the store.
fn recovered(opened: &Opened, took: Duration) -> Result<Arc<Observed>, ReadError> {
    let observed = Arc::new(Observed::default());
    let dead_letters = opened.store.read()?.len(DEAD)?;
    observed.recovered(took, dead_letters, opened.recovery.dedup_keys);
    Ok(observed)
}

/// Makes the lists and figures that readers get and that jobs keep fresh.
fn served(opened: &Opened, feeds: Arc<Snapshots>, now_ms: i64) -> Result<Served, ReadError> {
    let overrides = load_overrides(&opened.store)?;
    Ok(Served {
        state: Arc::clone(&opened.state),
        trending: Arc::new(Board::new(Arc::clone(&opened.state), overrides, now_ms)),
        feeds,
        rising: Arc::default(),
        shown: Arc::default(),
    })
}

/// Makes the writer report each commit to limits, metrics and the figures of the day. The writer reports its commits on
/// its own thread.
fn tell_commits(opened: &mut Opened, setup: &Setup, gate: &Gate, observed: &Arc<Observed>, feeds: &Arc<Snapshots>) {
    let clock = setup.clock.clone();
    let (health, observed, feeds) = (Arc::clone(&gate.limiter.health), Arc::clone(observed), Arc::clone(feeds));
    opened.writer.set_on_commit(Box::new(move |facts| {
        health.committed(facts.commit_ms);
        observed.committed(facts);
        if let Some(arrival_ms) = facts.oldest_arrival_ms {
            let now_ms = clock.now_ms();
            feeds.served.visible(now_ms, now_ms - arrival_ms);
        }
    }));
}

/// The source of records, and the log that takes client events from the edge.
struct Feed {
    source: Box<dyn Source>,
    log: Log,
    kafka: Option<Arc<KafkaStatus>>,
    session: Option<Session>,
}

/// Makes the node's source of records. If changes come from PostgreSQL directly, the node has two sources: one for the
/// changes, and one for client events.
fn source(setup: &Setup, opened: &mut Opened) -> Result<Feed, AppError> {
    let feed = events(setup, opened)?;
    let Some(settings) = &setup.postgres else { return Ok(feed) };
    let partition = link::partition(&settings.follow.slot);
    let started = Session::start(settings.clone(), Arc::clone(&opened.shared) as _);
    let (session, changes) = started.map_err(|source| AppError::Spawn { name: "postgres", source })?;
    let source = Box::new(Both::new(Box::new(changes), partition, feed.source));
    Ok(Feed { source, session: Some(session), ..feed })
}

/// Makes the node's source of client events. If changes come from Kafka, the source of client events also has the
/// changes.
fn events(setup: &Setup, opened: &mut Opened) -> Result<Feed, AppError> {
    let events = setup.topics.events.as_str();
    let Some(settings) = &setup.kafka else {
        let shared = Arc::clone(&opened.shared);
        let first = move |topic: &str| shared.next_offset(&TopicPartition::new(topic, LOCAL_PARTITION)).unwrap_or(0);
        let (source, log, acks) = LocalSource::new(events, Box::new(first));
        opened.writer.set_local(acks);
        return Ok(Feed { source: Box::new(source), log: Log::Local(log), kafka: None, session: None });
    };
    let mut settings = settings.clone();
    settings.owner = Owner(opened.writer.store_id());
    // A copy of the store on a second machine has the instance id of the original in Kafka. A Kafka group has at most
    // one member for each instance id, so only one node of a copied store can read.
    settings.instance_id.get_or_insert_with(|| format!("nova-{}", settings.owner));
    if setup.replica {
        settings.group_id = format!("{}-replica-{}", settings.group_id, settings.owner);
        tracing::info!(group = settings.group_id, "a replica: rows and shared lists are left to the primary");
    }
    let status = Arc::<KafkaStatus>::default();
    let mut topics = if setup.postgres.is_some() { Vec::new() } else { table_topics(&setup.topics) };
    topics.push(events.to_owned());
    let source = KafkaSource::new(&settings, &topics, Arc::clone(&opened.shared) as _, Arc::clone(&status))?;
    let log = Log::Kafka(Producer::new(&settings, events)?);
    Ok(Feed { source: Box::new(source), log, kafka: Some(status), session: None })
}
