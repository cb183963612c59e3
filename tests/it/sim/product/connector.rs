//! The simulated connector: what it writes from the log and when, and how it restarts.

use nova::event::Table;

use super::{Message, Product, Style};

/// The number of messages that a producer may write a second time.
const SENT_MAX: usize = 40;
/// The number of changes that a restarted connector repeats in most cases.
const BACK_MAX: u64 = 60;
/// The largest number of times that the product runs transactions before the connector exists.
const UNSEEN_MAX: u64 = 4;

impl Product {
    /// Runs transactions, and returns the messages that the connector writes about them.
    pub fn change(&mut self, now_us: i64) -> Vec<Message> {
        self.work(now_us);
        self.connect(now_us)
    }

    /// Makes one step of the connector: it writes either some reads of a snapshot, while the stream waits, or a part of
    /// the stream.
    fn connect(&mut self, now_us: i64) -> Vec<Message> {
        let Some(stream) = &self.stream else {
            self.unseen += 1;
            if self.rng.below(UNSEEN_MAX) < self.unseen {
                self.begin_snapshot(now_us, true);
            }
            return Vec::new();
        };
        let end = stream.len();
        let mut out = Vec::new();
        if self.snapshot.is_some() && !self.read_some(&mut out) {
            if self.rng.below(3) == 0 {
                self.snapshot_again(now_us);
            }
            return self.produce(out);
        }
        // The connector sometimes does not write everything that is in the log.
        let left = (end - self.written) as u64;
        let until = if self.rng.below(6) == 0 { self.written + self.rng.below(left + 1) as usize } else { end };
        self.write_until(until, &mut out);
        self.produce(out)
    }

    pub(super) fn write_until(&mut self, until: usize, out: &mut Vec<Message>) {
        let stream = self.stream.as_deref().unwrap_or_default();
        stream[self.written..until].iter().for_each(|committed| self.write(committed, out));
        self.written = until;
    }

    pub(super) fn produce(&mut self, messages: Vec<Message>) -> Vec<Message> {
        self.sent.extend_from_slice(&messages);
        let from = self.sent.len().saturating_sub(SENT_MAX);
        self.sent.drain(..from);
        messages
    }

    /// Commits all transactions, and writes all changes.
    pub fn finish(&mut self, now_us: i64) -> Vec<Message> {
        self.commit_all(now_us);
        if self.stream.is_none() {
            self.begin_snapshot(now_us, true);
        }
        let mut out = Vec::new();
        while self.snapshot.is_some() {
            self.read_some(&mut out);
        }
        // Only the first change after a first snapshot shows nova that the snapshot was the last one, so the product
        // makes a change (seed 10211).
        while self.retaken && self.stream.as_ref().is_some_and(Vec::is_empty) {
            self.work(now_us);
            self.commit_all(now_us);
        }
        let end = self.stream.as_ref().map_or(0, Vec::len);
        self.write_until(end, &mut out);
        self.produce(out)
    }

    /// Restarts the connector at an earlier point of the stream. The restarted connector writes everything after the
    /// earlier point of the stream once more.
    pub fn restart(&mut self, now_us: i64) -> Vec<Message> {
        if !self.snapshot_again(now_us) {
            self.snapshot = None;
            let most = if self.rng.below(8) == 0 { self.written as u64 } else { BACK_MAX.min(self.written as u64) };
            self.written -= self.rng.below(most + 1) as usize;
        }
        self.connect(now_us)
    }

    /// Takes an unfinished first snapshot again, as a restarted connector does. The stream begins at the point of the
    /// new snapshot, so no record reports what was deleted between the two snapshots. Returns false if no first
    /// snapshot was running.
    fn snapshot_again(&mut self, now_us: i64) -> bool {
        if !self.snapshot.as_ref().is_some_and(|snapshot| snapshot.initial) {
            return false;
        }
        // nova cannot notice the loss of a delete between two snapshots if reads look like changes, if a table was
        // emptied, or if changes come before both snapshots.
        let emptied = self.tables.iter().any(|rows| rows.is_empty());
        let seen = self.style != Style::Bare && !emptied && !self.promoted;
        if self.retaken && emptied && !self.promoted {
            // A further snapshot would hide that the previous snapshot was taken again, so the connector is not
            // restarted.
            return true;
        }
        self.begin_snapshot(now_us, true);
        if seen {
            // The restarted connector does not go back to a point before the snapshot.
            (self.stream, self.written, self.retaken) = (Some(Vec::new()), 0, true);
        }
        true
    }

    /// Writes the last messages of a producer again, as after a lost answer of the broker.
    pub fn produced_again(&mut self) -> Vec<Message> {
        let most = self.sent.len() as u64;
        let from = self.sent.len() - self.rng.below(most + 1) as usize;
        self.sent[from..].to_vec()
    }

    /// Truncates a table. Only records in Debezium's envelope report the truncate.
    pub fn truncate(&mut self, now_us: i64) -> Vec<Message> {
        let apart = self.promoted && !self.ordered && !self.kinds.upset_twice;
        // If the topic has several partitions, only times show which changes are older than a truncate. PostgreSQL does
        // not truncate a table to which an open transaction writes, or which an unfinished snapshot reads. The records
        // of an open transaction or an unfinished snapshot have an earlier time than a truncate, unless the clocks
        // disagree.
        let behind = !self.ordered && self.next_commit_us(now_us) <= self.latest_us;
        if self.style != Style::Envelope || self.stream.is_none() || apart || behind {
            return Vec::new();
        }
        self.truncated = true;
        let table = Table::ALL[self.rng.below(5) as usize];
        self.truncate_table(table, now_us);
        self.connect(now_us)
    }

    /// Replaces the server by a new server. The LSNs of the new server begin low, and its times continue. Sometimes a
    /// new connector reads all tables into the topics of the old connector.
    pub fn promote(&mut self, now_us: i64) -> Vec<Message> {
        let apart = self.truncated && !self.ordered && !self.kinds.upset_twice;
        if !self.style.numbered() || self.stream.is_none() || apart || self.kinds.moving {
            return Vec::new();
        }
        let out = self.finish(now_us);
        (self.lsn, self.late, self.promoted) = (1_000, None, true);
        self.commit_us = (now_us + self.server_us).max(self.commit_us + 1_000_000);
        // The connector cannot go back to a point before the start of the new slot.
        (self.stream, self.written) = (Some(Vec::new()), 0);
        self.sent.clear();
        if self.kinds.snapshots && self.rng.below(2) == 0 {
            self.begin_snapshot(now_us, true);
        }
        out
    }
}
