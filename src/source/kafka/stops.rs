//! Stops partitions whose records the consumer cannot read.
//!
//! librdkafka's errors name no partition, and after some errors librdkafka skips the batch that it could not read. nova
//! examines each partition with a separate client after an error that names no partition. A partition whose next record
//! cannot be read stops at that record and reports the reason. nova tries the record again until it can be read, or
//! until a person decides where to continue.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use crate::clock::monotonic_now;
use crate::event::TopicPartition;

use super::settings::KafkaSettings;

/// How long the examination of a partition may take. An examination makes a fetch, and often new connections.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often nova examines one of the stopped partitions again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Why a partition has stopped, and at which offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub offset: i64,
    pub cause: Code,
}

impl Stop {
    /// The name of the cause in metrics.
    pub fn code(&self) -> String {
        format!("{:?}", self.cause)
    }

    /// Returns the remedy for the cause, and whether it helps to continue after the offset.
    fn way_out(&self) -> (&'static str, bool) {
        match self.cause {
            Code::BadMessage | Code::InvalidMessage | Code::BadCompression | Code::NotImplemented => {
                let way_out = "the batch there is damaged, or of a form that this build does not know: repair it from \
                               another replica";
                (way_out, true)
            }
            Code::TopicAuthorizationFailed => ("allow kafka.sasl_username to read the topic", false),
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => ("the batch there is larger than 1 GB", true),
            _ => ("look at the broker's log; it is tried again every few seconds", true),
        }
    }

    /// Returns the reason for the stop in words for a person.
    pub fn reason(&self, name: &TopicPartition) -> String {
        let Stop { offset, cause } = self;
        let ((way_out, behind), topic, partition) = (self.way_out(), &name.topic, name.partition);
        let next = offset.saturating_add(1);
        let seek = match behind {
            true => format!(
                "; to go on behind it, losing records: nova cdc seek {topic} {partition} {next}, and a greater offset where \
                 the batch has more"
            ),
            false => String::new(),
        };
        format!("{name}: stands at offset {offset}: {cause}: {way_out}{seek}")
    }
}

/// Whether an error of librdkafka may be about the records of a partition. Errors that are not about records are about
/// the group or a connection, and librdkafka recovers from such errors.
pub(super) fn may_stop(code: Code) -> bool {
    let others = [
        Code::AllBrokersDown,
        Code::Authentication,
        Code::BrokerNotAvailable,
        Code::BrokerTransportFailure,
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::GroupAuthorizationFailed,
        Code::IllegalGeneration,
        Code::LeaderNotAvailable,
        Code::NetworkException,
        Code::NotCoordinator,
        Code::NotLeaderForPartition,
        Code::OperationTimedOut,
        Code::PollExceeded,
        Code::RebalanceInProgress,
        Code::RequestTimedOut,
        Code::Resolve,
        Code::SSL,
        Code::UnknownGroup,
        Code::UnknownMemberId,
        Code::UnknownPartition,
        Code::UnknownTopic,
        Code::UnknownTopicOrPartition,
        Code::WaitingForCoordinator,
    ];
    !others.contains(&code)
}

/// The partitions that nova has stopped.
pub(super) struct Stops {
    settings: KafkaSettings,
    stopped: BTreeMap<TopicPartition, Stop>,
    /// The client with which stopped partitions are examined. The examining client exists only while a partition is
    /// stopped.
    client: Option<BaseConsumer>,
    retry_at: Instant,
    /// The partition that was examined last.
    last: Option<TopicPartition>,
}

impl Stops {
    pub fn new(settings: &KafkaSettings, now: Instant) -> Stops {
        Stops { settings: settings.clone(), stopped: BTreeMap::new(), client: None, retry_at: now, last: None }
    }

    pub fn all(&self) -> &BTreeMap<TopicPartition, Stop> {
        &self.stopped
    }

    /// Forgets a stopped partition, because a person has decided where it continues, or because it belongs to another
    /// member.
    pub fn forget(&mut self, name: &TopicPartition) -> bool {
        let forgotten = self.stopped.remove(name).is_some();
        if self.stopped.is_empty() {
            self.client = None;
        }
        forgotten
    }

    /// Examines each of the partitions at its next offset. The partitions that cannot be read are stopped and returned.
    pub fn examine(
        &mut self,
        next: &[(TopicPartition, Offset)],
        now: Instant,
    ) -> Result<Vec<TopicPartition>, KafkaError> {
        self.retry_at = now + RETRY_EVERY;
        let mut found = Vec::new();
        for (name, offset) in next {
            if let Err(cause) = self.look(name, *offset)? {
                let stop = Stop { offset: offset.to_raw().unwrap_or(-1).max(0), cause };
                tracing::error!(partition = %name, "stopped: {}", stop.reason(name));
                self.stopped.insert(name.clone(), stop);
                found.push(name.clone());
            }
        }
        if self.stopped.is_empty() {
            self.client = None;
        }
        Ok(found)
    }

    /// Examines one of the stopped partitions if an examination is due. If the examined partition can be read, it is
    /// returned with its offset.
    pub fn retry(&mut self, now: Instant) -> Result<Option<(TopicPartition, i64)>, KafkaError> {
        if self.stopped.is_empty() || now < self.retry_at {
            return Ok(None);
        }
        self.retry_at = now + RETRY_EVERY;
        let after = self.last.as_ref();
        let turn = self.stopped.iter().find(|(name, _)| after.is_none_or(|last| *name > last));
        let Some((name, stop)) = turn.or(self.stopped.iter().next()) else { return Ok(None) };
        let (name, offset) = (name.clone(), stop.offset);
        let looked = self.look(&name, Offset::Offset(offset))?;
        self.last = Some(name.clone());
        match looked {
            Ok(true) => {
                self.forget(&name);
                tracing::info!(partition = %name, offset, "the partition can be read again");
                Ok(Some((name, offset)))
            }
            Ok(false) => Ok(None),
            Err(cause) => {
                self.stopped.insert(name, Stop { offset, cause });
                Ok(None)
            }
        }
    }

    /// Reads one record of the partition at the given offset. Returns true if a record was read or if the log has no
    /// more records. Returns false if no broker answered. The inner `Err` is the error that prevents the read.
    fn look(&mut self, name: &TopicPartition, offset: Offset) -> Result<Result<bool, Code>, KafkaError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => client(&self.settings)?,
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name.topic, name.partition, offset)?;
        client.assign(&list)?;
        let begun = monotonic_now();
        let mut looked = Ok(false);
        while let Some(left) = LOOK_TIMEOUT.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            looked = match client.poll(left) {
                None => continue,
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => Ok(true),
                Some(Err(KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::LogTruncation))) => Ok(false),
                Some(Err(KafkaError::MessageConsumption(code))) if may_stop(code) => Err(code),
                Some(Err(_)) => continue,
            };
            break;
        }
        self.client = Some(client);
        Ok(looked)
    }
}

/// Makes a consumer that joins no group, commits nothing, and reports the end of a partition.
fn client(settings: &KafkaSettings) -> Result<BaseConsumer, KafkaError> {
    let mut config = settings.client();
    config.set("group.id", &settings.group_id).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true").set("check.crcs", "true");
    config.set("fetch.wait.max.ms", "100").set("queued.min.messages", "1");
    config.create()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_topic_partition_offset_cause_and_way_out() {
        let name = TopicPartition::new("cdc.posts", 2);
        let causes = [Code::BadMessage, Code::TopicAuthorizationFailed, Code::MessageSizeTooLarge, Code::Unknown];
        for cause in causes {
            let reason = Stop { offset: 41, cause }.reason(&name);
            for part in [&name.to_string(), "offset 41", &cause.to_string()] {
                assert!(reason.contains(part), "{part} is not in {reason}");
            }
            // If nova may not read a topic, it would not help to continue at a different offset of the topic.
            let may_not = cause == Code::TopicAuthorizationFailed;
            assert_eq!(reason.contains("nova cdc seek cdc.posts 2 42,"), !may_not, "{reason}");
        }
    }
}
