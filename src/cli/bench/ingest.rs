//! Measures the rate of ingestion from the bytes of records to the durable commit, through the ingest thread and the
//! writer's thread. The bench makes the records before the clock starts, and each run has a new store.

use std::sync::Arc;

use crate::app::{self, Setup};
use crate::arrival::TimeOf;
use crate::cli::error::CliError;
use crate::cli::scratch::Scratch;
use crate::clock::monotonic_now;
use crate::config::Config;
use crate::decode::{NoSchemas, Topics, client};
use crate::event::{Action, ClientEvent, Id, Record, Table, TopicPartition};
use crate::source::postgres::link;
use crate::source::postgres::numbering::Numbering;
use crate::source::postgres::server::Event;
use crate::source::{PollLimits, Polled, Source, SourceError};

use super::report::Report;
use super::statistics::median;

const RUNS: usize = 3;
/// The time of the first record, 2026-11-20T00:00:00Z. The bench makes ten records for each millisecond.
const BEGIN_MS: i64 = 1_795_132_800_000;
const NOTE: &str = "the middle of 3 runs, each into a new store, every commit durable";

#[derive(clap::Args)]
pub(super) struct Args {
    /// The number of records of each kind. The measured time includes the checkpoint at the end, which takes a third of
    /// the time with 300 000 records.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=3_000_000))]
    records: u32,
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    let count = args.records as usize;
    for (what, make) in [
        ("client events, bytes to durable commit", events as fn(usize) -> Vec<Record>),
        ("likes in Debezium's envelope, bytes to durable commit", likes),
    ] {
        let records = make(count);
        let bytes = records.iter().filter_map(|record| record.value.as_ref()).map(|value| value.len()).sum();
        measured(report, what, (count, bytes), || rate(config, Listed(records.clone().into_iter()), count))?;
    }
    let stream = replicated(count);
    let bytes =
        stream.iter().map(|event| if let Event::Change { message, .. } = event { message.len() } else { 0 }).sum();
    measured(report, "likes in a recorded replication stream, bytes to durable commit", (count, bytes), || {
        let followed = Table::ALL.map(|_| Some(NAMESPACE.to_owned()));
        let numbering = Numbering::new(link::partition("bench"), 0, followed);
        rate(config, Replicated(stream.clone().into_iter(), numbering), count)
    })
}

fn measured(
    report: &Report,
    what: &str,
    (count, bytes): (usize, usize),
    run: impl Fn() -> Result<f64, CliError>,
) -> Result<(), CliError> {
    let rates = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    report.line(what, median(rates), "records/s", Some(NOTE))?;
    report.line(&format!("{what}: size of a record"), bytes as f64 / count as f64, "bytes", None)?;
    Ok(())
}

/// The rate, in records a second, at which a new store takes the `count` records of a source.
fn rate(config: &Config, source: impl Source + 'static, count: usize) -> Result<f64, CliError> {
    let scratch = Scratch::new(&config.data_dir)?;
    let mut setup = Setup::new(scratch.path(), Topics::default(), Arc::new(NoSchemas));
    setup.settings.time_of = TimeOf::File;
    let opened = app::open(&setup)?;
    let started = monotonic_now();
    let statuses = opened.start(Box::new(source), &setup)?.finish(|_| {})?;
    let elapsed = started.elapsed();
    let applied: u64 = statuses.iter().map(|status| status.row.outcomes[0]).sum();
    if applied != count as u64 {
        return Err(CliError::Failed(format!("{applied} of {count} records were applied; this is a defect of nova")));
    }
    Ok(count as f64 / elapsed.as_secs_f64())
}

/// A source of records in memory, which never waits.
struct Listed(std::vec::IntoIter<Record>);

impl Source for Listed {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        out.extend(self.0.by_ref().take(limits.max_records));
        Ok(if out.len() == before { Polled::End } else { Polled::Records })
    }

    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A source of a replication stream in memory, which numbers the messages when nova polls them.
struct Replicated(std::vec::IntoIter<Event>, Numbering);

impl Source for Replicated {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        while out.len() - before < limits.max_records {
            let Some(event) = self.0.next() else { break };
            self.1.take(event, out).map_err(|failure| SourceError::Postgres(failure.to_string()))?;
        }
        Ok(if out.len() == before { Polled::End } else { Polled::Records })
    }

    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Spreads consecutive numbers over all ids.
pub(super) fn mixed(value: u64) -> Id {
    Id::from_u128(u128::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn user(n: usize) -> Id {
    mixed(n as u64 % 20_000 + (1 << 40))
}

fn post(n: usize) -> Id {
    mixed((n as u64 * 7) % 5_000 + (1 << 41))
}

fn record(topic: &Arc<str>, n: usize, key: Option<String>, value: Vec<u8>) -> Record {
    Record {
        topic: Arc::clone(topic),
        partition: 0,
        offset: n as i64,
        timestamp_ms: BEGIN_MS + n as i64 / 10,
        key: key.map(Into::into),
        value: Some(value.into()),
        headers: Vec::new(),
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}

/// Event number `n` of 20 000 users on 5 000 posts.
pub(super) fn event(n: usize, event_time_ms: i64) -> ClientEvent {
    ClientEvent {
        event_id: mixed(n as u64 + 1),
        user_id: user(n),
        post_id: post(n),
        author_id: Some(mixed(n as u64 % 900 + (1 << 42))),
        action: Action::ALL[n % 2],
        event_time_ms,
        dwell_ms: 800,
        device: "android".into(),
        app_ver: "5.4.0".into(),
    }
}

fn events(count: usize) -> Vec<Record> {
    let topic = Topics::default().events.into();
    let encoded = |n: usize| client::encode(&event(n, BEGIN_MS + n as i64 / 10));
    (0..count).map(|n| record(&topic, n, None, encoded(n))).collect()
}

/// Makes likes in Debezium's format. Each like is a row of its own.
fn likes(count: usize) -> Vec<Record> {
    let topic = "cdc.likes".into();
    let like = |n: usize| {
        let (id, user, post, lsn) = (mixed(n as u64 + (1 << 43)), user(n), post(n), 26_947_152 + n * 56);
        let us = (BEGIN_MS + n as i64 / 10) * 1_000;
        let value = format!(
            r#"{{"before":null,"after":{{"id":"{id}","user_id":"{user}","post_id":"{post}","created_at":{us}}},"source":{{"version":"3.6.0.Final","connector":"postgresql","name":"env","ts_ms":{0},"snapshot":"false","db":"nova","sequence":"[\"{lsn}\",\"{lsn}\"]","ts_us":{us},"ts_ns":{us}000,"schema":"public","table":"likes","txId":761,"lsn":{lsn},"xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"c","ts_ms":{0},"ts_us":{us},"ts_ns":{us}000}}"#,
            us / 1_000
        );
        record(&topic, n, Some(format!(r#"{{"id":"{id}"}}"#)), value.into_bytes())
    };
    (0..count).map(like).collect()
}

const NAMESPACE: &str = "public";

/// Makes likes as messages of `pgoutput`, in transactions of a hundred. Each like is a row of its own.
fn replicated(count: usize) -> Vec<Event> {
    const OF_ONE_TRANSACTION: usize = 100;
    /// The columns of a like with the OIDs of their types, uuid and timestamp.
    const COLUMNS: [(&str, u32); 4] = [("id", 2_950), ("user_id", 2_950), ("post_id", 2_950), ("created_at", 1_114)];
    let begin = [&b"R"[..], &7u32.to_be_bytes(), NAMESPACE.as_bytes(), b"\0likes\0d", &4u16.to_be_bytes()];
    let mut described = begin.concat();
    for (name, type_oid) in COLUMNS {
        described.extend([b"\0", name.as_bytes(), b"\0", &type_oid.to_be_bytes(), &(-1i32).to_be_bytes()].concat());
    }
    let mut events = vec![Event::Change { lsn: 0, message: described.into() }];
    for n in 0..count {
        let (commit_us, lsn) = ((BEGIN_MS + n as i64 / 10) * 1_000, 26_947_152 + n as u64 * 56);
        if n % OF_ONE_TRANSACTION == 0 {
            events.push(Event::Begin { commit_lsn: lsn, commit_us });
        }
        let at = format!("2026-11-20 09:{:02}:{:02}.{:06}", n / 60 % 60, n % 60, n % 1_000_000);
        let values = [mixed(n as u64 + (1 << 43)).to_string(), user(n).to_string(), post(n).to_string(), at];
        let mut message = [&b"I"[..], &7u32.to_be_bytes(), b"N", &4u16.to_be_bytes()].concat();
        for value in values {
            message.extend([b"t", &(value.len() as u32).to_be_bytes()[..], value.as_bytes()].concat());
        }
        events.push(Event::Change { lsn, message: message.into() });
        if n % OF_ONE_TRANSACTION == OF_ONE_TRANSACTION - 1 || n + 1 == count {
            events.push(Event::Commit { lsn: lsn + 40, end_lsn: lsn + 48 });
        }
    }
    events
}
