//! Who does not want to be shown whom. Durable in the edge's table; here in memory, for every read.

use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Id;
use crate::state::State;

/// Kind of the entries in the edge's table; their name is the user's id and the other's.
pub const KIND: &str = "dismissal";
/// People whom one user may dismiss.
pub const PER_USER_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Dismissals(RwLock<FxHashMap<Id, FxHashSet<Id>>>);

impl Dismissals {
    /// From the names of stored entries; others are passed over.
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

    /// Whether the user may dismiss one more.
    pub fn has_room(&self, user: Id) -> bool {
        self.0.read().get(&user).is_none_or(|others| others.len() < PER_USER_MAX)
    }

    pub fn put(&self, user: Id, other: Id) {
        self.0.write().entry(user).or_default().insert(other);
    }

    /// Those whom the user dismissed and the state knows.
    pub fn of(&self, user: Id, state: &State) -> FxHashSet<u32> {
        let all = self.0.read();
        all.get(&user).into_iter().flatten().filter_map(|other| state.users.number(*other)).collect()
    }
}
