//! Polls the consumer, turns its messages into records, and commits the store's offsets to the broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::clock::monotonic_now;
use crate::event::{NO_TIMESTAMP, Record, TopicPartition};
use crate::source::{Fault, PartitionCount, PollLimits, Polled, Source, SourceError};

use super::consumer::{COMMIT_EVERY, KafkaSource, Trouble};
use super::failure::failed;
use super::stops;

/// The shortest interval between two log lines for one error of the client.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

impl KafkaSource {
    /// Takes one message or one error from the client.
    fn take(&mut self, wait: Duration, out: &mut Vec<Record>) -> Result<Option<usize>, SourceError> {
        // The message borrows the consumer, but the record that is made from the message does not.
        let taken = match self.consumer.poll(wait) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(message)) => {
                let record = record(&message, &mut self.topic);
                Some(Ok((record, message.payload_len() + message.key_len())))
            }
        };
        match taken {
            None => Ok(None),
            Some(Ok((record, bytes))) => {
                out.push(record);
                Ok(Some(bytes))
            }
            Some(Err(error)) => {
                self.complain(error)?;
                Ok(None)
            }
        }
    }

    fn complain(&mut self, error: KafkaError) -> Result<(), SourceError> {
        let code = match &error {
            KafkaError::PartitionEOF(_) => return Ok(()),
            KafkaError::MessageConsumptionFatal(_) => return Err(failed(error)),
            KafkaError::MessageConsumption(code) => {
                match code {
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::LogTruncation => {
                        self.trouble = Some(Trouble::Renew);
                    }
                    code if stops::may_stop(*code) => self.trouble = self.trouble.or(Some(Trouble::Examine)),
                    _ => {}
                }
                *code
            }
            KafkaError::Global(code) => *code,
            _ => RDKafkaErrorCode::Unknown,
        };
        if let Some((_, text)) = self.consumer.client().fatal_error() {
            return Err(SourceError::Kafka(text));
        }
        let now = monotonic_now();
        self.complained.retain(|(_, at)| now - *at < COMPLAIN_EVERY);
        if !self.complained.iter().any(|(known, _)| *known == code) {
            tracing::warn!("Kafka: {error}");
            self.complained.push((code, now));
        }
        Ok(())
    }

    /// Commits the store's offsets to the broker.
    fn commit(&mut self) {
        if monotonic_now() < self.commit_at {
            return;
        }
        self.commit_at = monotonic_now() + COMMIT_EVERY;
        let list = self.consumer.context().offsets(&self.consumer.context().assigned());
        if list.count() > 0 {
            match self.consumer.commit(&list, CommitMode::Async) {
                Ok(()) => self.status.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                Err(error) => {
                    tracing::debug!("Kafka: the offsets could not be committed: {error}");
                    0
                }
            };
        }
    }

    /// Pauses newly assigned partitions that are held, and drops polled records of revoked partitions, because another
    /// member may get the dropped records.
    fn fence(&mut self, from: usize, out: &mut Vec<Record>) {
        // A newly assigned partition is not paused, so partitions that ingest holds must be paused again.
        let fresh = self.consumer.context().take_fresh();
        let stands = |name: &TopicPartition| self.paused.contains(name) || self.stops.all().contains_key(name);
        let held: Vec<_> = fresh.into_iter().filter(|name| self.idle || stands(name)).collect();
        if !held.is_empty() {
            let _ = self.consumer.pause(&KafkaSource::list(&held));
        }
        let revoked = self.consumer.context().take_revoked();
        if revoked.is_empty() {
            return;
        }
        let mut index = 0;
        out.retain(|record| {
            index += 1;
            let gone = |name: &TopicPartition| name.partition == record.partition && name.topic == record.topic;
            index <= from || !revoked.iter().any(gone)
        });
        self.paused.retain(|name| !revoked.contains(name));
        let stood = revoked.iter().filter(|name| self.stops.forget(name)).count();
        if stood > 0 {
            self.status.set_stopped(self.stops.all());
        }
    }
}

impl Source for KafkaSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        let now = monotonic_now();
        if let Err(error) = self.membership.keep(&self.consumer, now)? {
            self.complain(error)?;
        }
        if std::mem::take(&mut self.idle) {
            self.consumer.resume(&KafkaSource::list(&self.reading())).map_err(failed)?;
        }
        self.look_after(now)?;
        let (from, mut bytes, mut wait) = (out.len(), 0, limits.wait);
        while out.len() - from < limits.max_records && bytes < limits.max_bytes {
            match self.take(wait, out)? {
                Some(taken) => bytes += taken,
                None => break,
            }
            wait = Duration::ZERO;
        }
        self.fence(from, out);
        self.repair(from, out)?;
        self.commit();
        Ok(if out.len() > from { Polled::Records } else { Polled::Idle })
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        if !self.idle {
            let assigned = self.consumer.context().assigned();
            self.consumer.pause(&KafkaSource::list(&assigned)).map_err(failed)?;
            self.idle = true;
        }
        // The consumer is polled even while it is paused, because otherwise the group would reassign its partitions.
        let mut none = Vec::new();
        self.take(Duration::ZERO, &mut none)?;
        for record in none {
            let name = TopicPartition { topic: record.topic, partition: record.partition };
            self.seek(&name, record.offset);
        }
        self.fence(0, &mut Vec::new());
        self.repair(0, &mut Vec::new())?;
        self.commit();
        Ok(())
    }

    fn pause(&mut self, partition: &TopicPartition) -> Result<(), SourceError> {
        if !self.paused.contains(partition) {
            self.paused.push(partition.clone());
        }
        let list = KafkaSource::list(std::slice::from_ref(partition));
        // An error is ignored, because a partition that is no longer assigned delivers no records.
        let _ = self.consumer.pause(&list);
        Ok(())
    }

    fn resume(&mut self, partition: &TopicPartition, from: i64) -> Result<(), SourceError> {
        self.go_on(partition, from);
        Ok(())
    }

    fn take_faults(&mut self) -> Vec<Fault> {
        self.consumer.context().take_faults()
    }

    fn take_counts(&mut self) -> Vec<PartitionCount> {
        self.consumer.context().take_counts()
    }
}

/// Makes a record from a Kafka message. `topic` is the topic name of the last record. Adjacent records of one topic
/// share this name in memory.
fn record(message: &BorrowedMessage<'_>, topic: &mut Arc<str>) -> Record {
    if **topic != *message.topic() {
        *topic = message.topic().into();
    }
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let value = |bytes: Option<&[u8]>| Bytes::copy_from_slice(bytes.unwrap_or_default());
        headers.iter().map(|header| (header.key.into(), value(header.value))).collect()
    });
    Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(NO_TIMESTAMP),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
        defect: None,
        origin: None,
        lsn_delta: 0,
    }
}
