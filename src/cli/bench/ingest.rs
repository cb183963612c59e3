//! From bytes to durable commit, through both threads. Records are made before the clock starts; each run has a new store.

use std::sync::Arc;
use std::time::Instant;

use crate::app::{self, Setup};
use crate::arrival::TimeOf;
use crate::cli::CliError;
use crate::config::Config;
use crate::decode::{NoSchemas, Topics, client};
use crate::event::{Action, ClientEvent, Id, Record, TopicPartition};
use crate::source::{PollLimits, Polled, Source, SourceError};

use super::node::Scratch;
use super::{Report, median};

const RUNS: usize = 3;
/// Begin of the records' time, 2026-11-20T00:00:00Z; ten of them happen in a millisecond.
const BEGIN_MS: i64 = 1_795_132_800_000;
const NOTE: &str = "the middle of 3 runs, each into a new store, every commit durable";

#[derive(clap::Args)]
pub(super) struct Args {
    /// Of each kind.
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u32).range(1..=3_000_000))]
    records: u32,
}

pub(super) fn run(args: &Args, config: &Config, report: &Report) -> Result<(), CliError> {
    let count = args.records as usize;
    for (what, make) in [
        ("client events, bytes to durable commit", events as fn(usize) -> Vec<Record>),
        ("likes in Debezium's envelope, bytes to durable commit", likes),
    ] {
        let records = make(count);
        let bytes: usize = records.iter().filter_map(|record| record.value.as_ref()).map(|value| value.len()).sum();
        let rates = (0..RUNS).map(|_| rate(config, records.clone())).collect::<Result<Vec<_>, _>>()?;
        report.line(what, median(rates), "records/s", Some(NOTE))?;
        report.line(&format!("{what}: size of a record"), bytes as f64 / count as f64, "bytes", None)?;
    }
    Ok(())
}

/// Records a second.
fn rate(config: &Config, records: Vec<Record>) -> Result<f64, CliError> {
    let scratch = Scratch::new(&config.data_dir)?;
    let mut setup = Setup::new(scratch.path(), Topics::default(), Arc::new(NoSchemas));
    setup.settings.time_of = TimeOf::File;
    let opened = app::open(&setup)?;
    let count = records.len();
    let started = Instant::now();
    let statuses = opened.start(Box::new(Listed(records.into_iter())), &setup)?.finish(|_| {})?;
    let elapsed = started.elapsed();
    let applied: u64 = statuses.iter().map(|status| status.row.outcomes[0]).sum();
    if applied != count as u64 {
        return Err(CliError::Failed(format!("{applied} of {count} records were applied; this is a defect of nova")));
    }
    Ok(count as f64 / elapsed.as_secs_f64())
}

/// Records from memory; nothing of them waits.
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

/// Spreads numbers over all ids.
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

/// Events of 20 000 users on 5 000 posts.
fn events(count: usize) -> Vec<Record> {
    let topic = Topics::default().events.into();
    let event = |n: usize| ClientEvent {
        event_id: mixed(n as u64 + 1),
        user_id: user(n),
        post_id: post(n),
        author_id: Some(mixed(n as u64 % 900 + (1 << 42))),
        action: Action::ALL[n % 2],
        event_time_ms: BEGIN_MS + n as i64 / 10,
        dwell_ms: 800,
        device: "android".into(),
        app_ver: "5.4.0".into(),
    };
    (0..count).map(|n| record(&topic, n, None, client::encode(&event(n)))).collect()
}

/// Likes as Debezium writes them, each a row of its own.
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
