//! Joining the group, and joining it again where the broker gave too little.
//!
//! A static member that comes back (after a kill, or when the broker was away) is given its former partitions at once,
//! without a look at topics and partitions that came meanwhile (KIP-345), and of later ones only the group's leader is
//! told. So the partitions are counted now and then, and joining anew with another subscription makes the broker look.

use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;

use crate::source::SourceError;

use super::context::Context;
use super::failure::failed;
use super::group;
use super::settings::KafkaSettings;

/// How often the partitions are counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How long partitions may be missing before the group is joined again: a rebalance takes moments.
const LACK_MAX: Duration = Duration::from_secs(3);
const REJOIN_EVERY: Duration = Duration::from_secs(30);
/// After this a request that a broker did not answer in time is made again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// With every topic; since when partitions are missing.
    Member {
        lacking_since: Option<Instant>,
    },
    /// Without the topics that lacked partitions, until the next assignment after so many.
    Narrowed {
        assignments: u64,
    },
}

/// See the module.
pub(super) struct Membership {
    settings: KafkaSettings,
    topics: Vec<String>,
    state: State,
    count_at: Instant,
    rejoin_at: Instant,
    /// Assignments at the last look.
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

    /// Does what is due. `Ok(Err(…))` is what the client complains of; it is tried again.
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
            // Counted with the assignment, too, unless the broker was too busy to say.
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

    /// Joins, unless another store commits to the group and this one never did: as a member, it would take a part of the
    /// records away.
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

    /// Subscribes to less for a moment, unless another member may have what is missing.
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
