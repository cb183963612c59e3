//! A synthetic social world of any size, made from a seed, with ids that look random. The world has users, posts of the
//! last 71 hours, follows by a power law, likes of a day, and views of an hour. The rows are flattened records as
//! Debezium's `ExtractNewRecordState` sends them, and the views are client events.

use std::sync::Arc;

use fastrand::Rng;

use crate::event::{Id, Record, TopicPartition};
use crate::source::{PollLimits, Polled, Source, SourceError};

use super::ingest::mixed;

/// The time of the first view, epoch milliseconds: 2026-11-20T00:00:00Z.
pub(super) const BEGIN_MS: i64 = 1_795_132_800_000;
const HOUR_MS: i64 = 3_600_000;
pub(super) const END_MS: i64 = BEGIN_MS + HOUR_MS;
const PARTITIONS: usize = 3;
/// The number of people whom each user of the world follows.
pub(super) const FOLLOWS_A_USER: u64 = 50;
const LIKES_A_USER: u64 = 10;
pub(super) const VIEWS_A_USER: u64 = 20;

/// The kinds of records, in the order of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Post,
    Follow,
    Like,
    View,
}

const KINDS: [Kind; 5] = [Kind::User, Kind::Post, Kind::Follow, Kind::Like, Kind::View];

pub(super) fn user(number: u64) -> Id {
    mixed(number + (1 << 40))
}

pub(super) fn post(number: u64) -> Id {
    mixed(number + (1 << 41))
}

fn rfc3339(ms: i64) -> jiff::Timestamp {
    // All times of the synthetic world are within the range of `jiff::Timestamp`.
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}

/// A source of the world's records, which ends after the last record.
pub(super) struct World {
    users: u64,
    rng: Rng,
    topics: [Arc<str>; 5],
    /// The next offset of each kind of record and each partition.
    offsets: [[i64; PARTITIONS]; 5],
    kind: usize,
    /// The number of the next record within the present kind.
    next: u64,
    lsn: u64,
}

impl World {
    pub(super) fn new(users: u64, seed: u64) -> World {
        let topics = ["cdc.users", "cdc.posts", "cdc.follows", "cdc.likes", "events"].map(Arc::from);
        World { users, rng: Rng::with_seed(seed), topics, offsets: Default::default(), kind: 0, next: 0, lsn: 1 << 24 }
    }

    pub(super) fn posts(&self) -> u64 {
        self.users * 7 / 5
    }

    fn count(&self, kind: Kind) -> u64 {
        match kind {
            Kind::User => self.users,
            Kind::Post => self.posts(),
            Kind::Follow => self.users * FOLLOWS_A_USER,
            Kind::Like => self.users * LIKES_A_USER,
            Kind::View => self.users * VIEWS_A_USER,
        }
    }

    pub(super) fn records(&self) -> u64 {
        KINDS.iter().map(|kind| self.count(*kind)).sum()
    }

    /// Draws a number below `count`. Low numbers are far more frequent than high numbers, so a third of all follows go
    /// to a thirtieth of the users.
    fn skewed(&mut self, count: u64) -> u64 {
        ((self.rng.f64().powi(3) * count as f64) as u64).min(count - 1)
    }

    fn uniform(&mut self, count: u64) -> u64 {
        self.rng.u64(0..count)
    }

    /// Makes a row with random values for its kind, without the closing brace.
    fn row(&mut self, kind: Kind, id: Id) -> String {
        let (users, posts) = (self.users, self.posts());
        match kind {
            Kind::User => format!(
                r#"{{"id":"{id}","username":"u{}","email_verified":true,"is_active":true,"created_at":"2025-01-01T00:00:00Z","updated_at":"2025-01-01T00:00:00Z","deleted_at":null"#,
                self.next
            ),
            Kind::Post => {
                let author = user(self.uniform(users));
                let created = rfc3339(BEGIN_MS - self.rng.i64(0..71 * HOUR_MS));
                format!(
                    r#"{{"id":"{id}","user_id":"{author}","caption":"post {}","image_key":"k","image_sizes":null,"status":"published","created_at":"{created}","updated_at":"{created}","soft_delete":null"#,
                    self.next
                )
            }
            Kind::Follow => {
                let follower = self.next / FOLLOWS_A_USER;
                let followee = self.skewed(users);
                let followee = if followee == follower { (followee + 1) % users } else { followee };
                format!(
                    r#"{{"id":"{id}","follower_id":"{}","following_id":"{}","created_at":1794000000000000"#,
                    user(follower),
                    user(followee)
                )
            }
            Kind::Like => {
                let (user, post) = (user(self.uniform(users)), post(self.skewed(posts)));
                let created_us = (BEGIN_MS - self.rng.i64(0..86_000_000)) * 1_000;
                format!(r#"{{"id":"{id}","user_id":"{user}","post_id":"{post}","created_at":{created_us}"#)
            }
            Kind::View => {
                let (user, post) = (user(self.uniform(users)), post(self.skewed(posts)));
                let at_ms = self.view_ms();
                format!(
                    r#"{{"event_id":"{id}","event_time":{at_ms},"user_id":"{user}","post_id":"{post}","action":"view","dwell_ms":1200,"device":"ios","app_ver":"1.2.3""#
                )
            }
        }
    }

    fn view_ms(&self) -> i64 {
        BEGIN_MS + (self.next as i64).saturating_mul(HOUR_MS) / (self.users * VIEWS_A_USER) as i64
    }

    fn record(&mut self, kind: Kind) -> Record {
        let id = match kind {
            Kind::User => user(self.next),
            Kind::Post => post(self.next),
            other => mixed(self.next + ((42 + other as u64) << 36)),
        };
        let mut value = self.row(kind, id);
        let (key, timestamp_ms) = match kind {
            Kind::View => (None, self.view_ms()),
            _ => {
                self.lsn += 64;
                let lsn = self.lsn;
                value.push_str(&format!(
                    r#","__deleted":"false","__op":"c","__lsn":{lsn},"__source_ts_ms":{}"#,
                    BEGIN_MS - 1_000
                ));
                (Some(format!(r#"{{"id":"{id}"}}"#).into()), BEGIN_MS - 1_000)
            }
        };
        value.push('}');
        let partition = (self.next % PARTITIONS as u64) as usize;
        let next = &mut self.offsets[kind as usize][partition];
        *next += 1;
        Record {
            topic: Arc::clone(&self.topics[kind as usize]),
            partition: partition as i32,
            offset: *next - 1,
            timestamp_ms,
            key,
            value: Some(value.into_bytes().into()),
            headers: Vec::new(),
            defect: None,
            origin: None,
            lsn_delta: 0,
        }
    }
}

impl Source for World {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        for _ in 0..limits.max_records {
            while self.kind < KINDS.len() && self.next >= self.count(KINDS[self.kind]) {
                (self.kind, self.next) = (self.kind + 1, 0);
            }
            let Some(kind) = KINDS.get(self.kind) else { break };
            let record = self.record(*kind);
            self.next += 1;
            out.push(record);
        }
        Ok(if out.is_empty() { Polled::End } else { Polled::Records })
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

    #[test]
    fn a_world_has_its_records_each_under_an_id_of_its_own_and_the_seed_says_which() {
        let poll = |seed| {
            let mut world = World::new(40, seed);
            let mut records = Vec::new();
            loop {
                let mut some = Vec::new();
                match world.poll(&PollLimits::default(), &mut some).unwrap() {
                    Polled::End => return (world.records(), records),
                    _ => records.extend(some.into_iter().map(|record| (record.topic, record.key, record.value))),
                }
            }
        };
        let (count, records) = poll(1);
        assert_eq!(records.len() as u64, count);
        let keys: std::collections::BTreeSet<_> =
            records.iter().filter_map(|(topic, key, _)| key.clone().map(|key| (topic.clone(), key))).collect();
        assert_eq!(keys.len() as u64, count - 40 * VIEWS_A_USER);
        assert!(records == poll(1).1);
        assert!(records != poll(2).1);
    }
}
