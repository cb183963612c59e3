//! Keeps the keys fresh: reads their source at intervals, and when a token names an unknown key. The request with such
//! a token waits for that read. If a read fails, the last valid keys are kept.

use std::time::Duration;

use tokio::time::Instant;

use crate::breaker::BreakerState;

use super::keeper::{Keeper, Looks};
use super::keys::KeySet;
use super::refusal::{Reason, Refusal};
use super::source::{Fetch, KeyFile, KeySource};
use super::subject::Subject;
use super::verify::Auth;

/// The interval of requests to an address while it answers.
const FETCH_EVERY: Duration = Duration::from_secs(300);
/// The number of reads of an address that tokens may cause at once...
const FETCH_BURST: u32 = 5;
/// ...and then one read in this time, so that nobody can overload the issuer through nova with ids of keys that do not
/// exist.
const FETCH_REFILL: Duration = Duration::from_secs(10);
/// The shortest time between two reads of an address.
const FETCH_GAP: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(60);
/// How often a file is read, and how soon again after a token names an unknown key.
const FILE_EVERY: Duration = Duration::from_secs(2);
const FILE_GAP: Duration = Duration::from_millis(100);
/// How long each request waits for a read.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The generic cell rate algorithm (ITU-T I.371) for reads of an address.
struct Pace {
    /// When the backlog of the reads so far is worked off.
    due: Instant,
}

impl Pace {
    /// Notes a read. Returns the time until the next read that a token may cause.
    fn made(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + FETCH_REFILL;
        let ahead = self.due - now;
        ahead.saturating_sub(FETCH_REFILL * FETCH_BURST).max(FETCH_GAP)
    }
}

impl Auth {
    /// Like [`Auth::verify`]. If no known key fits the token, the request waits for a read of the keys that began after
    /// the request came.
    pub async fn verify_or_look(&self, token: &str, now_ms: i64) -> Result<Subject, Refusal> {
        match self.verify(token, now_ms) {
            // The future is boxed, because it is rare and large, and every request would have to move it.
            Err(Refusal { look: true, detail, .. }) if self.looks_again() => {
                Box::pin(self.verify_later(token, now_ms, detail)).await
            }
            known => known,
        }
    }

    fn looks_again(&self) -> bool {
        !matches!(self.source, KeySource::Development)
    }

    async fn verify_later(&self, token: &str, now_ms: i64, unknown: String) -> Result<Subject, Refusal> {
        let away = |why: &str| Refusal::new(Reason::KeysAway, format!("{unknown}; {why}"));
        let Ok(_place) = self.keeper.places.try_acquire() else {
            return Err(away("too many requests wait for the keys"));
        };
        let mut looks = self.keeper.looks.subscribe();
        // A read that has already begun may have been too early to see the key.
        let before = looks.borrow().begun;
        let until = Instant::now() + WAIT_MAX;
        loop {
            let seen = *looks.borrow_and_update();
            if seen.failed && seen.begun == seen.done {
                return Err(away("the last look at them failed"));
            }
            if seen.begun == seen.done {
                self.keeper.wanted.notify_one();
            }
            let ended = tokio::time::timeout_at(until, looks.wait_for(|looks| looks.done > seen.done)).await;
            let Ok(Ok(now)) = ended.map(|ended| ended.map(|looks| *looks)) else {
                return Err(away("they did not come in time"));
            };
            match self.verify(token, now_ms) {
                Err(Refusal { look: true, .. }) if now.failed => return Err(away("the look at them failed")),
                Err(Refusal { look: true, .. }) if now.done <= before => {}
                told => return told,
            }
        }
    }

    /// Keeps the keys fresh. It does not end if there is a source of keys.
    pub async fn keep_keys(&self) {
        match &self.source {
            KeySource::Development => {}
            KeySource::File(file) => self.keep_file(file).await,
            KeySource::Url(fetch) => self.keep_fetched(fetch).await,
        }
    }

    async fn keep_file(&self, file: &KeyFile) {
        loop {
            tokio::time::sleep(FILE_GAP).await;
            let _ = tokio::time::timeout(FILE_EVERY - FILE_GAP, self.keeper.wanted.notified()).await;
            self.keeper.looks.send_modify(|looks| looks.begun += 1);
            self.reload(file);
            // A file that cannot be used has no key, so waiting longer would not help.
            self.keeper.looks.send_modify(|looks| looks.done += 1);
        }
    }

    /// Reads a changed file. Returns whether the keys changed.
    fn reload(&self, file: &KeyFile) -> bool {
        match file.read() {
            Ok(None) => false,
            Ok(Some(keys)) => {
                self.replace(keys);
                true
            }
            Err(detail) => {
                if file.complains(&detail) {
                    tracing::warn!("auth.{}: {detail}; the keys stay as they were", file.setting);
                }
                false
            }
        }
    }

    async fn keep_fetched(&self, fetch: &Fetch) {
        let Keeper { looks, wanted, breaker, .. } = &self.keeper;
        let (mut backoff, mut pace) = (BACKOFF_FIRST, Pace { due: Instant::now() });
        loop {
            looks.send_modify(|looks| looks.begun += 1);
            let fetched = fetch.get().await;
            let failed = fetched.is_err();
            match fetched {
                Ok(keys) => {
                    *breaker.lock() = BreakerState::Closed;
                    self.replace(keys);
                }
                Err(error) => {
                    tracing::warn!("auth.jwks_url: {error}; the keys stay as they were");
                    *breaker.lock() = BreakerState::Open;
                }
            }
            looks.send_modify(|looks| *looks = Looks { done: looks.done + 1, failed, ..*looks });
            let gap = pace.made(Instant::now());
            if failed {
                tokio::time::sleep(backoff).await;
                *breaker.lock() = BreakerState::HalfOpen;
                backoff = (backoff * 2).min(BACKOFF_LAST);
            } else {
                backoff = BACKOFF_FIRST;
                tokio::time::sleep(gap).await;
                // A new key shows itself by its first token.
                let _ = tokio::time::timeout(FETCH_EVERY - gap, wanted.notified()).await;
            }
        }
    }

    /// Replaces the key set. Tokens of removed keys are refused from now on.
    fn replace(&self, mut keys: KeySet) {
        let mut current = self.keys.write();
        for odd in keys.left_out.iter().filter(|odd| !current.left_out.contains(odd)) {
            tracing::warn!("the key set: {odd}; it is left out");
        }
        if !current.equals(&keys) {
            tracing::info!("the key set changed");
        }
        keys.keep(&current);
        *current = keys.into();
    }

    /// The breaker of `auth.jwks_url`. `None` if no address is configured.
    pub fn breaker(&self) -> Option<BreakerState> {
        matches!(self.source, KeySource::Url(_)).then(|| *self.keeper.breaker.lock())
    }
}

#[cfg(test)]
impl Auth {
    /// Reads a file at once. Returns whether the keys changed.
    pub(super) fn reload_file(&self) -> bool {
        match &self.source {
            KeySource::File(file) => self.reload(file),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_cause_a_burst_of_looks_and_then_one_in_a_while(gaps in proptest::collection::vec(0..30_000u64, 1..60)) {
            let begin = Instant::now();
            let (mut pace, mut now, mut made) = (Pace { due: begin }, begin, Vec::new());
            for gap in gaps {
                made.push(now);
                let wait = pace.made(now);
                prop_assert!(wait >= FETCH_GAP && wait <= FETCH_REFILL);
                now += wait + Duration::from_millis(gap);
            }
            for (first, from) in made.iter().enumerate() {
                for (last, to) in made.iter().enumerate().skip(first) {
                    let most = f64::from(FETCH_BURST) + 1.0 + (*to - *from).as_secs_f64() / FETCH_REFILL.as_secs_f64();
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{} looks in {:?}", last - first + 1, *to - *from);
                }
            }
        }
    }
}
