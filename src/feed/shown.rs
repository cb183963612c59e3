//! The posts that a reader was shown before a cursor, in a form that is small enough for the cursor. If the snapshot of
//! the cursor no longer exists, the next snapshot repeats none of the shown posts.
//!
//! A shown post is represented by its print, a hash of 24 bits of the post's id. The prints are sorted, and their
//! differences are stored in Rice's code (R. F. Rice, JPL 79-22, 1979), which takes about 17 bits for each of 300
//! posts. If a post has the same print as a shown post, the reader is not shown it; after 300 posts this happens to one
//! post in 50 000.

use crate::event::Id;

/// The maximum number of posts that one reader is shown before the list ends, even if a feed is longer. By default, the
/// limit is the length of two whole feeds, because a second feed may continue the first.
pub const SHOWN_MAX: usize = 600;
const PRINT_BITS: u32 = 24;
/// The number of bytes that [`Shown::encode`] writes for [`SHOWN_MAX`] posts. For each shown post, Rice's code has the
/// low bits of the difference, one end bit, and two more bits on average.
pub const SHOWN_MAX_BYTES: usize = 2 + (SHOWN_MAX * (15 + 3)).div_ceil(8);

/// The set of posts that a reader was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The sorted prints of the posts, each print once.
    prints: Vec<u32>,
}

/// The empty set, for a reader who was shown nothing.
pub static NOTHING: Shown = Shown { prints: Vec::new() };

impl Shown {
    pub fn len(&self) -> usize {
        self.prints.len()
    }

    pub fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    pub fn contains(&self, post: Id) -> bool {
        self.prints.binary_search(&print(post)).is_ok()
    }

    /// Returns a set with the shown posts and `posts`.
    pub fn and(&self, posts: impl Iterator<Item = Id>) -> Shown {
        let mut prints: Vec<u32> = self.prints.iter().copied().chain(posts.map(print)).collect();
        prints.sort_unstable();
        prints.dedup();
        Shown { prints }
    }

    /// Writes the number of posts in two bytes, and then the differences of their prints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = self.prints.len() as u16;
        out.extend_from_slice(&count.to_be_bytes());
        let (low, mut bits, mut before) = (low_bits(count), Bits { out, free: 0 }, 0);
        for print in &self.prints {
            let difference = print - before;
            (0..difference >> low).for_each(|_| bits.push(true));
            bits.push(false);
            (0..low).rev().for_each(|bit| bits.push(difference >> bit & 1 == 1));
            before = *print;
        }
    }

    /// Reads the set that [`Shown::encode`] wrote. Returns `None` for any bytes that [`Shown::encode`] cannot write.
    pub fn decode(bytes: &[u8]) -> Option<Shown> {
        let (count, bytes) = bytes.split_first_chunk::<2>()?;
        let count = u16::from_be_bytes(*count);
        if usize::from(count) > SHOWN_MAX {
            return None;
        }
        let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        let (low, mut print) = (low_bits(count), 0u32);
        let mut prints = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            while bits.next()? {
                print = print.checked_add(1 << low)?;
            }
            for bit in (0..low).rev() {
                print = print.checked_add(u32::from(bits.next()?) << bit)?;
            }
            prints.push(print);
        }
        let rest = bits.by_ref().take(8).collect::<Vec<_>>();
        let sorted = prints.is_sorted() && print < 1 << PRINT_BITS;
        (sorted && rest.len() < 8 && rest.iter().all(|bit| !bit)).then_some(Shown { prints })
    }
}

/// Returns how many low bits of a difference are written unchanged, which is about the length of the average
/// difference.
fn low_bits(count: u16) -> u32 {
    PRINT_BITS - u32::from(count.max(1)).next_power_of_two().trailing_zeros()
}

/// Returns the print of a post, which has 24 bits. The function `print` must never change, because cursors of an
/// earlier process contain prints. The multiplier is a constant of SplitMix64's finaliser.
fn print(post: Id) -> u32 {
    let id = post.as_u128();
    let folded = (id >> 64) as u64 ^ (id as u64).rotate_left(32);
    (folded.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> (64 - PRINT_BITS)) as u32
}

/// Writes bits. The bits of a byte are written from the highest to the lowest.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    /// The number of free bits in the last byte.
    free: u32,
}

impl Bits<'_> {
    fn push(&mut self, bit: bool) {
        if self.free == 0 {
            self.out.push(0);
            self.free = 8;
        }
        self.free -= 1;
        if let Some(last) = self.out.last_mut() {
            *last |= u8::from(bit) << self.free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_shown_comes_back_and_stays_small(ids in proptest::collection::vec(any::<u128>(), 0..=SHOWN_MAX)) {
            let shown = Shown::default().and(ids.iter().map(|id| Id::from_u128(*id)));
            prop_assert!(ids.iter().all(|id| shown.contains(Id::from_u128(*id))));
            let mut bytes = Vec::new();
            shown.encode(&mut bytes);
            prop_assert!(bytes.len() <= SHOWN_MAX_BYTES);
            prop_assert_eq!(Shown::decode(&bytes), Some(shown.clone()));
            bytes.push(0);
            prop_assert_eq!(Shown::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(shown) = Shown::decode(&bytes) {
                prop_assert!(shown.len() <= SHOWN_MAX);
            }
        }
    }

    #[test]
    fn a_first_page_of_20_takes_less_than_60_bytes() {
        let mut bytes = Vec::new();
        let ids = (1..=20u128).map(|n| Id::from_u128(n << 76 | n));
        Shown::default().and(ids).encode(&mut bytes);
        assert!(bytes.len() < 60, "{}", bytes.len());
    }
}
