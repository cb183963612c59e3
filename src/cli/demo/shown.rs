//! The lists that the demo prints, within the terminal's width.

use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::discover::{self, Suggestion};
use crate::event::Id;
use crate::feed::candidates;
use crate::feed::rank::{self, Making};
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::{self, Window};
use crate::state::{State, UserNo};

use super::super::error::CliError;
use super::super::out;
use super::data::Social;

/// The number of posts that the demo prints of each list.
pub(super) const POSTS: usize = 5;
const SUGGESTIONS: usize = 5;
/// The indentation of the lines below an entry of a list.
const INDENT: &str = "     ";

pub(super) struct Show<'a> {
    state: &'a State,
    /// The author's name and the caption of each post.
    posts: FxHashMap<Id, (&'a str, &'a str)>,
    now_ms: i64,
    width: usize,
}

impl<'a> Show<'a> {
    pub fn new(state: &'a State, social: &'a Social, now_ms: i64) -> Show<'a> {
        let posts = social.posts.iter().map(|post| {
            let author = social.users.get(post.author as usize).map_or("", |user| &*user.username);
            (post.id, (author, &*post.caption))
        });
        Show { state, posts: posts.collect(), now_ms, width: out::width() }
    }

    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.now_ms).unwrap_or_default()
    }

    /// Prints a text on one line, shortened to the terminal's width.
    fn line(&self, text: &str) -> Result<(), CliError> {
        let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if flat.chars().count() <= self.width {
            return Ok(out::line(&flat)?);
        }
        let kept: String = flat.chars().take(self.width.saturating_sub(1)).collect();
        Ok(out::line(&format!("{kept}…"))?)
    }

    fn words(&self, post: Id) -> String {
        self.posts.get(&post).map_or(String::new(), |(author, caption)| format!("{INDENT}{author}: {caption}"))
    }

    /// Prints the trending posts, and returns the last printed post.
    pub fn trending(&self) -> Result<Option<Id>, CliError> {
        let mut last = None;
        for window in [Window::Hour, Window::Day] {
            out::line(&format!("\ntrending {} at {:.0}", window.name(), self.now()))?;
            let list = trending::rank(self.state, window, self.now_ms, &Overrides::default());
            for (entry, rank) in list.entries.iter().take(POSTS).zip(1..) {
                let [_, views, likes, comments, shares] = entry.counts;
                out::line(&format!("{rank:>3}  {}  {:.1}", entry.post, entry.score as f64 / 10.0))?;
                self.line(&self.words(entry.post))?;
                self.line(&format!("{INDENT}views {views}, likes {likes}, comments {comments}, shares {shares}"))?;
                last = Some(entry.post);
            }
        }
        Ok(last)
    }

    /// Prints the feed of the user who follows the most people, with the reasons for each post, and suggestions for
    /// this user.
    pub fn person(&self, data_dir: &Path) -> Result<Option<Id>, CliError> {
        let state = self.state;
        let follows = |user: &UserNo| state.graph.followees_len(*user);
        let Some(user) = state.users.numbers().max_by_key(follows) else { return Ok(None) };
        let name = state.user_row(user).map_or("", |row| &row.username);
        let id = state.users.id(user);
        out::line(&format!("\nthe feed of {name}"))?;
        let trending = candidates::trending_posts(state, self.now_ms);
        let feed = rank::feed(state, user, &Making::strict(self.now_ms, &trending));
        for (post, place) in feed.posts.iter().take(POSTS).zip(1..) {
            let terms = post.terms(&feed.scoring);
            let [recency, engagement, affinity] = terms;
            out::line(&format!("{place:>3}  {}  {:.3}", post.post, terms.iter().sum::<f64>()))?;
            self.line(&self.words(post.post))?;
            let terms = format!("{recency:.3} recency + {engagement:.3} engagement + {affinity:.3} affinity");
            self.line(&format!("{INDENT}{terms}"))?;
        }
        out::line(&format!("\n{name} could follow"))?;
        for suggestion in discover::suggest(state, user, self.now_ms, SUGGESTIONS, &FxHashSet::default()) {
            let Suggestion { user, username, mutual, .. } = &suggestion;
            self.line(&format!("{INDENT}{user}  {username}, {mutual} mutual"))?;
        }
        out::line(&format!("\nthe whole feed:\n  nova --data {} \\\n    dump --feed {id}", data_dir.display()))?;
        Ok(Some(id))
    }
}
