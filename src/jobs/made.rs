//! Makes the JSON that other services read under a key, for the present time. The JSON under a key is the body of an
//! HTTP answer. This module makes the copies in a Redis server, and also the answers of the Redis port.

use parking_lot::RwLock;

use crate::discover::dismissals::Dismissals;
use crate::discover::rising::Rising;
use crate::discover::{self, SUGGESTIONS_MAX, Suggestion};
use crate::event::Id;
use crate::feed::page::{PAGE_MAX, Shape, page_json};
use crate::feed::shown;
use crate::feed::snapshot::{Algorithm, Ask, Page, Snapshots};
use crate::feed::trending::publish::Board;
use crate::feed::trending::{TRENDING_MAX, Window};
use crate::state::{State, UserNo};

/// The prefix of the keys of feeds: the key ends with a user's id, and its value is the first page of the user's ranked
/// feed.
pub const FEED: &str = "feed:v1:";
/// The prefix of the keys of suggestions: the key ends with a user's id.
pub const SUGGESTIONS: &str = "nova:cache:suggested_users:";
/// The prefix of the keys of trending lists: the key ends with the name of a window.
pub const TRENDING: &str = "nova:cache:trending:";

/// The data from which the values of keys are made.
pub struct Maker<'a> {
    pub state: &'a RwLock<State>,
    pub trending: &'a Board,
    pub feeds: &'a Snapshots,
    pub rising: &'a Rising,
    pub dismissals: &'a Dismissals,
    /// The key for the MACs of pages' cursors.
    pub cursor_key: &'a [u8; 32],
}

impl Maker<'_> {
    /// Returns the first page of a user's ranked feed, with up to [`PAGE_MAX`] posts.
    pub fn feed(&self, user: Id, now_ms: i64) -> (String, Page) {
        let (list, algorithm, late) = (self.trending.last(Window::Day), Algorithm::Ranked, || false);
        let (limit, trending) = (PAGE_MAX, &list.numbers);
        let shown = &shown::NOTHING;
        let ask = Ask { user, algorithm, cursor: None, shown, limit, now_ms, trending, late: &late };
        let page = self.feeds.page(self.state, &ask);
        let shape = Shape { explain: false, hydrate: false, latency_us: 0 };
        (page_json(&page, user, algorithm, self.cursor_key, &shape), page)
    }

    /// Returns at most [`SUGGESTIONS_MAX`] users whom a user could follow. The caller must hold the lock of the state.
    pub fn suggestions(&self, state: &State, user: Id, now_ms: i64) -> (String, Vec<Suggestion>) {
        let number = state.users.number(user).unwrap_or(UserNo::NOBODY);
        let dismissed = self.dismissals.of(user, state);
        let rising = || self.rising.list(state, now_ms);
        let list = discover::suggest_with(state, number, now_ms, SUGGESTIONS_MAX, &dismissed, rising);
        (discover::json(&list, now_ms), list)
    }

    /// Returns the trending list of a window. Returns `None` if nova does not keep the window.
    pub fn trending(&self, window: Window, now_ms: i64) -> Option<String> {
        let kept = self.trending.windows().contains(&window);
        // If posts were retracted since the last tick, `get` makes a new list.
        kept.then(|| self.trending.get(window, now_ms).page(0, TRENDING_MAX, |_| true).body)
    }
}
