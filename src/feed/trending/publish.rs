//! Trending lists as HTTP serves them: the bytes of one generation, which are made in advance. A reader of a trending
//! list takes an `Arc` and does not lock the state. Only the first reader after a retraction (N11) or in a new minute
//! makes the list again.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::event::{Action, Id};
use crate::state::{PostNo, State};

use super::list::{Entry, Trending, generated_at_ms};
use super::overrides::{Override, Overrides};
use super::tally::Tallies;
use super::warmed::{Counted, Warmed};
use super::window::{Window, kept};

/// The maximum number of older generations of one window that nova keeps for readers who turn pages.
pub const GENERATIONS_MAX: usize = 32;

/// One generation of the trending list of a window.
#[derive(Debug)]
pub struct Published {
    pub list: Trending,
    /// The numbers that the posts have in the state.
    pub numbers: Vec<PostNo>,
    /// A hash that identifies the list's content: the same posts with the same counts have the same generation, even
    /// after a restart.
    pub generation: u64,
    /// The JSON objects of the list's posts, with commas between them.
    posts: String,
    /// The index in `posts` at which each JSON object ends.
    ends: Vec<usize>,
    /// Whether nova has returned a cursor of this generation.
    paged: AtomicBool,
    /// The count of retractions when the generation was made (see [`State::retractions`]).
    retractions: u64,
}

/// An answer to `GET /api/v1/feed/trending`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrendingPage {
    pub etag: String,
    pub body: String,
}

impl Published {
    pub fn new(state: &State, list: Trending) -> Published {
        let numbers = list.entries.iter().filter_map(|entry| state.post_ids.number(entry.post)).collect();
        Published::with(numbers, list, 0)
    }

    fn with(numbers: Vec<PostNo>, list: Trending, retractions: u64) -> Published {
        let (mut posts, mut ends) = (String::with_capacity(list.entries.len() * 300), Vec::new());
        for (entry, rank) in list.entries.iter().zip(1..) {
            if rank > 1 {
                posts.push(',');
            }
            put_json(&mut posts, entry, rank);
            ends.push(posts.len());
        }
        let generation = xxhash_rust::xxh3::xxh3_64(posts.as_bytes());
        Published { list, numbers, generation, posts, ends, paged: AtomicBool::new(false), retractions }
    }

    /// Returns a page of at most `limit` posts that begins at the place `start`, counted from 0. The page leaves out
    /// posts for whose place `shown` returns false.
    pub fn page(&self, start: usize, limit: usize, shown: impl Fn(usize) -> bool) -> TrendingPage {
        let mut posts = Vec::with_capacity(limit);
        let mut next = start;
        while next < self.ends.len() && posts.len() < limit {
            posts.extend(shown(next).then(|| self.post_json(next)));
            next += 1;
        }
        let cursor = match next < self.ends.len() {
            true => {
                self.paged.store(true, Ordering::Relaxed);
                format!("\"{:016x}-{next}\"", self.generation)
            }
            false => "null".to_owned(),
        };
        let at = jiff::Timestamp::from_millisecond(self.list.generated_at_ms).unwrap_or_default();
        let body = format!(
            r#"{{"posts":[{}],"window":"{}","generated_at":"{at:.3}","total_posts":{},"generation":"{:016x}","cursor":{cursor}{}}}"#,
            posts.join(","),
            self.list.window.name(),
            self.list.total,
            self.generation,
            if self.list.warmed { r#","degraded":["warmed"]"# } else { "" },
        );
        let etag = format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(body.as_bytes()));
        TrendingPage { etag, body }
    }

    /// Returns the JSON object of the post at a place, counted from 0.
    pub fn post_json(&self, place: usize) -> &str {
        let from = if place == 0 { 0 } else { self.ends[place - 1] + 1 };
        &self.posts[from..self.ends[place]]
    }
}

/// Parses a cursor, and returns its generation and its place.
pub fn parse_cursor(text: &str) -> Option<(u64, usize)> {
    let (generation, place) = text.split_once('-')?;
    if generation.len() != 16 || !generation.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let digits = !place.is_empty() && place.len() <= 4 && place.bytes().all(|b| b.is_ascii_digit());
    Some((u64::from_str_radix(generation, 16).ok()?, place.parse().ok().filter(|_| digits)?))
}

fn put_json(out: &mut String, entry: &Entry, rank: usize) {
    let count = |action: Action| entry.counts[action as usize];
    let engaged = count(Action::Like) + count(Action::Comment) + count(Action::Share);
    let rate = match count(Action::Impression) {
        0 => 0.0,
        impressions => (engaged as f64 / impressions as f64 * 1e4).round() / 1e4,
    };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r#"{{"post_id":"{}","author_id":"{}","rank":{rank},"score":{},"views":{},"likes":{},"comments":{},"shares":{},"impressions":{},"engagement_rate":{rate}{}}}"#,
        entry.post,
        entry.author,
        Tenths(entry.score),
        count(Action::View),
        count(Action::Like),
        count(Action::Comment),
        count(Action::Share),
        count(Action::Impression),
        if entry.pinned { r#","pinned":true"# } else { "" },
    );
}

/// A number that is stored in tenths and printed as a JSON number.
struct Tenths(i64);

impl std::fmt::Display for Tenths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}", self.0 / 10),
            tenth => write!(f, "{}.{tenth}", self.0 / 10),
        }
    }
}

/// The data from which nova makes the lists, in addition to the state.
#[derive(Default)]
struct Maker {
    tallies: Tallies,
    overrides: Overrides,
    /// The counts from ClickHouse for the windows that do not have enough counts of their own yet.
    warmed: [Option<Warmed>; 4],
}

/// The current trending lists of all windows.
pub struct Board {
    state: Arc<RwLock<State>>,
    retractions: Arc<AtomicU64>,
    /// The lock that a thread holds while it makes lists.
    maker: Mutex<Maker>,
    /// The current trending list of each window. If nova does not keep a window, the window's list is empty.
    current: [watch::Sender<Arc<Published>>; 4],
    windows: Vec<Window>,
    /// The earlier generations for which nova has returned a cursor, oldest first.
    kept: Mutex<[VecDeque<Arc<Published>>; 4]>,
}

impl Board {
    pub fn new(state: Arc<RwLock<State>>, overrides: Overrides, now_ms: i64) -> Board {
        let retractions = state.read().retractions();
        let empty = |window| {
            let (generated_at_ms, entries) = (i64::MIN, Vec::new());
            Trending { window, generated_at_ms, total: 0, entries, warmed: false }
        };
        let current =
            Window::ALL.map(|window| watch::Sender::new(Arc::new(Published::with(Vec::new(), empty(window), 0))));
        let maker = Mutex::new(Maker { overrides, ..Maker::default() });
        let windows = kept(state.read().ranking()).collect();
        let board = Board { state, retractions, maker, current, windows, kept: Mutex::default() };
        board.refresh(now_ms);
        board
    }

    /// Brings the list of every kept window up to date. One call of `refresh` is one tick of trending.
    pub fn refresh(&self, now_ms: i64) {
        self.make(&mut self.maker.lock(), &self.windows, now_ms);
    }

    /// Returns the windows whose lists nova keeps.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Returns the last published list of a window. If a retraction has affected the published list, `get` makes a new
    /// list.
    pub fn get(&self, window: Window, now_ms: i64) -> Arc<Published> {
        let sender = &self.current[window as usize];
        let valid = || {
            let known = sender.borrow();
            self.valid(&known, now_ms).then(|| Arc::clone(&known))
        };
        if let Some(known) = valid() {
            return known;
        }
        let mut maker = self.maker.lock();
        // The previous holder of the lock may have made the list.
        if let Some(known) = valid() {
            return known;
        }
        self.make(&mut maker, &[window], now_ms);
        Arc::clone(&sender.borrow())
    }

    /// Returns the list of a window as of the last tick. `last` is for callers that check the visibility of each post.
    pub fn last(&self, window: Window) -> Arc<Published> {
        Arc::clone(&self.current[window as usize].borrow())
    }

    fn valid(&self, known: &Published, now_ms: i64) -> bool {
        let held = self.windows.contains(&known.list.window);
        !held
            || known.retractions == self.retractions.load(Ordering::Acquire)
                && known.list.generated_at_ms == generated_at_ms(now_ms)
    }

    fn make(&self, maker: &mut Maker, windows: &[Window], now_ms: i64) {
        // The number of retractions is read before the count, so that a retraction during the count makes the lists
        // invalid.
        let retractions = self.retractions.load(Ordering::Acquire);
        // If the update panics, the new tallies in `maker` count everything again at the next tick.
        let mut used = std::mem::take(&mut maker.tallies);
        used.update(&self.state, now_ms);
        for window in windows {
            let mut list = used.rank(&self.state, *window, now_ms, &maker.overrides);
            let warmed = &mut maker.warmed[*window as usize];
            if warmed.as_ref().is_some_and(|warmed| warmed.over(&self.state.read(), &list, now_ms)) {
                *warmed = None;
            }
            if let Some(warmed) = warmed {
                list = warmed.list(&self.state, list, &maker.overrides, now_ms);
            }
            let numbers = {
                let state = self.state.read();
                list.entries.iter().filter_map(|entry| state.post_ids.number(entry.post)).collect()
            };
            self.publish(Published::with(numbers, list, retractions));
        }
        maker.tallies = used;
    }

    fn publish(&self, made: Published) {
        let window = made.list.window as usize;
        let made = Arc::new(made);
        self.current[window].send_if_modified(|known| {
            let changed = known.generation != made.generation || known.list.total != made.list.total;
            let before = std::mem::replace(known, made);
            let paged = before.paged.load(Ordering::Relaxed);
            if known.generation == before.generation {
                known.paged.fetch_or(paged, Ordering::Relaxed);
            } else if paged {
                let kept = &mut self.kept.lock()[window];
                kept.push_back(before);
                if kept.len() > GENERATIONS_MAX {
                    kept.pop_front();
                }
            }
            changed
        });
    }

    /// Returns a page of a window's list. The page is from the cursor's generation if nova still keeps this generation,
    /// and from the current generation otherwise. A page of an older generation leaves out posts that may no longer be
    /// shown (N11).
    pub fn page(&self, window: Window, cursor: Option<(u64, usize)>, limit: usize, now_ms: i64) -> TrendingPage {
        let current = self.get(window, now_ms);
        let Some((generation, start)) = cursor else { return current.page(0, limit, |_| true) };
        if generation == current.generation {
            return current.page(start, limit, |_| true);
        }
        let kept = self.kept.lock()[window as usize].iter().rfind(|known| known.generation == generation).cloned();
        match kept {
            Some(kept) => {
                let state = self.state.read();
                kept.page(start, limit, |place| state.visible(kept.numbers[place]))
            }
            None => current.page(start, limit, |_| true),
        }
    }

    /// Returns a receiver of every new generation of a window.
    pub fn subscribe(&self, window: Window) -> watch::Receiver<Arc<Published>> {
        self.current[window as usize].subscribe()
    }

    /// Sets or removes the override of a post. When `put_override` returns, every list contains the override.
    pub fn put_override(&self, post: Id, what: Option<Override>, now_ms: i64) {
        let mut maker = self.maker.lock();
        maker.overrides.put(post, what);
        self.make(&mut maker, &self.windows, now_ms);
        // The earlier generations do not contain the new override, so they are dropped.
        self.kept.lock().iter_mut().for_each(VecDeque::clear);
    }

    pub fn overrides(&self) -> Overrides {
        self.maker.lock().overrides.clone()
    }

    /// Marks every window as waiting for counts of its own, because the store has no counts yet.
    pub fn begin_warm(&self, now_ms: i64) {
        let waits = |window| self.windows.contains(&window).then(|| Warmed::new(window, now_ms));
        self.maker.lock().warmed = Window::ALL.map(waits);
    }

    /// Returns the windows that still wait for counts of their own.
    pub fn warming(&self) -> Vec<Window> {
        let maker = self.maker.lock();
        Window::ALL.into_iter().filter(|window| maker.warmed[*window as usize].is_some()).collect()
    }

    /// Takes ClickHouse's counts for a window, highest score first. The list contains the counts of ClickHouse from the
    /// next tick on.
    pub fn warm(&self, window: Window, counted: Vec<Counted>) {
        if let Some(warmed) = &mut self.maker.lock().warmed[window as usize] {
            warmed.put(counted);
        }
    }
}
