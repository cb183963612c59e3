//! Detects topics that were deleted and made again. Kafka gives every topic an id (KIP-516), and a topic that is
//! deleted and made again has a new id. If the id of a topic changes, librdkafka only logs the change, and continues in
//! the new log at the old offset. The log line comes before the first fetch from the new log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

/// The debug context of librdkafka in which the changes of topic ids are logged.
pub(super) const DEBUG: &str = "metadata";
/// The id that librdkafka logs for a topic without a known id: the broker is older than 2.8, or the topic was not
/// looked at yet.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

#[derive(Debug, Default)]
struct Inner {
    ids: BTreeMap<Arc<str>, Box<str>>,
    made_again: BTreeSet<Arc<str>>,
}

/// The ids of the known topics. The ids are kept when the Kafka client is replaced.
#[derive(Debug, Default)]
pub(super) struct Identities {
    inner: Mutex<Inner>,
}

impl Identities {
    /// Reads a line of librdkafka's log, and notes the topic if its id has changed.
    pub fn heard(&self, line: &str) {
        let Some((topic, id)) = change(line) else { return };
        let mut inner = self.inner.lock();
        let topic: Arc<str> = topic.into();
        let before = inner.ids.insert(Arc::clone(&topic), id.into());
        if let Some(before) = before.filter(|before| **before != *id) {
            tracing::warn!(topic = &*topic, %before, %id, "the topic was deleted and made again");
            inner.made_again.insert(topic);
        }
    }

    /// Returns the topics that were made again since the last call.
    pub fn take_made_again(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.inner.lock().made_again)
    }
}

/// Parses `[thrd:main]: Topic NAME changed id from OLD to NEW`. Returns the topic of the log line and the topic's new
/// id.
fn change(line: &str) -> Option<(&str, &str)> {
    let (topic, ids) = line.split_once(" changed id from ")?;
    let (_, topic) = topic.rsplit_once("Topic ")?;
    let (_, id) = ids.split_once(" to ")?;
    (id != NO_ID && !topic.is_empty()).then_some((topic, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Vec<String> {
        let ids = Identities::default();
        lines.iter().for_each(|line| ids.heard(line));
        ids.take_made_again().iter().map(|topic| topic.to_string()).collect()
    }

    #[test]
    fn a_topic_is_made_again_when_its_id_is_another_and_not_when_it_is_seen_first() {
        let first = "[thrd:main]: Topic cdc.posts changed id from AAAAAAAAAAAAAAAAAAAAAA to 5KRkZMBrTd+Hf5YW0vJnAQ";
        let again = "[thrd:main]: Topic cdc.posts changed id from AAAAAAAAAAAAAAAAAAAAAA to kCYiPzqbRSaqtHOmCFMV0Q";
        let gone = "[thrd:main]: Topic cdc.posts changed id from kCYiPzqbRSaqtHOmCFMV0Q to AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(heard(&[first, first]), Vec::<String>::new());
        assert_eq!(heard(&[first, again]), ["cdc.posts"]);
        // librdkafka has forgotten the topic between the log lines `first` and `again`.
        assert_eq!(heard(&[first, gone, again, again]), ["cdc.posts"]);
        assert_eq!(heard(&["Topic a Leader 1 Epoch 0", " changed id from  to ", ""]), Vec::<String>::new());
    }
}
