//! The durable log of a node without Kafka: what HTTP takes is queued here, polled by ingest like any other source, and
//! becomes durable in the very commit that consumes it. Callers are answered after that commit, with its outcomes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::LOCAL_LOG;
use nova_storage::{ReadError, ReadTxn, WriteError, WriteTxn};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::event::{Outcome, Record, TopicPartition};

use super::both::Bell;
use super::{PollLimits, Polled, Source, SourceError};

/// The partition of the local log: one that no broker and no capture has.
pub const LOCAL_PARTITION: i32 = -1;
/// Requests that may wait for ingest.
pub const QUEUE_MAX_REQUESTS: usize = 1_024;
/// Bytes that may wait for their commit.
pub const QUEUE_MAX_BYTES: usize = 32 << 20;
const LOG_VERSION: u8 = 1;

/// What became of one appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub outcome: Outcome,
    /// The id was known with another payload.
    pub conflict: bool,
}

/// The log takes no more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the local log is full: ingestion is behind")]
pub struct Full;

struct Append {
    values: Vec<Bytes>,
    timestamp_ms: i64,
    reply: oneshot::Sender<Vec<Settled>>,
}

/// Where HTTP appends.
#[derive(Clone)]
pub struct LocalHandle {
    queue: Sender<Append>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Set where the source is polled beside another one.
    bell: Arc<OnceLock<Arc<Bell>>>,
}

impl LocalHandle {
    /// Queues records that arrived at `timestamp_ms`. The receiver is answered after the commit, one [`Settled`] per
    /// record in their order; it fails when the process stops before.
    pub fn append(&self, values: Vec<Bytes>, timestamp_ms: i64) -> Result<oneshot::Receiver<Vec<Settled>>, Full> {
        let bytes: usize = values.iter().map(Bytes::len).sum();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_MAX_BYTES {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Append { values, timestamp_ms, reply }).map_err(|_| {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            Full
        })?;
        self.bell.get().into_iter().for_each(|bell| bell.ring());
        Ok(answer)
    }
}

/// A request whose records are on their way.
struct Pending {
    settled: Vec<Settled>,
    records: usize,
    bytes: usize,
    reply: oneshot::Sender<Vec<Settled>>,
}

/// Where the writer tells outcomes.
#[derive(Clone)]
pub struct LocalAcks {
    /// By the offset after the request's last record.
    pending: Arc<Mutex<BTreeMap<i64, Pending>>>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl LocalAcks {
    /// Answers the requests whose records are committed; offsets rise.
    pub fn committed(&self, outcomes: &[(i64, Settled)]) {
        let mut pending = self.pending.lock();
        for (offset, settled) in outcomes {
            let Some(entry) = pending.range_mut(offset + 1..).next() else { continue };
            entry.1.settled.push(*settled);
            if entry.1.settled.len() == entry.1.records {
                let end = *entry.0;
                if let Some(done) = pending.remove(&end) {
                    self.waiting_bytes.fetch_sub(done.bytes, Ordering::Relaxed);
                    // The caller may have gone.
                    let _ = done.reply.send(done.settled);
                }
            }
        }
    }
}

/// See the module.
pub struct LocalSource {
    topic: Arc<str>,
    next: i64,
    queue: Receiver<Append>,
    acks: LocalAcks,
    bell: Arc<OnceLock<Arc<Bell>>>,
}

impl LocalSource {
    /// Goes on at the store's next offset of the local partition.
    pub fn new(topic: &str, next: i64) -> (LocalSource, LocalHandle, LocalAcks) {
        let (sender, queue) = bounded(QUEUE_MAX_REQUESTS);
        let waiting_bytes = Arc::<AtomicUsize>::default();
        let acks = LocalAcks { pending: Arc::default(), waiting_bytes: Arc::clone(&waiting_bytes) };
        let bell = Arc::<OnceLock<_>>::default();
        let source = LocalSource { topic: topic.into(), next, queue, acks: acks.clone(), bell: Arc::clone(&bell) };
        (source, LocalHandle { queue: sender, waiting_bytes, bell }, acks)
    }

    fn take(&mut self, append: Append, out: &mut Vec<Record>) -> usize {
        let Append { values, timestamp_ms, reply } = append;
        let (records, bytes) = (values.len(), values.iter().map(Bytes::len).sum());
        for value in values {
            out.push(Record {
                topic: Arc::clone(&self.topic),
                partition: LOCAL_PARTITION,
                offset: self.next,
                timestamp_ms,
                key: None,
                value: Some(value),
                headers: Vec::new(),
                defect: None,
                origin: None,
                lsn_delta: 0,
            });
            self.next += 1;
        }
        let pending = Pending { settled: Vec::with_capacity(records), records, bytes, reply };
        self.acks.pending.lock().insert(self.next, pending);
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

    // What was polled before a pause cannot be delivered again: its callers are told that it failed.
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        // A person may move partitions of other sources, too.
        if partition.partition != LOCAL_PARTITION {
            return Ok(());
        }
        self.next = from;
        let lost = std::mem::take(&mut *self.acks.pending.lock());
        let bytes = lost.values().map(|pending| pending.bytes).sum();
        self.acks.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// Writes the records of one commit into the log.
pub fn put_log<'a>(write: &WriteTxn, records: impl Iterator<Item = &'a Record>) -> Result<(), WriteError> {
    let (mut out, mut first) = (vec![LOG_VERSION], None);
    for record in records {
        first.get_or_insert((Arc::clone(&record.topic), record.offset));
        put_record(&mut out, record.timestamp_ms, record.value.as_deref().unwrap_or_default());
    }
    match first {
        Some((topic, offset)) => write.put(LOCAL_LOG, (&topic, offset), &out),
        None => Ok(()),
    }
}

fn put_record(out: &mut Vec<u8>, arrival_ms: i64, value: &[u8]) {
    out.put_zigzag(arrival_ms);
    out.put_bytes(value);
}

/// The (arrival, value) pairs of one entry of the log.
pub fn read_log(bytes: &[u8]) -> Result<Vec<(i64, &[u8])>, CodecError> {
    let (mut reader, _) = Reader::versioned("local log", bytes, LOG_VERSION)?;
    let mut out = Vec::new();
    while !reader.is_empty() {
        out.push((reader.zigzag()?, reader.bytes()?));
    }
    Ok(out)
}

/// Removes entries whose records all arrived before the time to keep, or after `latest_ms` and before one of those: the
/// clock was ahead then.
pub fn prune_log(read: &ReadTxn, write: &WriteTxn, keep_after_ms: i64, latest_ms: i64) -> Result<(), PruneError> {
    let (mut old, mut ahead, mut failed) = (Vec::new(), Vec::new(), None);
    read.scan(LOCAL_LOG, ("", i64::MIN).., |(topic, offset), bytes| match read_log(bytes) {
        Ok(records) if records.iter().all(|(arrival_ms, _)| *arrival_ms < keep_after_ms) => {
            old.append(&mut ahead);
            old.push((topic.to_owned(), offset));
            true
        }
        Ok(records) if records.iter().all(|(arrival_ms, _)| *arrival_ms > latest_ms) => {
            ahead.push((topic.to_owned(), offset));
            true
        }
        // Arrivals rise: what follows is younger.
        Ok(_) => false,
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    if let Some(error) = failed {
        return Err(ReadError::from(error).into());
    }
    for (topic, offset) in old {
        write.remove(LOCAL_LOG, (topic.as_str(), offset))?;
    }
    Ok(())
}

/// Why the log could not be pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_bytes;
    use proptest::prelude::*;

    const APPLIED: Settled = Settled { outcome: Outcome::Applied, conflict: false };

    #[test]
    fn a_request_is_answered_when_its_last_record_is_committed() {
        let (mut source, handle, acks) = LocalSource::new("events", 7);
        let mut first = handle.append(vec!["a".into(), "b".into()], 1).unwrap();
        let mut second = handle.append(vec!["c".into()], 2).unwrap();
        let mut out = Vec::new();
        assert_eq!(source.poll(&PollLimits::default(), &mut out).unwrap(), Polled::Records);
        assert_eq!(out.iter().map(|record| record.offset).collect::<Vec<_>>(), [7, 8, 9]);
        acks.committed(&[(7, APPLIED)]);
        assert!(first.try_recv().is_err());
        acks.committed(&[(8, Settled { outcome: Outcome::Duplicate, conflict: true }), (9, APPLIED)]);
        assert_eq!(first.try_recv().unwrap()[1].outcome, Outcome::Duplicate);
        assert_eq!(second.try_recv().unwrap(), [APPLIED]);
    }

    #[test]
    fn the_queue_is_bounded_in_requests_and_bytes() {
        let (_source, handle, _acks) = LocalSource::new("events", 0);
        let big = Bytes::from(vec![0; QUEUE_MAX_BYTES]);
        let waits = handle.append(vec![big], 1).unwrap();
        assert_eq!(handle.append(vec!["x".into()], 1).unwrap_err(), Full);
        drop(waits);
        let (_source, handle, _acks) = LocalSource::new("events", 0);
        let waits: Vec<_> = (0..QUEUE_MAX_REQUESTS).map(|_| handle.append(vec!["x".into()], 1).unwrap()).collect();
        assert_eq!(handle.append(vec!["x".into()], 1).unwrap_err(), Full);
        drop(waits);
    }

    proptest! {
        #[test]
        fn a_mutated_log_is_an_error_or_records_with_these_bytes(records: Vec<(i64, Vec<u8>)>, seed: u64) {
            let encode = |records: &Vec<(i64, Vec<u8>)>| {
                let mut out = vec![LOG_VERSION];
                records.iter().for_each(|(arrival_ms, value)| put_record(&mut out, *arrival_ms, value));
                out
            };
            let decode = |bytes: &[u8]| {
                Ok(read_log(bytes)?.into_iter().map(|(arrival_ms, value)| (arrival_ms, value.to_vec())).collect())
            };
            check_bytes(&encode(&records), seed, decode, encode);
        }
    }
}
