//! What other services read under a key, as of now: the JSON that HTTP answers. Copies in a Redis are made by it, and so are
//! the answers of the Redis port.

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
use crate::state::State;

/// Before a user's id: the first page of the ranked feed.
pub const FEED: &str = "feed:v1:";
/// Before a user's id.
pub const SUGGESTIONS: &str = "nova:cache:suggested_users:";
/// Before a window's name.
pub const TRENDING: &str = "nova:cache:trending:";

/// What it is made from.
pub struct Maker<'a> {
    pub state: &'a RwLock<State>,
    pub trending: &'a Board,
    pub feeds: &'a Snapshots,
    pub rising: &'a Rising,
    pub dismissals: &'a Dismissals,
    /// Makes the MACs of cursors.
    pub cursor_key: &'a [u8; 32],
}

impl Maker<'_> {
    /// The first page of a user's ranked feed, of [`PAGE_MAX`] posts.
    pub fn feed(&self, user: Id, now_ms: i64) -> (String, Page) {
        let (list, algorithm, late) = (self.trending.last(Window::Day), Algorithm::Ranked, || false);
        let (limit, trending) = (PAGE_MAX, &list.numbers);
        let shown = &shown::NOTHING;
        let ask = Ask { user, algorithm, cursor: None, shown, limit, now_ms, trending, late: &late };
        let page = self.feeds.page(self.state, &ask);
        let shape = Shape { explain: false, hydrate: false, latency_us: 0 };
        (page_json(&page, user, algorithm, self.cursor_key, &shape), page)
    }

    /// Whom a user could follow, at most [`SUGGESTIONS_MAX`]; the caller holds the state.
    pub fn suggestions(&self, state: &State, user: Id, now_ms: i64) -> (String, Vec<Suggestion>) {
        let number = state.users.number(user).unwrap_or(u32::MAX);
        let dismissed = self.dismissals.of(user, state);
        let rising = || self.rising.list(state, now_ms);
        let list = discover::suggest_with(state, number, now_ms, SUGGESTIONS_MAX, &dismissed, rising);
        (discover::json(&list, now_ms), list)
    }

    /// The list of a window; `None` of one that is not kept.
    pub fn trending(&self, window: Window, now_ms: i64) -> Option<String> {
        let kept = self.trending.windows().contains(&window);
        // Not the last tick's, if something was taken back since.
        kept.then(|| self.trending.get(window, now_ms).page(0, TRENDING_MAX, |_| true).body)
    }
}
