//! One of the two configurations in a comparison. Each configuration has its own pipeline and its own store, and
//! advances step by step.

use std::sync::Arc;

use crossbeam_channel::bounded;
use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use crate::app::{self, AppError, Running, Setup};
use crate::cli::error::CliError;
use crate::cli::report;
use crate::cli::scratch::Scratch;
use crate::discover::suggest;
use crate::event::Id;
use crate::feed::candidates::trending_posts;
use crate::feed::rank::{Making, feed};
use crate::feed::trending::overrides::Overrides;
use crate::feed::trending::{Window, kept, rank};
use crate::pipeline::writer::Message;
use crate::state::{PostNo, State};

use super::log::{Log, Steps};

/// The number of first places that the comparison looks at in each list.
pub(super) const FIRST: usize = 20;

/// A post at its place in a feed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    pub post: Id,
    pub author: Id,
    pub age_h: f64,
}

/// One configuration with its own pipeline and store.
pub(super) struct Side {
    running: Running,
    steps: Steps,
    /// The directory of the store, which is removed after the store is closed.
    _scratch: Scratch,
}

impl Side {
    /// Starts the pipeline of one configuration, whose store is in `scratch`.
    pub(super) fn start(setup: &Setup, scratch: Scratch, log: &Log, ends_ms: Vec<i64>) -> Result<Side, CliError> {
        let (source, steps) = log.stepped(ends_ms)?;
        let running = app::open(setup)?.start(Box::new(source), setup)?;
        Ok(Side { running, steps, _scratch: scratch })
    }

    /// Waits until the writer has committed all records of the step.
    pub(super) fn wait(&self) -> Result<(), CliError> {
        let (reply, committed) = bounded(1);
        let handed = self.steps.wait() && self.running.inbox.send(Message::Barrier(reply)).is_ok();
        match handed && committed.recv().is_ok() {
            true => Ok(()),
            false => Err(AppError::Panicked("writer").into()),
        }
    }

    /// Lets the source begin the next step.
    pub(super) fn begin(&self) {
        self.steps.begin();
    }

    /// Makes the lists of the configuration at `now_ms`.
    pub(super) fn lists(&self, now_ms: i64) -> Lists {
        let state = Arc::clone(&self.running.state);
        let trending = trending_posts(&state.read(), now_ms);
        Lists { state, now_ms, trending }
    }

    /// Ends the pipeline of the configuration. The call fails if a partition was held.
    pub(super) fn end(self) -> Result<(), CliError> {
        let Side { running, steps, _scratch } = self;
        drop(steps);
        let statuses = running.finish(|_| {})?;
        report::none_held(&statuses)
    }
}

/// The lists of one configuration at one moment.
pub(super) struct Lists {
    state: Arc<RwLock<State>>,
    now_ms: i64,
    /// The posts of the 24 h trending list.
    trending: Vec<PostNo>,
}

impl Lists {
    /// The first posts of a user's feed, or `None` if the user does not exist yet.
    pub(super) fn feed(&self, user: Id) -> Option<Vec<Shown>> {
        let state = self.state.read();
        let number = state.users.number(user)?;
        let made = feed(&state, number, &Making::strict(self.now_ms, &self.trending));
        let shown = made.posts.iter().take(FIRST);
        Some(shown.map(|post| Shown { post: post.post, author: post.author, age_h: post.age_h }).collect())
    }

    pub(super) fn suggested(&self, user: Id) -> Vec<Id> {
        let state = self.state.read();
        let Some(number) = state.users.number(user) else { return Vec::new() };
        let list = suggest(&state, number, self.now_ms, FIRST, &FxHashSet::default());
        list.into_iter().map(|suggestion| suggestion.user).collect()
    }

    /// The first posts of the trending list of each configured window.
    pub(super) fn windows(&self) -> Vec<(Window, Vec<Id>)> {
        let state = self.state.read();
        let list = |window| {
            let list = rank(&state, window, self.now_ms, &Overrides::default());
            (window, list.entries.iter().take(FIRST).map(|entry| entry.post).collect())
        };
        kept(state.ranking()).map(list).collect()
    }
}
