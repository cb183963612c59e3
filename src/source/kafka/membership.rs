//! Joins the consumer group, and joins it again if the broker assigned too few partitions.
//!
//! A static member that comes back (after a kill, or after an outage of the broker) gets its former partitions at once,
//! but no topics and partitions that were added during its absence (KIP-345). Kafka tells only the leader of the group
//! about new partitions. So nova counts the partitions at intervals. If this node lacks partitions, nova joins the
//! group again with a changed subscription, so that the broker assigns all partitions again.

use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use crate::source::SourceError;

use super::context::Context;
use super::failure::failed;
use super::group;
use super::settings::KafkaSettings;

/// How often nova counts the partitions of the topics.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How long assigned partitions may be missing before nova joins the group again. A normal rebalance takes less time
/// than `LACK_MAX`.
const LACK_MAX: Duration = Duration::from_secs(3);
const REJOIN_EVERY: Duration = Duration::from_secs(30);
/// How long nova waits before it repeats a request that a broker did not answer in time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// The member subscribes to every topic. `lacking_since` is the time since which partitions are missing.
    Member {
        lacking_since: Option<Instant>,
    },
    /// The subscription leaves out the topics with missing partitions until the number of assignments exceeds
    /// `assignments`.
    Narrowed {
        assignments: u64,
    },
}

/// The membership in the Kafka consumer group.
pub(super) struct Membership {
    settings: KafkaSettings,
    topics: Vec<String>,
    state: State,
    count_at: Instant,
    rejoin_at: Instant,
    /// The number of assignments when the partitions were last checked.
    assignments: u64,
}

impl Membership {
    pub fn new(settings: &KafkaSettings, topics: &[String], now: Instant) -> Membership {
        let (settings, topics) = (settings.clone(), topics.to_vec());
        Membership {
            settings,
            topics,
            state: State::Outside,
            count_at: now + COUNT_EVERY,
            rejoin_at: now,
            assignments: 0,
        }
    }

    /// Takes the steps of the membership that are due. The result `Ok(Err(…))` is an error of the Kafka client, after
    /// which the next call repeats the step.
    pub fn keep(
        &mut self,
        consumer: &BaseConsumer<Context>,
        now: Instant,
    ) -> Result<Result<(), KafkaError>, SourceError> {
        if self.state == State::Outside {
            return self.join(consumer);
        }
        if now >= self.count_at {
            if let Err(error) = consumer.context().count_again(consumer) {
                self.count_at = now + RETRY_AFTER;
                return Ok(Err(error));
            }
            self.count_at = now + COUNT_EVERY;
        }
        let (assignments, lacking) = consumer.context().lacking();
        if assignments != self.assignments {
            // The callback of the assignment also counts the partitions, unless the broker was too busy to answer.
            (self.assignments, self.count_at) = (assignments, self.count_at.min(now + RETRY_AFTER));
        }
        match self.state {
            State::Narrowed { assignments: before } if assignments > before => {
                subscribe(consumer, &self.topics)?;
                self.state = State::Member { lacking_since: None };
            }
            State::Member { .. } if lacking.is_empty() => self.state = State::Member { lacking_since: None },
            State::Member { lacking_since: None } => self.state = State::Member { lacking_since: Some(now) },
            State::Member { lacking_since: Some(since) } if now >= self.rejoin_at.max(since + LACK_MAX) => {
                match group::alone(consumer, &self.settings.group_id) {
                    Ok(alone) => {
                        self.rejoin_at = now + REJOIN_EVERY;
                        self.narrow(consumer, alone, &lacking, assignments)?;
                    }
                    Err(error) => {
                        self.rejoin_at = now + RETRY_AFTER;
                        return Ok(Err(error));
                    }
                }
            }
            State::Outside | State::Member { .. } | State::Narrowed { .. } => {}
        }
        Ok(Ok(()))
    }

    /// Joins the consumer group. The call refuses to join if a foreign store has committed to the group and this node's
    /// store has not, because as a member nova would take a part of the foreign store's records.
    fn join(&mut self, consumer: &BaseConsumer<Context>) -> Result<Result<(), KafkaError>, SourceError> {
        let KafkaSettings { group_id: group, owner, take_over, .. } = &self.settings;
        let owners = match group::owners(consumer, &self.topics) {
            Ok(owners) => owners,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(other) = owners.iter().find(|_| !owners.contains(owner)) {
            if !take_over {
                return Err(SourceError::Group { group: group.clone(), owner: other.to_string() });
            }
            tracing::warn!(group, "the group of another store, {other}, is taken over");
        }
        subscribe(consumer, &self.topics)?;
        self.state = State::Member { lacking_since: None };
        Ok(Ok(()))
    }

    /// Subscribes to fewer topics for a moment, unless another member may have the missing partitions.
    fn narrow(
        &mut self,
        consumer: &BaseConsumer<Context>,
        alone: bool,
        lacking: &[String],
        assignments: u64,
    ) -> Result<(), SourceError> {
        let rest: Vec<_> = self.topics.iter().filter(|topic| !lacking.contains(topic)).cloned().collect();
        let rest = if rest.is_empty() { self.topics[..1].to_vec() } else { rest };
        if rest.len() < self.topics.len() && alone {
            tracing::info!(?lacking, "the group is joined again for partitions that are not assigned");
            subscribe(consumer, &rest)?;
            self.state = State::Narrowed { assignments };
        }
        Ok(())
    }
}

fn subscribe(consumer: &BaseConsumer<Context>, topics: &[String]) -> Result<(), SourceError> {
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(failed)
}
