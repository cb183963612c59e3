//! Makes trending lists, feeds and suggestions for any time, for `nova dump` and the admin routes. nova makes the lists
//! only from the state in memory, and ignores which posts a reader has already seen.

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use crate::discover;
use crate::event::Id;
use crate::feed::page::{Shape, page_json};
use crate::feed::shown;
use crate::feed::snapshot::{Algorithm, Ask, Snapshots};
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::publish::Published;
use crate::feed::trending::{self, Window};
use crate::state::{State, UserNo};

/// The time for which nova makes a list, and the length of the list.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub now_ms: i64,
    pub limit: usize,
}

/// Makes the list of trending posts of a window.
pub fn trending(state: &State, overrides: &Overrides, window: Window, asked: Asked) -> String {
    published(state, overrides, window, asked.now_ms).page(0, asked.limit, |_| true).body
}

fn published(state: &State, overrides: &Overrides, window: Window, now_ms: i64) -> Published {
    Published::new(state, trending::rank(state, window, now_ms, overrides))
}

/// Makes the first page of a user's feed with the reasons for every post. `feeds` has the settings of feeds and no
/// snapshots. `key` signs the cursor of the page.
pub fn feed(
    state: &RwLock<State>,
    (feeds, overrides): (&Snapshots, &Overrides),
    user: Id,
    key: &[u8; 32],
    Asked { now_ms, limit }: Asked,
) -> String {
    let trending = published(&state.read(), overrides, Window::Day, now_ms).numbers;
    let (algorithm, shown) = (Algorithm::Ranked, &shown::NOTHING);
    let ask = Ask { user, algorithm, cursor: None, shown, limit, now_ms, trending: &trending, late: &|| false };
    let page = feeds.page(state, &ask);
    page_json(&page, user, algorithm, key, &Shape { explain: true, hydrate: false, latency_us: 0 })
}

/// Makes the list of users whom a user could follow, with the reasons.
pub fn suggestions(state: &State, user: Id, dismissed: &FxHashSet<UserNo>, asked: Asked) -> String {
    let number = state.users.number(user).unwrap_or(UserNo::NOBODY);
    discover::json(&discover::suggest(state, number, asked.now_ms, asked.limit, dismissed), asked.now_ms)
}
