//! Records of the commit at hand, for those who watch.

use std::sync::Arc;

use crate::event::{Outcome, Record, Table};
use crate::pipeline::Body;
use crate::pipeline::tap::{COMMIT_MAX_RECORDS, Tapped, What, told};

use super::Writer;

/// What a record is about.
pub(super) fn what(body: &Body) -> What {
    match body {
        Body::Event(event, _) => What::Event { user: event.user_id, post: event.post_id, action: event.action },
        Body::Change(change) => What::Change { table: change.table, key: change.key, op: change.op },
        Body::Ignore(_) => What::Other("ignored"),
        Body::Snapshot(_) => What::Other("snapshot"),
        Body::Dead(_) => What::Other("undecodable"),
    }
}

impl Writer {
    /// Keeps a record for those who watch; `before` is where its effects begin.
    pub(super) fn tap(&mut self, record: &Record, outcome: Outcome, what: What, before: usize) {
        if self.tapped.len() >= COMMIT_MAX_RECORDS {
            self.tapped_more += 1;
            return;
        }
        let (effect, mut users) = told(self.effects.get(before..).unwrap_or_default());
        match what {
            What::Event { user, .. } => users.push(user),
            What::Change { table: Table::Users, key, .. } => users.push(key),
            _ => {}
        }
        self.tapped.push(Tapped {
            topic: Arc::clone(&record.topic),
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            outcome,
            what,
            effect,
            users,
        });
    }

    /// Tells those who watch, after the commit.
    pub(super) fn tell_tapped(&mut self) {
        if !self.tapped.is_empty() {
            self.parts.shared.tap.tell(&self.tapped, self.tapped_more, self.parts.clock.now_ms());
            self.tapped.clear();
            self.tapped_more = 0;
        }
    }
}
