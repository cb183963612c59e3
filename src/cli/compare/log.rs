//! A log in the order of time: the time of each record's row or event, and the clicks and likes of people.
//!
//! Captures are seldom in the order of time: a snapshot reads the rows of many years at one moment, and a capture may
//! contain one topic after another. The order therefore uses `created_at` for a row that was read or created, the
//! event's own time for an event, and the time of the record for every other change.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustc_hash::FxHashMap;

use crate::cli::error::CliError;
use crate::decode::{Decoder, facts};
use crate::event::{Action, Change, ChangeBody, Decoded, Facts, Id, Op, Record, TopicPartition};
use crate::source::capture::CaptureSource;
use crate::source::{PollLimits, Polled, Source, SourceError};

/// The maximum number of records in one comparison. A record takes 8 bytes of memory.
const RECORDS_MAX: usize = 100_000_000;
/// The maximum number of clicks and likes that a comparison keeps in memory. A click or like takes 48 bytes.
const ACTIONS_MAX: usize = 10_000_000;

/// A click on a post, or a like of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    pub at_ms: i64,
    pub user: Id,
    pub post: Id,
    /// Whether the act is a like, and not a click.
    pub like: bool,
}

/// The log of the captures in the order of time.
pub(super) struct Log {
    files: Vec<PathBuf>,
    /// The time of each record's row or event in epoch milliseconds, in the order of reading.
    times_ms: Arc<[i64]>,
    /// The clicks and likes in the order of time. Several clicks of a person on one post are one entry, and so are
    /// several likes.
    pub acts: Vec<Act>,
    /// The number of records that nova cannot decode.
    pub dead: u64,
}

impl Log {
    /// Reads the captures once.
    pub(super) fn read(files: &[PathBuf], mut decoder: Decoder) -> Result<Log, CliError> {
        let mut times_ms = Vec::new();
        let mut acts = Vec::new();
        let mut before_ms = 0;
        let mut dead = 0;
        each(files, |record| {
            let decoded = decoder.decode(record);
            dead += u64::from(matches!(decoded, Decoded::Dead(_)));
            let (at_ms, act) = happened(&decoded, record, before_ms);
            before_ms = at_ms;
            if times_ms.len() >= RECORDS_MAX || acts.len() >= ACTIONS_MAX {
                return Err(CliError::Usage(format!(
                    "more than {RECORDS_MAX} records or {ACTIONS_MAX} clicks and likes: compare over fewer captures"
                )));
            }
            times_ms.push(at_ms);
            acts.extend(act);
            Ok(())
        })?;
        acts.sort_unstable_by_key(|act| (act.user, act.post, act.like, act.at_ms));
        acts.dedup_by_key(|act| (act.user, act.post, act.like));
        acts.sort_unstable();
        Ok(Log { files: files.to_vec(), times_ms: times_ms.into(), acts, dead })
    }

    /// A source that delivers the records in steps, up to each of the rising times `ends_ms`, and waits for permission
    /// before each step.
    pub(super) fn stepped(&self, ends_ms: Vec<i64>) -> Result<(Stepped, Steps), CliError> {
        let (reached, at_end) = crossbeam_channel::bounded(1);
        let (begin, may) = crossbeam_channel::bounded(1);
        let source = Stepped {
            files: self.files.clone(),
            times_ms: Arc::clone(&self.times_ms),
            open: open(&self.files).map_err(crate::app::AppError::from)?,
            index: 0,
            after_ms: i64::MIN,
            ends_ms: ends_ms.into_iter(),
            end_ms: None,
            offsets: FxHashMap::default(),
            polled: Vec::new(),
            reached,
            may,
        };
        Ok((source, Steps { at_end, begin }))
    }
}

fn open(files: &[PathBuf]) -> Result<CaptureSource, SourceError> {
    CaptureSource::new(files.to_vec())
}

fn each(files: &[PathBuf], mut take: impl FnMut(&Record) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut source = open(files).map_err(crate::app::AppError::from)?;
    let mut records = Vec::new();
    while source.poll(&PollLimits::default(), &mut records).map_err(crate::app::AppError::from)? != Polled::End {
        records.drain(..).try_for_each(|record| take(&record))?;
    }
    Ok(())
}

/// The time of a record's row or event, and the click or like in the record. A record without a time has the time of
/// the record before it.
fn happened(decoded: &Decoded, record: &Record, before_ms: i64) -> (i64, Option<Act>) {
    let of_record_ms = if record.timestamp_ms > 0 { record.timestamp_ms } else { before_ms };
    match decoded {
        Decoded::Event(event) => {
            let at_ms = event.event_time_ms;
            let like = event.action == Action::Like;
            let counts = like || event.action == Action::View;
            (at_ms, counts.then_some(Act { at_ms, user: event.user_id, post: event.post_id, like }))
        }
        Decoded::Change(Change { table, op: Op::Create | Op::Read, body: ChangeBody::Upsert(row), .. }) => {
            match facts(*table, row) {
                Some(Facts::Like { user, post, created_at_us }) => {
                    let at_ms = created_at_us.div_euclid(1_000);
                    (at_ms, Some(Act { at_ms, user, post, like: true }))
                }
                Some(
                    Facts::User { created_at_us, .. }
                    | Facts::Post { created_at_us, .. }
                    | Facts::Follow { created_at_us, .. }
                    | Facts::Comment { created_at_us, .. },
                ) => (created_at_us.div_euclid(1_000), None),
                None => (of_record_ms, None),
            }
        }
        _ => (of_record_ms, None),
    }
}

/// The control side of a [`Stepped`] source.
pub(super) struct Steps {
    /// The receiver of a message when the source has delivered all records of a step.
    at_end: Receiver<()>,
    /// The sender of the permission for the next step. The source ends when the sender is dropped.
    begin: Sender<()>,
}

impl Steps {
    /// Waits until all records of the step have gone to the writer, and returns false if the source has ended.
    pub(super) fn wait(&self) -> bool {
        self.at_end.recv().is_ok()
    }

    /// Lets the source begin the next step.
    pub(super) fn begin(&self) {
        let _ = self.begin.send(());
    }
}

/// A source of the captures' records. The source reads the captures once for each step, so no record stays in memory.
/// The ingest thread owns the source.
pub(super) struct Stepped {
    files: Vec<PathBuf>,
    times_ms: Arc<[i64]>,
    open: CaptureSource,
    /// The index of the next record in `times_ms`.
    index: usize,
    /// The time up to which earlier steps have already delivered records, in epoch milliseconds.
    after_ms: i64,
    ends_ms: std::vec::IntoIter<i64>,
    end_ms: Option<i64>,
    /// The next offset of each partition. The source gives records new offsets, because the files are not in the order
    /// of time.
    offsets: FxHashMap<TopicPartition, i64>,
    polled: Vec<Record>,
    reached: Sender<()>,
    may: Receiver<()>,
}

impl Stepped {
    /// The end of the present step. Between two steps the function waits for the permission to begin the next step. The
    /// result is `None` after the last step.
    fn step(&mut self) -> Option<i64> {
        if self.end_ms.is_none() {
            self.may.recv().ok()?;
            self.end_ms = self.ends_ms.next();
        }
        self.end_ms
    }

    fn take(&mut self, mut record: Record, end_ms: i64, out: &mut Vec<Record>) {
        let Some(at_ms) = self.times_ms.get(self.index).copied() else { return };
        self.index += 1;
        if at_ms <= self.after_ms || at_ms > end_ms {
            return;
        }
        let name = TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition };
        let next = self.offsets.entry(name).or_insert(0);
        (record.offset, record.timestamp_ms) = (*next, at_ms);
        *next += 1;
        out.push(record);
    }
}

impl Source for Stepped {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let Some(end_ms) = self.step() else { return Ok(Polled::End) };
        let before = out.len();
        let mut polled = std::mem::take(&mut self.polled);
        while out.len() == before {
            if self.open.poll(limits, &mut polled)? == Polled::End {
                (self.after_ms, self.end_ms, self.index) = (end_ms, None, 0);
                self.open = open(&self.files)?;
                // The ingest thread has already sent the records of earlier polls to the writer.
                let _ = self.reached.send(());
                return Ok(Polled::Idle);
            }
            polled.drain(..).for_each(|record| self.take(record, end_ms, out));
        }
        self.polled = polled;
        Ok(Polled::Records)
    }

    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::client;
    use crate::event::ClientEvent;

    fn event(user: u128, action: Action, event_time_ms: i64) -> ClientEvent {
        ClientEvent {
            event_id: Id::from_u128(user * 1_000 + event_time_ms as u128 % 1_000),
            user_id: Id::from_u128(user),
            post_id: Id::from_u128(9),
            author_id: None,
            action,
            event_time_ms,
            dwell_ms: 0,
            device: "web".into(),
            app_ver: "1".into(),
        }
    }

    fn line(offset: i64, event: &ClientEvent) -> String {
        let value = String::from_utf8(client::encode(event)).unwrap();
        let at_ms = 1_795_000_900_000i64;
        serde_json::json!({"topic": "events", "partition": 0, "offset": offset, "timestamp_ms": at_ms, "value": value})
            .to_string()
    }

    #[test]
    fn a_step_hands_out_what_happened_in_it_whatever_the_order_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.jsonl");
        let times = [5, 1, 9, 3, 2, 7].map(|second| 1_795_000_000_000i64 + second * 1_000);
        let lines: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(n, at_ms)| line(n as i64, &event(n as u128, Action::View, *at_ms)))
            .collect();
        std::fs::write(&file, lines.join("\n")).unwrap();
        let topics = crate::decode::Topics::default();
        let log = Log::read(&[file], Decoder::new(topics, Arc::new(crate::decode::NoSchemas))).unwrap();
        assert_eq!(log.acts.len(), 6);
        assert!(log.acts.is_sorted());
        let ends = [2, 5, 8].map(|second| 1_795_000_000_000i64 + second * 1_000);
        let (mut source, steps) = log.stepped(ends.to_vec()).unwrap();
        let mut of_steps = Vec::new();
        for _ in ends {
            let mut out = Vec::new();
            steps.begin();
            while source.poll(&PollLimits::default(), &mut out).unwrap() == Polled::Records {}
            assert!(steps.wait());
            of_steps.push(
                out.iter().map(|record| (record.offset, record.timestamp_ms % 10_000 / 1_000)).collect::<Vec<_>>(),
            );
        }
        assert_eq!(of_steps, [vec![(0, 1), (1, 2)], vec![(2, 5), (3, 3)], vec![(4, 7)]]);
        drop(steps);
        assert_eq!(source.poll(&PollLimits::default(), &mut Vec::new()).unwrap(), Polled::End);
    }
}
