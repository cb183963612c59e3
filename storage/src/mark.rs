//! The data that nova writes into the first page of the file beside redb's header: the mark of the last durable commit,
//! and the seal of a backup. redb's header takes the first 320 of the page's 4 096 bytes, and redb reads and writes no
//! others (`DB_HEADER_SIZE` in its `header.rs`).
//!
//! **The mark.** A commit of redb is one sync, and the header names the commit before its pages are known to be whole.
//! If the newest commit cannot be read at an unclean start, redb goes back to the previous one. Going back is right
//! after a power loss during a commit, and wrong if a page of a durable commit was damaged. To distinguish the two,
//! each commit counts itself in `meta`, and after the sync its number is written here without a sync of its own. A
//! number in `meta` below the mark shows that a durable commit is missing. If a power loss destroys a mark, an older
//! one stays and never a newer one, so it raises no false alarm.

/// The bytes of the page with redb's header.
pub(crate) const PAGE_BYTES: usize = 4_096;
/// The position of the mark: 8 bytes of [`MAGIC`], 8 of the number, 8 of its checksum, all little-endian.
pub(crate) const MARK_AT: usize = 1_024;
pub(crate) const MARK_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"novamark";

/// FNV-1a (Fowler, Noll, Vo), 64 bits: enough to recognise a torn mark.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) fn encode(commits: u64) -> [u8; MARK_BYTES] {
    let mut out = [0; MARK_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&commits.to_le_bytes());
    let sum = checksum(&out[..16]);
    out[16..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The number in the mark. `None` for a store of an earlier version, and for a mark that is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<u64> {
    let (number, _) = bytes.get(8..16)?.split_first_chunk()?;
    let commits = u64::from_le_bytes(*number);
    (bytes == encode(commits)).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_reads_back_and_one_that_is_not_whole_says_nothing(commits in any::<u64>(), bit in 0..MARK_BYTES * 8) {
            let mut mark = encode(commits);
            prop_assert_eq!(decode(&mark), Some(commits));
            mark[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&mark), None);
            prop_assert_eq!(decode(&mark[..bit / 8]), None);
        }
    }
}
