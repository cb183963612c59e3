//! The settings of what is counted, and from which source.

use crate::event::Action;

use super::ranking::Ranking;

/// The source of likes or comments. There is only one, so that nothing counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountedFrom {
    /// The rows of the source table. A count ends with its row.
    #[default]
    Cdc,
    /// Client events: one like per user and post, one comment per event.
    Events,
}

/// The settings of what is counted, and of what readers get from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    pub ranking: Ranking,
    pub likes: CountedFrom,
    pub comments: CountedFrom,
}

impl StateSettings {
    /// The source from which an action is counted.
    pub(super) fn source(&self, action: Action) -> CountedFrom {
        match action {
            Action::Like => self.likes,
            Action::Comment => self.comments,
            Action::Impression | Action::View | Action::Share => CountedFrom::Events,
        }
    }
}
