//! The connector: what it writes of the log and when, and how it begins again.

use nova::event::Table;

use super::{Message, Product, Style};

/// Messages that a producer may write a second time.
const SENT_MAX: usize = 40;
/// A restarted connector goes back so far at most, mostly.
const BACK_MAX: u64 = 60;
/// The database is looked at so often before there is a connector.
const UNSEEN_MAX: u64 = 4;

impl Product {
    /// Transactions work, and the connector writes what it sees of them.
    pub fn change(&mut self, now_us: i64) -> Vec<Message> {
        self.work(now_us);
        self.connect(now_us)
    }

    /// A moment of the connector: some reads of a snapshot, during which the stream stands, or the stream.
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
        // It may be behind the log.
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

    /// Everything is committed and written.
    pub fn finish(&mut self, now_us: i64) -> Vec<Message> {
        self.commit_all(now_us);
        if self.stream.is_none() {
            self.begin_snapshot(now_us, true);
        }
        let mut out = Vec::new();
        while self.snapshot.is_some() {
            self.read_some(&mut out);
        }
        // That a first snapshot was the last one is seen with the first change behind it (seed 10211).
        while self.retaken && self.stream.as_ref().is_some_and(Vec::is_empty) {
            self.work(now_us);
            self.commit_all(now_us);
        }
        let end = self.stream.as_ref().map_or(0, Vec::len);
        self.write_until(end, &mut out);
        self.produce(out)
    }

    /// The connector begins again at an earlier point of the stream and writes everything from there once more.
    pub fn restart(&mut self, now_us: i64) -> Vec<Message> {
        if !self.snapshot_again(now_us) {
            self.snapshot = None;
            let most = if self.rng.below(8) == 0 { self.written as u64 } else { BACK_MAX.min(self.written as u64) };
            self.written -= self.rng.below(most + 1) as usize;
        }
        self.connect(now_us)
    }

    /// A restarted connector takes a first snapshot again that was not finished. The stream begins at the new one's point:
    /// what was committed between the two is in neither. False where no first snapshot was under way.
    fn snapshot_again(&mut self, now_us: i64) -> bool {
        if !self.snapshot.as_ref().is_some_and(|snapshot| snapshot.initial) {
            return false;
        }
        // Where nothing tells a read from a change, a table was emptied, or changes stand before both, nobody can see it.
        let emptied = self.tables.iter().any(|rows| rows.is_empty());
        let seen = self.style != Style::Bare && !emptied && !self.promoted;
        if self.retaken && emptied && !self.promoted {
            // It would hide the one before, too: the connector lives on.
            return true;
        }
        self.begin_snapshot(now_us, true);
        if seen {
            // Nor does the connector go back before it.
            (self.stream, self.written, self.retaken) = (Some(Vec::new()), 0, true);
        }
        true
    }

    /// A producer that had no answer writes its last messages again.
    pub fn produced_again(&mut self) -> Vec<Message> {
        let most = self.sent.len() as u64;
        let from = self.sent.len() - self.rng.below(most + 1) as usize;
        self.sent[from..].to_vec()
    }

    /// Empties a table; only the envelope tells.
    pub fn truncate(&mut self, now_us: i64) -> Vec<Message> {
        let apart = self.promoted && !self.ordered && !self.kinds.upset_twice;
        // Between two partitions times tell what is from before a truncate. PostgreSQL truncates no table that a transaction
        // writes to, or that a snapshot has read and is not done with, so both have the earlier time, unless clocks disagree.
        let behind = !self.ordered && self.next_commit_us(now_us) <= self.latest_us;
        if self.style != Style::Envelope || self.stream.is_none() || apart || behind {
            return Vec::new();
        }
        self.truncated = true;
        let table = Table::ALL[self.rng.below(5) as usize];
        self.truncate_table(table, now_us);
        self.connect(now_us)
    }

    /// Another server takes this one's place: its LSNs begin low, its times do not. Sometimes a new connector reads
    /// everything into the same topics.
    pub fn promote(&mut self, now_us: i64) -> Vec<Message> {
        let apart = self.truncated && !self.ordered && !self.kinds.upset_twice;
        if !self.style.numbered() || self.stream.is_none() || apart || self.kinds.moving {
            return Vec::new();
        }
        let out = self.finish(now_us);
        (self.lsn, self.late, self.promoted) = (1_000, None, true);
        self.commit_us = (now_us + self.server_us).max(self.commit_us + 1_000_000);
        // A new slot does not go back before it.
        (self.stream, self.written) = (Some(Vec::new()), 0);
        self.sent.clear();
        if self.kinds.snapshots && self.rng.below(2) == 0 {
            self.begin_snapshot(now_us, true);
        }
        out
    }
}
