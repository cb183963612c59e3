//! Captures that a test hands over while a node runs, in addition to the records of the local log. Each record keeps
//! its partition and its offset, so redeliveries, gaps and several partitions behave as with Kafka.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use rustc_hash::FxHashSet;

use crate::clock::monotonic_now;
use crate::event::{Record, TopicPartition};

use super::bell::Bell;
use super::capture::parse_line;
use super::local::LOCAL_PARTITION;
use super::{Cookie, Fault, PartitionCount, PollLimits, Polled, Source, SourceError};

/// The maximum number of hand-overs that may wait.
const QUEUE_MAX: usize = 16;
/// The maximum number of records that are kept in order to deliver them again after a held partition continues. If
/// there are more records than this limit, the oldest records are dropped.
const HISTORY_MAX_RECORDS: usize = 100_000;

/// Why the handed-over records were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ingestion takes nothing more for now")]
pub struct Behind;

struct Work {
    records: VecDeque<Record>,
    done: Sender<()>,
}

/// The handle with which a test hands records over.
#[derive(Clone)]
pub struct CaptureHandle {
    queue: Sender<Work>,
    bell: Arc<Bell>,
}

impl CaptureHandle {
    /// Hands records over, and waits until all of the records have gone to the writer. A call without records waits for
    /// all earlier hand-overs. The call blocks for at most the time `most`.
    pub fn hand_over(&self, records: Vec<Record>, most: Duration) -> Result<(), Behind> {
        let deadline = monotonic_now() + most;
        let (done, taken) = bounded(1);
        let sent = self.queue.send_timeout(Work { records: records.into(), done }, most);
        sent.map_err(|_: SendTimeoutError<Work>| Behind)?;
        self.bell.ring();
        taken.recv_deadline(deadline).map_err(|_| Behind)
    }

    /// Wakes the source from its wait when the node is stopped.
    pub fn wake(&self) {
        self.bell.ring();
    }
}

/// Parses the lines of a capture. The `Err` of the result names the problem and the line, counted from 1.
pub fn parse(text: &[u8]) -> Result<Vec<Record>, String> {
    let (mut records, mut topics) = (Vec::new(), FxHashSet::default());
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed = parse_line(line, &mut topics);
        records.push(parsed.map_err(|detail| format!("line {}: {detail}", number + 1))?);
    }
    Ok(records)
}

/// A source that delivers handed-over records in addition to the records of `inner`.
pub struct Handed {
    inner: Box<dyn Source>,
    queue: Receiver<Work>,
    bell: Arc<Bell>,
    waiting: VecDeque<Work>,
    /// The hand-overs whose records were all polled. The records of a hand-over have gone to the writer when the next
    /// poll begins.
    polled: Vec<Sender<()>>,
    /// The delivered records, oldest first.
    history: VecDeque<Record>,
}

impl Handed {
    /// Makes a source that delivers hand-overs in addition to the records of `inner`.
    pub fn over(mut inner: Box<dyn Source>) -> (Handed, CaptureHandle) {
        let (sender, queue) = bounded(QUEUE_MAX);
        let bell = Arc::<Bell>::default();
        inner.ring_at(&bell);
        let handle = CaptureHandle { queue: sender, bell: Arc::clone(&bell) };
        let (waiting, polled, history) = (VecDeque::new(), Vec::new(), VecDeque::new());
        (Handed { inner, queue, bell, waiting, polled, history }, handle)
    }

    fn look(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Looked, SourceError> {
        let half = PollLimits { max_records: limits.max_records / 2, wait: Duration::ZERO, ..*limits };
        let finished = self.inner.poll(&half, out)? == Polled::End;
        let at_an_end = self.take(half.max_records, out);
        Ok(match finished {
            true => Looked::Finished,
            false if at_an_end => Looked::AtAnEnd,
            false => Looked::Nothing,
        })
    }

    fn deliver(&mut self, record: Record, out: &mut Vec<Record>) {
        if self.history.len() >= HISTORY_MAX_RECORDS {
            self.history.pop_front();
        }
        self.history.push_back(record.clone());
        out.push(record);
    }

    /// Appends handed-over records to `out`. Returns whether a hand-over ended with the appended records.
    fn take(&mut self, most: usize, out: &mut Vec<Record>) -> bool {
        self.waiting.extend(self.queue.try_iter());
        let mut left = most;
        while let Some(mut work) = self.waiting.pop_front() {
            while left > 0
                && let Some(record) = work.records.pop_front()
            {
                self.deliver(record, out);
                left -= 1;
            }
            if !work.records.is_empty() {
                self.waiting.push_front(work);
                break;
            }
            self.polled.push(work.done);
        }
        !self.polled.is_empty()
    }
}

/// What a poll has found in addition to records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Nothing,
    /// A hand-over has ended, and the next poll reports its end.
    AtAnEnd,
    /// The source `inner` has finished.
    Finished,
}

impl Looked {
    fn polled(self, records: bool) -> Polled {
        match self {
            _ if records => Polled::Records,
            Looked::Finished => Polled::End,
            Looked::Nothing | Looked::AtAnEnd => Polled::Idle,
        }
    }
}

impl Source for Handed {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        for done in self.polled.drain(..) {
            // Sending the notice fails if the caller no longer waits, and then nobody needs the notice.
            let _ = done.send(());
        }
        let before = out.len();
        let looked = self.look(limits, out)?;
        if looked != Looked::Nothing || out.len() > before || limits.wait.is_zero() {
            return Ok(looked.polled(out.len() > before));
        }
        self.bell.wait(limits.wait);
        let looked = self.look(limits, out)?;
        Ok(looked.polled(out.len() > before))
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        if partition.partition == LOCAL_PARTITION { self.inner.pause(partition) } else { Ok(()) }
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        if partition.partition == LOCAL_PARTITION {
            return self.inner.resume(partition, from);
        }
        let wanted = |record: &&Record| {
            record.topic == partition.topic && record.partition == partition.partition && record.offset >= from
        };
        let mut again: Vec<_> = self.history.iter().filter(wanted).cloned().collect();
        again.sort_by_key(|record| record.offset);
        again.dedup_by_key(|record| record.offset);
        let (done, _) = bounded(1);
        self.waiting.push_front(Work { records: again.into(), done });
        self.bell.ring();
        Ok(())
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.inner.idle()
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        self.inner.take_faults()
    }

    fn take_counts(&mut self) -> Vec<PartitionCount> {
        self.inner.take_counts()
    }

    fn take_cookies(&mut self) -> Vec<Cookie> {
        self.inner.take_cookies()
    }

    fn renumber(&mut self, partition: &TopicPartition, next: i64) -> Result<bool, SourceError> {
        self.inner.renumber(partition, next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::local::LocalSource;
    use super::*;

    const LINES: &[u8] = b"{\"topic\":\"cdc.posts\",\"partition\":1,\"offset\":5,\"value\":\"a\"}\n\n\
        {\"topic\":\"cdc.posts\",\"partition\":1,\"offset\":6,\"value\":\"b\"}\n";

    fn offsets(out: &[Record]) -> Vec<i64> {
        out.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn a_hand_over_ends_when_the_poll_after_its_last_record_begins() {
        let (local, log, _acks) = LocalSource::new("events", Box::new(|_| 0));
        let (mut source, handle) = Handed::over(Box::new(local));
        let records = parse(LINES).unwrap();
        let waits = std::thread::spawn(move || handle.hand_over(records, Duration::from_secs(60)));
        let (limits, mut out) = (PollLimits { wait: Duration::from_secs(60), ..PollLimits::default() }, Vec::new());
        while source.poll(&limits, &mut out).unwrap() != Polled::Records {}
        assert_eq!(offsets(&out), [5, 6]);
        assert!(!waits.is_finished());
        let answer = log.append(vec!["event".into()], 1).unwrap();
        while source.poll(&limits, &mut out).unwrap() != Polled::Records {}
        waits.join().unwrap().unwrap();
        assert_eq!(offsets(&out), [5, 6, 0]);
        drop(answer);
        // A partition that a person resumes is delivered again from the given offset.
        source.resume(&TopicPartition::new("cdc.posts", 1), 6).unwrap();
        out.clear();
        while source.poll(&limits, &mut out).unwrap() != Polled::Records {}
        assert_eq!(offsets(&out), [6]);
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let lines = [LINES, b"{\"topic\":\"\",\"partition\":0,\"offset\":0}"].concat();
        assert_eq!(parse(&lines).unwrap_err(), "line 4: topic: is empty");
    }
}
