//! The durable log of a node that runs without Kafka. Records that arrive over HTTP are queued, and ingest polls the
//! queue like any other source. The records become durable in the commit that consumes them. nova answers the callers
//! after the commit, with the outcomes of their records.

mod log;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::event::{Outcome, Record, TopicPartition};

use super::bell::Bell;
use super::{PollLimits, Polled, Source, SourceError};

pub use self::log::{PruneError, prune_log, put_log};

/// The partition number of the local log. No partition of a Kafka broker or of a capture has the number −1.
pub const LOCAL_PARTITION: i32 = -1;
/// The maximum number of requests that may wait for ingest.
pub const QUEUE_MAX_REQUESTS: usize = 1_024;
/// The maximum number of bytes of records that may wait for their commit.
pub const QUEUE_MAX_BYTES: usize = 32 << 20;

/// The outcome of one record that was appended to the local log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub outcome: Outcome,
    /// Whether the event's id was known with a different payload.
    pub conflict: bool,
}

/// The local log takes no more records for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the local log is full: ingestion is behind")]
pub struct Full;

/// A record of a table that comes over HTTP or from a test, because no other source delivers the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    pub topic: Arc<str>,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Box<str>, Bytes)>,
}

impl Handed {
    fn bytes(&self) -> usize {
        self.topic.len() + [&self.key, &self.value].into_iter().flatten().map(Bytes::len).sum::<usize>()
    }
}

enum Content {
    /// The client events of one request, and the time of their arrival.
    Events(Vec<Bytes>, i64),
    Records(Vec<Handed>),
}

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Content::Events(values, _) => values.iter().map(Bytes::len).sum(),
            Content::Records(records) => records.iter().map(Handed::bytes).sum(),
        }
    }
}

/// The answer to a caller. The answer has one [`Settled`] for each record, in the order of the records.
pub type Answer = oneshot::Receiver<Vec<Settled>>;

struct Append {
    content: Content,
    bytes: usize,
    reply: oneshot::Sender<Vec<Settled>>,
}

/// The handle with which HTTP handlers append records.
#[derive(Clone)]
pub struct LocalHandle {
    queue: Sender<Append>,
    waiting_bytes: Arc<AtomicUsize>,
    /// The bell is set if the local log is polled together with a second source.
    bell: Arc<OnceLock<Arc<Bell>>>,
}

impl LocalHandle {
    /// Queues client events that arrived at `timestamp_ms`. The receiver of the result gets the answer after the
    /// commit. The receiver of the answer gets an error if the process stops before the commit.
    pub fn append(&self, values: Vec<Bytes>, timestamp_ms: i64) -> Result<Answer, Full> {
        self.queue(Content::Events(values, timestamp_ms))
    }

    /// Queues records of source tables. The records of tables are not kept in the local log, because their rows are in
    /// the store.
    pub fn hand_over(&self, records: Vec<Handed>) -> Result<Answer, Full> {
        self.queue(Content::Records(records))
    }

    fn queue(&self, content: Content) -> Result<Answer, Full> {
        let bytes = content.bytes();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_MAX_BYTES {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Append { content, bytes, reply }).map_err(|_| {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            Full
        })?;
        self.bell.get().into_iter().for_each(|bell| bell.ring());
        Ok(answer)
    }
}

/// A request whose records are in the pipeline. A request that is dropped before all its records are settled has
/// failed.
struct Request {
    bytes: usize,
    waiting_bytes: Arc<AtomicUsize>,
    open: Mutex<Open>,
}

struct Open {
    settled: Vec<Option<Settled>>,
    left: usize,
    reply: Option<oneshot::Sender<Vec<Settled>>>,
}

impl Request {
    fn settle(&self, place: usize, settled: Settled) {
        let mut open = self.open.lock();
        if let Some(known @ None) = open.settled.get_mut(place) {
            *known = Some(settled);
            open.left -= 1;
        }
        if open.left == 0
            && let Some(reply) = open.reply.take()
        {
            let all = std::mem::take(&mut open.settled);
            // Sending the answer fails if the caller no longer waits, and then nobody needs the answer.
            let _ = reply.send(all.into_iter().flatten().collect());
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Adjacent records of one request that belong to one topic.
struct Run {
    request: Arc<Request>,
    /// The offset of the first record in the run of adjacent records.
    offset: i64,
    /// The index of the first record of the run in its request.
    place: usize,
}

/// The runs of adjacent records, by their topic and by the offset after their last record.
type Pending = BTreeMap<(Arc<str>, i64), Run>;

/// The handle with which the writer reports the outcomes of records.
#[derive(Clone)]
pub struct LocalAcks {
    /// The topic of client events, whose records are kept in the local log.
    events: Arc<str>,
    pending: Arc<Mutex<Pending>>,
}

impl LocalAcks {
    /// Whether records of the topic are kept in the local log.
    pub fn logs(&self, topic: &str) -> bool {
        *self.events == *topic
    }

    /// Answers the requests of which every record is committed. The offsets that the writer reports must rise.
    pub fn committed(&self, topic: &Arc<str>, outcomes: &[(i64, Settled)]) {
        let mut pending = self.pending.lock();
        for (offset, settled) in outcomes {
            let next = (Arc::clone(topic), offset.saturating_add(1));
            let Some((end, run)) = pending.range(next.clone()..).next().filter(|((of, _), _)| of == topic) else {
                continue;
            };
            let (last, within) = (*end == next, usize::try_from(offset - run.offset).unwrap_or(usize::MAX));
            run.request.settle(run.place.saturating_add(within), *settled);
            if last {
                pending.remove(&next);
            }
        }
    }
}

/// A function that returns the next offset of a topic's local partition.
pub type NextOffset = Box<dyn Fn(&str) -> i64 + Send>;

/// The source of the local log.
pub struct LocalSource {
    events: Arc<str>,
    /// The next offset of each topic.
    next: BTreeMap<Arc<str>, i64>,
    /// A function that returns the first offset of a topic from which the source has had no record yet.
    first: NextOffset,
    queue: Receiver<Append>,
    acks: LocalAcks,
    waiting_bytes: Arc<AtomicUsize>,
    bell: Arc<OnceLock<Arc<Bell>>>,
}

impl LocalSource {
    /// Makes a local log whose partitions begin at the store's next offsets.
    pub fn new(events: &str, first: NextOffset) -> (LocalSource, LocalHandle, LocalAcks) {
        let (sender, queue) = bounded(QUEUE_MAX_REQUESTS);
        let (events, waiting_bytes) = (Arc::<str>::from(events), Arc::<AtomicUsize>::default());
        let acks = LocalAcks { events: Arc::clone(&events), pending: Arc::default() };
        let bell = Arc::<OnceLock<_>>::default();
        let handle = LocalHandle { queue: sender, waiting_bytes: Arc::clone(&waiting_bytes), bell: Arc::clone(&bell) };
        let (next, told) = (BTreeMap::new(), acks.clone());
        (LocalSource { events, next, first, queue, acks, waiting_bytes, bell }, handle, told)
    }

    fn take(&mut self, append: Append, out: &mut Vec<Record>) -> usize {
        let Append { content, bytes, reply } = append;
        let records = match content {
            Content::Events(values, timestamp_ms) => {
                let event = |value| Handed {
                    topic: Arc::clone(&self.events),
                    timestamp_ms,
                    key: None,
                    value: Some(value),
                    headers: Vec::new(),
                };
                values.into_iter().map(event).collect()
            }
            Content::Records(records) => records,
        };
        let (settled, left) = (vec![None; records.len()], records.len());
        let open = Mutex::new(Open { settled, left, reply: Some(reply) });
        let request = Arc::new(Request { bytes, waiting_bytes: Arc::clone(&self.waiting_bytes), open });
        let mut pending = self.acks.pending.lock();
        let mut run: Option<(Arc<str>, Run)> = None;
        for (place, Handed { topic, timestamp_ms, key, value, headers }) in records.into_iter().enumerate() {
            let next = self.next.entry(Arc::clone(&topic)).or_insert_with(|| (self.first)(&topic));
            let offset = *next;
            *next += 1;
            if run.as_ref().is_none_or(|(of, _)| *of != topic) {
                let begun = (Arc::clone(&topic), Run { request: Arc::clone(&request), offset, place });
                if let Some((of, ended)) = run.replace(begun) {
                    let end = ended.offset + (place - ended.place) as i64;
                    pending.insert((of, end), ended);
                }
            }
            out.push(Record {
                topic,
                partition: LOCAL_PARTITION,
                offset,
                timestamp_ms,
                key,
                value,
                headers,
                defect: None,
                origin: None,
                lsn_delta: 0,
            });
        }
        if let Some((of, last)) = run {
            let end = last.offset + (left - last.place) as i64;
            pending.insert((of, end), last);
        }
        bytes
    }
}

impl Source for LocalSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let first =
            if limits.wait.is_zero() { self.queue.try_recv().ok() } else { self.queue.recv_timeout(limits.wait).ok() };
        let Some(first) = first else { return Ok(Polled::Idle) };
        let before = out.len();
        let mut bytes = self.take(first, out);
        while out.len() - before < limits.max_records && bytes < limits.max_bytes {
            let Ok(next) = self.queue.try_recv() else { break };
            bytes += self.take(next, out);
        }
        Ok(Polled::Records)
    }

    fn ring_at(&mut self, bell: &Arc<Bell>) -> bool {
        self.bell.set(Arc::clone(bell)).is_ok()
    }

    // Records that were polled before a pause cannot be delivered again, so their callers get an error.
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        // A person may also resume a partition of another source, which the local log ignores.
        if partition.partition != LOCAL_PARTITION {
            return Ok(());
        }
        self.next.insert(Arc::clone(&partition.topic), from);
        self.acks.pending.lock().retain(|(topic, _), _| *topic != partition.topic);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const APPLIED: Settled = Settled { outcome: Outcome::Applied, conflict: false };

    #[test]
    fn a_request_is_answered_when_its_last_record_is_committed() {
        let (mut source, handle, acks) = LocalSource::new("events", Box::new(|_| 7));
        let mut first = handle.append(vec!["a".into(), "b".into()], 1).unwrap();
        let mut second = handle.append(vec!["c".into()], 2).unwrap();
        let mut out = Vec::new();
        assert_eq!(source.poll(&PollLimits::default(), &mut out).unwrap(), Polled::Records);
        assert_eq!(out.iter().map(|record| record.offset).collect::<Vec<_>>(), [7, 8, 9]);
        let events = Arc::from("events");
        acks.committed(&events, &[(7, APPLIED)]);
        assert!(first.try_recv().is_err());
        acks.committed(&events, &[(8, Settled { outcome: Outcome::Duplicate, conflict: true }), (9, APPLIED)]);
        assert_eq!(first.try_recv().unwrap()[1].outcome, Outcome::Duplicate);
        assert_eq!(second.try_recv().unwrap(), [APPLIED]);
    }

    #[test]
    fn the_queue_is_bounded_in_requests_and_bytes() {
        let (_source, handle, _acks) = LocalSource::new("events", Box::new(|_| 0));
        let big = Bytes::from(vec![0; QUEUE_MAX_BYTES]);
        let waits = handle.append(vec![big], 1).unwrap();
        assert_eq!(handle.append(vec!["x".into()], 1).unwrap_err(), Full);
        drop(waits);
        let (_source, handle, _acks) = LocalSource::new("events", Box::new(|_| 0));
        let waits: Vec<_> = (0..QUEUE_MAX_REQUESTS).map(|_| handle.append(vec!["x".into()], 1).unwrap()).collect();
        assert_eq!(handle.append(vec!["x".into()], 1).unwrap_err(), Full);
        drop(waits);
    }

    proptest! {
        /// The topics of the records and the order in which partitions commit are random. Each record gets the next
        /// offset of its topic, and each request is answered with the outcomes of its own records in their order.
        #[test]
        fn each_request_is_answered_with_its_own_outcomes(
            requests in proptest::collection::vec(proptest::collection::vec((0..3u8, 0..6usize), 1..12), 1..12),
            last_first: bool,
        ) {
            let (mut source, handle, acks) = LocalSource::new("events", Box::new(|topic| topic.len() as i64));
            let settled = |outcome: usize| Settled { outcome: Outcome::ALL[outcome], conflict: false };
            let mut answers = Vec::new();
            let mut told = BTreeMap::<Arc<str>, Vec<(i64, Settled)>>::new();
            for records in &requests {
                let record = |(topic, outcome): &(u8, usize)| Handed {
                    topic: format!("cdc.{}", "x".repeat(*topic as usize)).into(),
                    timestamp_ms: *outcome as i64,
                    key: None,
                    value: Some("v".into()),
                    headers: Vec::new(),
                };
                answers.push(handle.hand_over(records.iter().map(record).collect()).unwrap());
            }
            let mut out = Vec::new();
            while source.poll(&PollLimits { wait: std::time::Duration::ZERO, ..PollLimits::default() }, &mut out).unwrap()
                == Polled::Records {}
            for record in &out {
                let of = told.entry(Arc::clone(&record.topic)).or_default();
                prop_assert_eq!(record.offset, (record.topic.len() + of.len()) as i64);
                of.push((record.offset, settled(record.timestamp_ms as usize)));
            }
            let mut topics: Vec<_> = told.into_iter().collect();
            if last_first {
                topics.reverse();
            }
            topics.iter().for_each(|(topic, outcomes)| acks.committed(topic, outcomes));
            for (records, mut answer) in requests.iter().zip(answers) {
                let wanted: Vec<_> = records.iter().map(|(_, outcome)| settled(*outcome)).collect();
                prop_assert_eq!(answer.try_recv().unwrap(), wanted);
            }
            prop_assert_eq!(source.waiting_bytes.load(Ordering::Relaxed), 0);
        }
    }
}
