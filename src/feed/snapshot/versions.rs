//! Detects changes on which a user's feed depends.

use crate::state::{State, UserNo};

/// The versions of everything, except time, on which a user's feed depends. Each version only grows, and a change of
/// the set of followees changes `follows`. If the versions are equal, nothing has changed on which the user's feed
/// depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The version of the user's set of followees.
    follows: u32,
    /// The sum of the versions of the followees' posts.
    posted: u64,
}

impl Versions {
    pub fn of(state: &State, user: UserNo) -> Versions {
        let followees = state.graph.followees(user);
        let posted = followees.map(|followee| u64::from(state.posts.version(followee.user))).sum();
        Versions { follows: state.graph.version(user), posted }
    }
}
