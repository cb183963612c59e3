//! The data that nova writes into the first page of the file after redb's header: the mark of the last durable commit,
//! the place of the commit log, and the seal of a backup. redb's header takes the first 320 of the page's 4 096 bytes,
//! and redb reads and writes no other bytes of this page (`DB_HEADER_SIZE` in its `header.rs`).
//!
//! **The mark.** A file that lost its newest commits to damage may look like a file without these commits. So each
//! commit increases the number of commits in `meta`. After the syncs of a durable commit of redb, nova writes the
//! commit's number to the mark, without another sync. A number in `meta` below the mark shows that a durable commit is
//! missing. A power loss may destroy the newest mark. After such a power loss, the mark may name an earlier commit than
//! the last durable commit, but never a later commit, so the mark gives no false alarm.

/// The size of the page with redb's header, in bytes.
pub(crate) const PAGE_BYTES: usize = 4_096;
/// The position of the mark: 8 bytes of [`MAGIC`], 8 bytes of the number, and 8 bytes of a checksum, all in
/// little-endian order.
pub(crate) const MARK_AT: usize = 1_024;
pub(crate) const MARK_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"novamark";

/// Returns the checksum of a mark: FNV-1a (Fowler, Noll, Vo) with 64 bits, which is enough to recognise a torn mark.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
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

/// Returns the number in the mark. Returns `None` for a store of a version without marks, and for a mark that is not
/// complete.
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
