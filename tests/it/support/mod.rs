//! Functions that all tests share.

pub mod authority;
pub mod clickhouse;
pub mod events;
pub mod http_text;
pub mod native;
pub mod program;
pub mod rows;

use std::path::PathBuf;
use std::sync::Arc;

use nova::app::{self, Opened, Setup};
use nova::clock::Clock;
use nova::decode::{NoSchemas, Schemas, Topics};
use nova::event::{Record, Stage, Table, TopicPartition};
use nova::pipeline::progress::PartitionStatus;
use nova::source::capture::{CaptureSource, schemas_path};
use nova::source::{PollLimits, Polled, Source, SourceError};
use nova_storage::codec::DeadLetter;
use nova_storage::schema::DEAD;
use nova_storage::testing::Recorder;
use nova_storage::{Options, Store};

/// Sends a signal to a running process, without the program `kill`, because some machines lack it.
pub fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Returns a variable of the environment, which names a server or says how long a test runs.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the tests that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns a number from the environment, for runs that are longer than usual. Panics if the value is not a number.
pub fn asked(name: &str) -> Option<u64> {
    environment(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cdc").join(name)
}

/// Reads all records of a capture.
pub fn capture(name: &str) -> Vec<Record> {
    let mut source = CaptureSource::new(vec![fixture(name)]).unwrap();
    let mut records = Vec::new();
    while source.poll(&PollLimits::default(), &mut records).unwrap() != Polled::End {}
    records
}

/// Returns the setup for a capture. Topics are named by their last part, the schemas come from the file beside the
/// capture, and the clock stands still.
pub fn setup(name: &str) -> Setup {
    let schemas = schemas_path(&fixture(name));
    let schemas: Arc<dyn Schemas> = match schemas.exists() {
        true => Arc::new(app::file_schemas(&schemas).unwrap()),
        false => Arc::new(NoSchemas),
    };
    let mut setup = Setup::new("unused", Topics { last_part: true, ..Topics::default() }, schemas);
    setup.clock = Clock::manual(1_795_500_000_000);
    setup
}

pub fn store_over(backend: Recorder) -> Store {
    Store::open_backend(backend, &Options::default()).unwrap()
}

/// A source that delivers records from memory. The source ignores a pause, because it delivers only what is in its
/// list.
pub struct Listed {
    records: std::vec::IntoIter<Record>,
    /// The number of records that one poll delivers.
    step: usize,
    /// The clock that each poll sets to the time of the latest polled record.
    clock: Option<Clock>,
}

impl Listed {
    pub fn new(records: Vec<Record>, step: usize) -> Listed {
        Listed { records: records.into_iter(), step, clock: None }
    }

    /// Makes a source that advances the clock to the time of each record, so that nova reads records at their own time.
    pub fn live(records: Vec<Record>, step: usize, clock: &Clock) -> Listed {
        Listed { clock: Some(clock.clone()), ..Listed::new(records, step) }
    }
}

impl Source for Listed {
    fn poll(&mut self, _limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let before = out.len();
        out.extend(self.records.by_ref().take(self.step));
        if let (Some(clock), Some(last)) = (&self.clock, out.last()) {
            clock.set(last.timestamp_ms);
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

/// Runs all records through both threads of the batch loop, with the given store.
pub fn run(setup: &Setup, store: Store, records: Vec<Record>) -> Vec<PartitionStatus> {
    let opened = app::open_store(setup, store).unwrap();
    let running = opened.start(Box::new(Listed::new(records, 700)), setup).unwrap();
    running.finish(|_| {}).unwrap()
}

/// Returns the rows of every table, as `nova dump` prints them.
pub fn dump(opened: &Opened) -> Vec<Vec<String>> {
    Table::ALL
        .iter()
        .map(|table| {
            let mut lines = Vec::new();
            opened.writer.dump(*table, |row| lines.push(nova::cli::rows::json(*table, &row))).unwrap();
            lines
        })
        .collect()
}

/// Returns the state as a checkpoint would write it.
pub fn state_bytes(opened: &Opened) -> Vec<u8> {
    let mut out = Vec::new();
    opened.state.read().save(&mut |_, _, chunk| out.extend_from_slice(chunk));
    out
}

/// Adds records to the dead letters, as if their faults had been repaired in the meantime.
pub fn bury(store: &Store, letters: &[Record]) {
    let write = store.write().unwrap();
    for (letter, id) in letters.iter().zip(0u64..) {
        let letter = DeadLetter {
            topic: letter.topic.to_string(),
            partition: letter.partition,
            offset: letter.offset,
            timestamp_ms: letter.timestamp_ms,
            stage: Stage::Decode.name().to_owned(),
            reason: "malformed-json".to_owned(),
            key: letter.key.as_ref().map(|key| key.to_vec()),
            value: letter.value.as_ref().map(|value| value.to_vec()),
            key_bytes: letter.key.as_ref().map_or(0, |key| key.len() as u64),
            value_bytes: letter.value.as_ref().map_or(0, |value| value.len() as u64),
            ..DeadLetter::default()
        };
        write.put(DEAD, id, &letter.encode()).unwrap();
    }
    write.commit().unwrap();
}
