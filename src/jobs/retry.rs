//! Retries dead letters whose cause may disappear with time: the schema registry may now have a schema that was unknown
//! before. All dead letters with a lasting cause wait for a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::backoff::Backoff;
use crate::state::DAY_MS;

use super::{CacheRefreshJob, JobError, Refreshing, blocking};

const TICK: Duration = Duration::from_secs(60);
/// The reasons of dead letters that may disappear with time.
const HEALING: [&str; 1] = ["unknown-schema-id"];
/// The waits between the death of a letter and its retries. The wait before the last retry is 17 hours.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(60), last: Duration::from_secs(1_024 * 60) };
/// The maximum number of retries of one dead letter. The last retry is 17 hours after the first.
pub const ATTEMPTS_MAX: u32 = 12;
/// The maximum age of a letter that is retried. If a letter above this age is an event, the event may be past the dedup
/// horizon.
const TRY_FOR_MS: i64 = DAY_MS;
/// The maximum number of dead letters that one refresh checks (`LOOK_MAX`), and the maximum number of dead letters that
/// one refresh retries (`RETRY_MAX`).
const LOOK_MAX: usize = 10_000;
const RETRY_MAX: usize = 100;

/// The facts about a dead letter on which a retry depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub id: u64,
    pub reason: String,
    pub attempts: u32,
    pub died_at_ms: i64,
    /// Whether the dead letter was stored whole, without a cut.
    pub whole: bool,
}

impl Letter {
    /// Whether a retry of the dead letter is due.
    fn due(&self, now_ms: i64) -> bool {
        let wait_ms = BACKOFF.wait_ms(self.attempts.saturating_sub(1));
        // A letter that died while the clock was ahead is due at once.
        let age_ms = if now_ms < self.died_at_ms { wait_ms } else { now_ms - self.died_at_ms };
        let heals = self.whole && HEALING.contains(&self.reason.as_str());
        heals && self.attempts < ATTEMPTS_MAX && (wait_ms..TRY_FOR_MS).contains(&age_ms)
    }
}

/// The outcome of a retry of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// The number of letters that were applied and have left the queue.
    pub healed: u64,
    /// The number of letters that failed again and whose attempt was counted.
    pub kept: u64,
    /// The number of letters that were not tried because the schema registry is out of reach.
    pub waiting: u64,
}

/// The queue of dead letters.
pub trait Letters: Send + Sync {
    /// Returns at most `limit` letters with an id above `after`, oldest first. The call blocks its thread while it
    /// reads the queue.
    fn page(&self, after: Option<u64>, limit: usize) -> Result<Vec<Letter>, JobError>;
    /// Retries the given letters, and waits for the commit. The call blocks its thread until the commit.
    fn retry(&self, ids: Vec<u64>) -> Result<Retried, JobError>;
}

/// The number of retried letters since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    pub healed: AtomicU64,
    pub kept: AtomicU64,
    pub waiting: AtomicU64,
}

/// The job that retries dead letters.
pub struct DeadLetterRetry {
    letters: Arc<dyn Letters>,
    pub counts: Arc<Counts>,
    /// The id of the last letter that a refresh checked. A long queue of dead letters is checked in several refreshes.
    after: Arc<Mutex<Option<u64>>>,
}

impl DeadLetterRetry {
    pub fn new(letters: Arc<dyn Letters>, counts: Arc<Counts>) -> DeadLetterRetry {
        DeadLetterRetry { letters, counts, after: Arc::default() }
    }
}

impl CacheRefreshJob for DeadLetterRetry {
    fn name(&self) -> &'static str {
        "dlq_retry"
    }

    fn interval(&self) -> Duration {
        TICK
    }

    fn refresh(&self, now_ms: i64) -> Refreshing {
        let (letters, counts, after) = (Arc::clone(&self.letters), Arc::clone(&self.counts), Arc::clone(&self.after));
        blocking(move || {
            let mut after = after.lock();
            let page = letters.page(*after, LOOK_MAX)?;
            let due: Vec<_> = page.iter().filter(|letter| letter.due(now_ms)).take(RETRY_MAX).collect();
            // The next refresh begins after the last letter that this refresh has checked or retried. After the end of
            // the queue the job continues at the beginning of the queue.
            *after = match due.last().filter(|_| due.len() == RETRY_MAX) {
                Some(last) => Some(last.id),
                None => page.last().filter(|_| page.len() == LOOK_MAX).map(|last| last.id),
            };
            if due.is_empty() {
                return Ok(());
            }
            let done = letters.retry(due.iter().map(|letter| letter.id).collect())?;
            counts.healed.fetch_add(done.healed, Ordering::Relaxed);
            counts.kept.fetch_add(done.kept, Ordering::Relaxed);
            counts.waiting.fetch_add(done.waiting, Ordering::Relaxed);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Runner;
    use super::*;
    use crate::clock::Clock;
    use crate::state::MINUTE_MS;

    const DIED_MS: i64 = 1_795_500_000_000;

    /// A queue of dead letters in memory. Letters with an id below `heals` can be applied once the registry knows their
    /// schemas.
    #[derive(Default)]
    struct Queue {
        letters: Mutex<BTreeMap<u64, Letter>>,
        known: std::sync::atomic::AtomicBool,
        tried: Mutex<Vec<u64>>,
    }

    impl Letters for Queue {
        fn page(&self, after: Option<u64>, limit: usize) -> Result<Vec<Letter>, JobError> {
            let from = after.map_or(0, |after| after + 1);
            Ok(self.letters.lock().range(from..).take(limit).map(|(_, letter)| letter.clone()).collect())
        }

        fn retry(&self, ids: Vec<u64>) -> Result<Retried, JobError> {
            let (mut letters, mut done) = (self.letters.lock(), Retried::default());
            for id in ids {
                self.tried.lock().push(id);
                if self.known.load(Ordering::SeqCst) {
                    letters.remove(&id);
                    done.healed += 1;
                } else if let Some(letter) = letters.get_mut(&id) {
                    letter.attempts += 1;
                    done.kept += 1;
                }
            }
            Ok(done)
        }
    }

    impl Queue {
        fn put(&self, id: u64, reason: &str) {
            let letter = Letter { id, reason: reason.to_owned(), attempts: 1, died_at_ms: DIED_MS, whole: true };
            self.letters.lock().insert(id, letter);
        }
    }

    #[test]
    fn a_letter_is_due_after_1_2_4_minutes_and_no_more_after_its_last_attempt() {
        let letter = |attempts| Letter {
            id: 1,
            reason: "unknown-schema-id".to_owned(),
            attempts,
            died_at_ms: DIED_MS,
            whole: true,
        };
        for attempts in 1..ATTEMPTS_MAX {
            let at_ms = DIED_MS + (MINUTE_MS << (attempts - 1));
            assert!(!letter(attempts).due(at_ms - 1) && letter(attempts).due(at_ms), "{attempts}");
        }
        assert!(!letter(ATTEMPTS_MAX).due(DIED_MS + DAY_MS - 1) && !letter(u32::MAX).due(DIED_MS + DAY_MS - 1));
        assert!(!letter(1).due(DIED_MS + DAY_MS), "an event would be beyond the dedup horizon");
        assert!(!Letter { whole: false, ..letter(1) }.due(DIED_MS + DAY_MS - 1));
        for poison in ["malformed-json", "malformed-avro", "key-mismatch", "row-refused", "conflict"] {
            assert!(!Letter { reason: poison.to_owned(), ..letter(1) }.due(DIED_MS + DAY_MS - 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_is_tried_with_backoff_until_it_heals_and_poison_never() {
        let (queue, counts, clock) = (Arc::new(Queue::default()), Arc::new(Counts::default()), Clock::manual(DIED_MS));
        queue.put(1, "malformed-json");
        queue.put(2, "unknown-schema-id");
        let job = DeadLetterRetry::new(Arc::clone(&queue) as _, Arc::clone(&counts));
        let runner = Arc::new(Runner::new(vec![Box::new(job)], clock.clone(), 3));
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        tokio::spawn(Arc::clone(&runner).run(stopped));
        for minute in 0..40 {
            clock.set(DIED_MS + minute * MINUTE_MS);
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        // The six attempts of each letter were 1, 2, 4, 8, 16 and 32 minutes after its death.
        assert_eq!((counts.kept.load(Ordering::Relaxed), &queue.tried.lock()[..]), (6, &[2; 6][..]));
        queue.known.store(true, Ordering::SeqCst);
        clock.set(DIED_MS + 64 * MINUTE_MS);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(counts.healed.load(Ordering::Relaxed), 1);
        assert_eq!(queue.letters.lock().keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn a_long_queue_is_looked_through_in_turns() {
        let queue = Arc::new(Queue::default());
        (0..25_000).for_each(|id| queue.put(id, if id % 500 == 0 { "unknown-schema-id" } else { "malformed-json" }));
        (30_000..30_250).for_each(|id| queue.put(id, "unknown-schema-id"));
        queue.known.store(true, Ordering::SeqCst);
        let job = DeadLetterRetry::new(Arc::clone(&queue) as _, Arc::default());
        for _ in 0..5 {
            job.refresh(DIED_MS + MINUTE_MS).await.unwrap();
        }
        assert_eq!(queue.tried.lock().len(), 300, "each once, a bounded number at a time");
        assert!(queue.letters.lock().values().all(|letter| letter.reason == "malformed-json"));
    }
}
