//! What is counted, and from where.

use crate::event::Action;

use super::ranking::Ranking;

/// What says that somebody liked or commented. One of the two, so that nothing counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedFrom {
    /// Rows of the source table; they leave again with their rows.
    #[default]
    Cdc,
    /// Client events: one like per user and post, one comment per event.
    Events,
}

/// What is counted, and what is made of it for readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    pub ranking: Ranking,
    pub likes: CountedFrom,
    pub comments: CountedFrom,
}

impl StateSettings {
    /// Where an action is counted from.
    pub(super) fn source(&self, action: Action) -> CountedFrom {
        match action {
            Action::Like => self.likes,
            Action::Comment => self.comments,
            Action::Impression | Action::View | Action::Share => CountedFrom::Events,
        }
    }
}
