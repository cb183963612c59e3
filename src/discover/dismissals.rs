//! Keeps the dismissals: which suggested users a user does not want to see. The table of decisions and answers in the
//! store has all dismissals. nova answers requests from a copy of the dismissals in memory.

use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Id;
use crate::state::{State, UserNo};

/// The kind that dismissals have in the table of decisions and answers. The name of a dismissal's entry is the user's
/// id and then the dismissed user's id.
pub const KIND: &str = "dismissal";
/// The maximum number of people whom one user may dismiss.
pub const PER_USER_MAX: usize = 10_000;

/// For each user, the users whom this user has dismissed.
#[derive(Debug, Default)]
pub struct Dismissals(RwLock<FxHashMap<Id, FxHashSet<Id>>>);

impl Dismissals {
    /// Loads dismissals from the names of stored entries. A name that is not the name of a dismissal is skipped.
    pub fn load<'a>(names: impl Iterator<Item = &'a [u8]>) -> Dismissals {
        let dismissals = Dismissals::default();
        for name in names {
            if let Some((user, other)) = name.split_first_chunk::<16>()
                && let Ok(other) = other.try_into()
            {
                dismissals.put(Id(*user), Id(other));
            }
        }
        dismissals
    }

    pub fn name(user: Id, other: Id) -> Vec<u8> {
        [user.0, other.0].concat()
    }

    /// Whether the user may dismiss one more person.
    pub fn has_room(&self, user: Id) -> bool {
        self.0.read().get(&user).is_none_or(|others| others.len() < PER_USER_MAX)
    }

    pub fn put(&self, user: Id, other: Id) {
        self.0.write().entry(user).or_default().insert(other);
    }

    /// Returns the numbers of the users whom a user has dismissed, as far as the state knows them.
    pub fn of(&self, user: Id, state: &State) -> FxHashSet<UserNo> {
        let all = self.0.read();
        all.get(&user).into_iter().flatten().filter_map(|other| state.users.number(*other)).collect()
    }
}
