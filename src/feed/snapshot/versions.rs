//! Whether anything changed that a user's feed depends on.

use crate::state::State;

/// What a user's feed depends on, besides time. Each count only grows, and another set of followees is another
/// `follows`: equal versions mean that nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Of whom the user follows.
    follows: u32,
    /// Of what those posted and whether they are active: the sum of their versions.
    posted: u64,
}

impl Versions {
    pub fn of(state: &State, user: u32) -> Versions {
        let followees = state.graph.followees(user);
        let posted = followees.map(|followee| u64::from(state.posts.version(followee.user))).sum();
        Versions { follows: state.graph.version(user), posted }
    }
}
