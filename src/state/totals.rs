//! The total counts of a post, by action.

use crate::event::Action;

/// The count of each [`Action`] has 32 bits as long as that is enough.
#[derive(Clone, Debug)]
pub(super) enum Totals {
    Small([i32; 5]),
    Large(Box<[i64; 5]>),
}

impl Totals {
    pub(super) fn of(counts: [i64; 5]) -> Totals {
        let small = counts.map(|count| i32::try_from(count).ok());
        match small {
            [Some(a), Some(b), Some(c), Some(d), Some(e)] => Totals::Small([a, b, c, d, e]),
            _ => Totals::Large(Box::new(counts)),
        }
    }

    pub(super) fn counts(&self) -> [i64; 5] {
        match self {
            Totals::Small(counts) => counts.map(i64::from),
            Totals::Large(counts) => **counts,
        }
    }

    pub(super) fn add(&mut self, action: Action, sign: i32) {
        if let Totals::Small(counts) = self
            && let Some(sum) = counts[action as usize].checked_add(sign)
        {
            counts[action as usize] = sum;
            return;
        }
        let mut counts = self.counts();
        counts[action as usize] = counts[action as usize].saturating_add(sign.into());
        *self = Totals::of(counts);
    }
}
