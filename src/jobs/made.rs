//! The JSON that other services read under a key, at the present time. It is HTTP's answer. The copies in a Redis
//! server and the answers of the Redis port are made by this module.

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

/// The prefix of a key before a user's id: the first page of the ranked feed.
pub const FEED: &str = "feed:v1:";
/// The prefix of a key before a user's id: suggestions.
pub const SUGGESTIONS: &str = "nova:cache:suggested_users:";
/// The prefix of a key before a window's name: trending.
pub const TRENDING: &str = "nova:cache:trending:";

/// The data from which values are made.
pub struct Maker<'a> {
    pub state: &'a RwLock<State>,
    pub trending: &'a Board,
    pub feeds: &'a Snapshots,
    pub rising: &'a Rising,
    pub dismissals: &'a Dismissals,
    /// The key for the MACs of cursors.
    pub cursor_key: &'a [u8; 32],
}

impl Maker<'_> {
    /// The first page of a user's ranked feed, with [`PAGE_MAX`] posts.
    pub fn feed(&self, user: Id, now_ms: i64) -> (String, Page) {
        let (list, algorithm, late) = (self.trending.last(Window::Day), Algorithm::Ranked, || false);
        let (limit, trending) = (PAGE_MAX, &list.numbers);
        let shown = &shown::NOTHING;
        let ask = Ask { user, algorithm, cursor: None, shown, limit, now_ms, trending, late: &late };
        let page = self.feeds.page(self.state, &ask);
        let shape = Shape { explain: false, hydrate: false, latency_us: 0 };
        (page_json(&page, user, algorithm, self.cursor_key, &shape), page)
    }

    /// The users whom a user could follow, at most [`SUGGESTIONS_MAX`]. The caller holds the lock of the state.
    pub fn suggestions(&self, state: &State, user: Id, now_ms: i64) -> (String, Vec<Suggestion>) {
        let number = state.users.number(user).unwrap_or(UserNo::NOBODY);
        let dismissed = self.dismissals.of(user, state);
        let rising = || self.rising.list(state, now_ms);
        let list = discover::suggest_with(state, number, now_ms, SUGGESTIONS_MAX, &dismissed, rising);
        (discover::json(&list, now_ms), list)
    }

    /// The list of a window. `None` if the window is not kept.
    pub fn trending(&self, window: Window, now_ms: i64) -> Option<String> {
        let kept = self.trending.windows().contains(&window);
        // If posts were retracted since the last tick, a new list is made.
        kept.then(|| self.trending.get(window, now_ms).page(0, TRENDING_MAX, |_| true).body)
    }
}
