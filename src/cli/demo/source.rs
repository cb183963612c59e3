//! The demo's data set as records: first a Debezium snapshot of the earlier rows, then the changes of the 72 hours,
//! then the client events.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::clock::rfc3339;
use crate::decode::client;
use crate::event::{ClientEvent, Id, Record, Table, TopicPartition};
use crate::source::{PollLimits, Polled, Source, SourceError};

use super::data::Social;

/// A record that the source delivers: a row of the data set, or an event.
#[derive(Clone, Copy)]
enum Step {
    Row(Table, u32),
    Event(u32),
}

/// A source of the data set's records.
pub(super) struct DemoSource {
    social: Arc<Social>,
    steps: Vec<Step>,
    next: usize,
    topics: [Arc<str>; 5],
    events: Arc<str>,
    /// The next offset of each table's topic, and of the events' topic at the end.
    offsets: [i64; 6],
    done: Arc<AtomicU64>,
}

impl DemoSource {
    /// If `users` is given, the source has only the first users and their activity.
    pub(super) fn new(social: Arc<Social>, users: Option<u32>) -> DemoSource {
        let limit = users.unwrap_or(u32::MAX);
        let topics = Table::ALL.map(|table| format!("cdc.{table}").into());
        let steps = steps(&social, limit);
        DemoSource { social, steps, next: 0, topics, events: "events".into(), offsets: [0; 6], done: Arc::default() }
    }

    pub(super) fn done(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    pub(super) fn total(&self) -> u64 {
        self.steps.len() as u64
    }

    fn record(&mut self, step: Step) -> Record {
        let (topic, slot) = match step {
            Step::Row(table, _) => (Arc::clone(&self.topics[table as usize]), table as usize),
            Step::Event(_) => (Arc::clone(&self.events), Table::ALL.len()),
        };
        let offset = self.offsets[slot];
        self.offsets[slot] += 1;
        let (timestamp_ms, key, value) = match step {
            Step::Row(table, index) => self.row(table, index),
            Step::Event(index) => self.event(index),
        };
        let (key, value, headers) = (Some(key), Some(value), Vec::new());
        Record {
            topic,
            partition: 0,
            offset,
            timestamp_ms,
            key,
            value,
            headers,
            defect: None,
            origin: None,
            lsn_delta: 0,
        }
    }

    fn event(&self, index: u32) -> (i64, Bytes, Bytes) {
        let event = &self.social.events[index as usize];
        let post = &self.social.posts[event.post as usize];
        let (device, app_ver) = self.social.labels[event.label as usize].clone();
        let event = ClientEvent {
            event_id: derived("event", index),
            user_id: self.social.users[event.user as usize].id,
            post_id: post.id,
            author_id: Some(self.social.users[post.author as usize].id),
            action: Social::action(event),
            event_time_ms: event.time_ms,
            dwell_ms: event.dwell_ms,
            device,
            app_ver,
        };
        (event.event_time_ms, event.user_id.to_string().into(), client::encode(&event).into())
    }

    /// Makes a row's record in Debezium's envelope: the time of arrival, the key and the value.
    fn row(&self, table: Table, index: u32) -> (i64, Bytes, Bytes) {
        let social = &self.social;
        let begin_ms = social.begin_ms;
        let at = index as usize;
        let user = |user: u32| social.users[user as usize].id;
        let (id, created_ms, columns) = match table {
            Table::Users => {
                let row = &social.users[at];
                let at = rfc3339((begin_ms - 1) * 1_000);
                let columns = format!(
                    r#""username":"{}","email_verified":true,"is_active":true,"created_at":"{at}","updated_at":"{at}","deleted_at":null"#,
                    row.username
                );
                (row.id, begin_ms - 1, columns)
            }
            Table::Posts => {
                let row = &social.posts[at];
                let (author, at) = (user(row.author), rfc3339(row.created_at_ms * 1_000));
                let caption = serde_json::Value::from(&*row.caption);
                let columns = format!(
                    r#""user_id":"{author}","caption":{caption},"image_key":"img/{}.jpg","image_sizes":null,"status":"published","created_at":"{at}","updated_at":"{at}","soft_delete":null"#,
                    row.id
                );
                (row.id, row.created_at_ms, columns)
            }
            Table::Follows => {
                let row = &social.follows[at];
                let (from, to, us) = (user(row.follower), user(row.followee), row.created_at_ms * 1_000);
                let columns = format!(r#""follower_id":"{from}","following_id":"{to}","created_at":{us}"#);
                (derived("follow", index), row.created_at_ms, columns)
            }
            Table::Comments => {
                let row = &social.comments[at];
                let (post, us) = (social.posts[row.post as usize].id, row.created_at_ms * 1_000);
                let text = serde_json::Value::from(&*social.texts[row.text as usize]);
                let columns = format!(
                    r#""post_id":"{post}","user_id":"{}","content":{text},"parent_comment_id":null,"created_at":{us},"updated_at":{us},"soft_delete":null"#,
                    user(row.user)
                );
                (row.id, row.created_at_ms, columns)
            }
            Table::Likes => {
                let row = &social.likes[at];
                let (post, us) = (social.posts[row.post as usize].id, row.created_at_ms * 1_000);
                let columns = format!(r#""user_id":"{}","post_id":"{post}","created_at":{us}"#, user(row.user));
                (derived("like", index), row.created_at_ms, columns)
            }
        };
        let snapshot = created_ms < begin_ms;
        let arrival_ms = created_ms.max(begin_ms);
        let (op, lsn) = if snapshot { ("r", 1) } else { ("c", self.next as u64 + 1) };
        let mut value = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            value,
            r#"{{"before":null,"after":{{"id":"{id}",{columns}}},"source":{{"connector":"postgresql","name":"demo","ts_ms":{arrival_ms},"snapshot":"{snapshot}","table":"{table}","lsn":{lsn}}},"op":"{op}","ts_ms":{arrival_ms}}}"#
        );
        (arrival_ms, format!(r#"{{"id":"{id}"}}"#).into(), value.into())
    }
}

/// The records of the demo in their order: the rows from before the 72 hours (the snapshot), the rows of the 72 hours
/// by time, and the events.
fn steps(social: &Social, limit: u32) -> Vec<Step> {
    let author = |post: u32| social.posts[post as usize].author;
    let mut rows: Vec<(i64, Table, u32)> = Vec::new();
    let mut add = |table, index: usize, ms: i64| rows.push((ms.max(social.begin_ms), table, index as u32));
    for index in (0..social.users.len()).take(limit as usize) {
        add(Table::Users, index, 0);
    }
    for (index, row) in social.posts.iter().enumerate().filter(|(_, row)| row.author < limit) {
        add(Table::Posts, index, row.created_at_ms);
    }
    for (index, row) in social.follows.iter().enumerate() {
        if row.follower < limit && row.followee < limit {
            add(Table::Follows, index, row.created_at_ms);
        }
    }
    for (index, row) in social.comments.iter().enumerate() {
        if row.user < limit && author(row.post) < limit {
            add(Table::Comments, index, row.created_at_ms);
        }
    }
    for (index, row) in social.likes.iter().enumerate() {
        if row.user < limit && author(row.post) < limit {
            add(Table::Likes, index, row.created_at_ms);
        }
    }
    rows.sort_unstable();
    let mut steps: Vec<_> = rows.into_iter().map(|(_, table, index)| Step::Row(table, index)).collect();
    let of_limit =
        social.events.iter().enumerate().filter(|(_, event)| event.user < limit && author(event.post) < limit);
    steps.extend(of_limit.map(|(index, _)| Step::Event(index as u32)));
    steps
}

/// Derives an id for an object that the data set names only by its index.
fn derived(kind: &str, index: u32) -> Id {
    // The id has RFC 9562's version 8, which means custom content.
    let mut id = xxh3_128(format!("nova demo {kind} {index}").as_bytes()).to_be_bytes();
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Id(id)
}

impl Source for DemoSource {
    fn poll(&mut self, limits: &PollLimits, out: &mut Vec<Record>) -> Result<Polled, SourceError> {
        for _ in 0..limits.max_records {
            let Some(step) = self.steps.get(self.next).copied() else { return Ok(Polled::End) };
            let record = self.record(step);
            out.push(record);
            self.next += 1;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Polled::Records)
    }

    // No partition of the demo waits or halts, so the source has nothing to pause.
    fn pause(&mut self, _partition: &TopicPartition) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, _partition: &TopicPartition, _from: i64) -> Result<(), SourceError> {
        Ok(())
    }
}
