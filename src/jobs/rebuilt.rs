//! The jobs that wait until the logs of the source have been read to their ends. A row that does not come again by the
//! end of a rebuild no longer exists in the source. If the connector takes its first snapshot again, a row that only
//! the earlier snapshot contained no longer exists in the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::event::TopicPartition;

use super::{CacheRefreshJob, JobError, Refreshing, blocking};

const TICK: Duration = Duration::from_secs(5);
/// The maximum number of commands that one refresh sends to the writer.
const COMMANDS_MAX: usize = 50;

/// The offset up to which a partition was read, and the end of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    pub read_to: i64,
    pub end: i64,
}

/// Work that waits for the ends of the logs, and its access to the node. Each method of the trait blocks its thread.
pub trait UntilRead: Send + Sync {
    /// Returns the name of the job.
    fn name(&self) -> &'static str;
    /// Returns the number of rows that wait to be checked, or 1 if the rows are not counted.
    fn waiting(&self) -> Result<u64, JobError>;
    /// Returns how far every partition with changes of tables was read. Returns `None` until the ends of all partitions
    /// are known.
    fn reach(&self) -> Option<BTreeMap<TopicPartition, Reach>>;
    /// Checks some of the rows that wait for the end of the logs. Returns the number of rows that still wait to be
    /// checked.
    fn end(&self) -> Result<u64, JobError>;
    /// The job calls `ended` when no row waits any more.
    fn ended(&self, waited: u64);
}

/// The job that waits until the logs have been read to their ends.
pub struct ReadToEnd {
    node: Arc<dyn UntilRead>,
    /// The ends of the logs at the first check of the job. The ends stay fixed, so that later records cannot keep the
    /// job from finishing.
    ends: Arc<Mutex<BTreeMap<TopicPartition, i64>>>,
}

impl ReadToEnd {
    pub fn new(node: Arc<dyn UntilRead>) -> ReadToEnd {
        ReadToEnd { node, ends: Arc::default() }
    }
}

impl CacheRefreshJob for ReadToEnd {
    fn name(&self) -> &'static str {
        self.node.name()
    }

    fn interval(&self) -> Duration {
        TICK
    }

    fn refresh(&self, _now_ms: i64) -> Refreshing {
        let (node, ends) = (Arc::clone(&self.node), Arc::clone(&self.ends));
        blocking(move || {
            let mut ends = ends.lock();
            let waiting = node.waiting()?;
            if waiting == 0 {
                ends.clear();
                return Ok(());
            }
            let Some(reach) = node.reach() else { return Ok(()) };
            for (name, reach) in &reach {
                ends.entry(name.clone()).or_insert(reach.end);
            }
            if !reached(&reach, &ends) {
                return Ok(());
            }
            for _ in 0..COMMANDS_MAX {
                if node.end()? == 0 {
                    node.ended(waiting);
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Whether every log was read up to its noted end, and at least one of the logs has records.
fn reached(reach: &BTreeMap<TopicPartition, Reach>, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    let read = |(name, end): (&TopicPartition, &i64)| reach.get(name).is_some_and(|reach| reach.read_to >= *end);
    ends.values().any(|end| *end > 0) && ends.iter().all(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_ends_when_every_log_was_read_to_the_end_that_it_had() {
        let name = |partition| TopicPartition::new("cdc.posts", partition);
        let reach = |one: i64, other: i64| {
            BTreeMap::from([
                (name(0), Reach { read_to: one, end: one.max(7) }),
                (name(1), Reach { read_to: other, end: 900 }),
            ])
        };
        let ends = BTreeMap::from([(name(0), 5), (name(1), 3)]);
        assert!(!reached(&reach(5, 2), &ends) && !reached(&reach(4, 3), &ends));
        assert!(reached(&reach(5, 3), &ends), "what came later does not count");
        assert!(!reached(&BTreeMap::from([(name(0), Reach { read_to: 5, end: 5 })]), &ends), "one is not assigned");
        let empty = BTreeMap::from([(name(0), 0)]);
        assert!(!reached(&reach(0, 0), &empty), "nothing was written yet: the snapshot is still to come");
    }
}
