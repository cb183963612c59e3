//! Holds the settings of what nova counts, and from which source.

use crate::event::Action;

use super::ranking::Ranking;

/// The source from which nova counts likes or comments. nova uses only one source for each action, so that nothing
/// counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedFrom {
    /// nova counts the rows of the source table. A deleted row no longer counts.
    #[default]
    Cdc,
    /// nova counts client events: one like for each user and post, and one comment for each event.
    Events,
}

/// The settings of what nova counts, and of what readers get from the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    pub ranking: Ranking,
    pub likes: CountedFrom,
    pub comments: CountedFrom,
}

impl StateSettings {
    /// Returns the source from which an action is counted.
    pub(super) fn source(&self, action: Action) -> CountedFrom {
        match action {
            Action::Like => self.likes,
            Action::Comment => self.comments,
            Action::Impression | Action::View | Action::Share => CountedFrom::Events,
        }
    }
}
