//! Handles loads. During a first copy or a backlog nobody waits for a single record, so nova writes fewer and larger
//! checkpoints.

use super::structures::Writer;

/// The minimum number of records of a commit that is part of a load.
const LOAD_MIN_RECORDS: usize = 1_000;
/// The age from which on a record is part of a backlog, milliseconds.
const BACKLOG_MS: i64 = 60_000;

impl Writer {
    /// Writes to the store the changes that a load had left in memory when the load paused or ended.
    pub(super) fn loaded(&mut self) {
        if std::mem::take(&mut self.loading) {
            self.checkpoint_if_due();
        }
    }
}

/// Whether a commit is part of a first copy or of a backlog. A commit of a load is large. In addition, most of the
/// commit's records are reads of a snapshot, or all of them arrived long ago. In a load, fewer checkpoints save more
/// time than the longer recovery after a crash costs.
pub(super) fn is_load((records, reads): (usize, usize), newest_arrival_ms: Option<i64>, now_ms: i64) -> bool {
    let backlog = newest_arrival_ms.is_some_and(|newest_ms| newest_ms < now_ms.saturating_sub(BACKLOG_MS));
    records >= LOAD_MIN_RECORDS && (backlog || reads > records / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_commits_that_nobody_waits_for_are_a_load() {
        let now_ms = 1_764_000_000_000;
        let (fresh, old) = (Some(now_ms - 1_000), Some(now_ms - BACKLOG_MS - 1));
        assert!(is_load((LOAD_MIN_RECORDS, LOAD_MIN_RECORDS), fresh, now_ms));
        assert!(is_load((LOAD_MIN_RECORDS, 0), old, now_ms));
        assert!(is_load((5_000, 2_501), None, now_ms));
        for (counts, newest) in [
            ((LOAD_MIN_RECORDS - 1, LOAD_MIN_RECORDS - 1), old),
            ((5_000, 2_500), fresh),
            ((5_000, 0), None),
            ((0, 0), None),
        ] {
            assert!(!is_load(counts, newest, now_ms), "{counts:?} {newest:?}");
        }
    }
}
