use super::*;
use nova_storage::testing::mutate::check_bytes;
use proptest::prelude::*;

impl PartialEq for Merge {
    fn eq(&self, other: &Merge) -> bool {
        (&self.range, self.into, self.done) == (&other.range, other.into, other.done)
    }
}

proptest! {
    #[test]
    fn merges_read_back_and_mutants_are_errors_or_merges_with_these_bytes(
        merges in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), any::<Option<(u8, [u8; 16])>>()), 1..4),
        seed: u64,
    ) {
        let merge = |(a, b, into, done): (u64, u64, u64, Option<(u8, [u8; 16])>)| {
            let done = done.map(|(table, id)| (table, Id(id)));
            Merge { range: a.min(b)..=a.max(b), into, known: false, done, rows: None, ended: false }
        };
        let merges: Vec<Merge> = merges.into_iter().map(merge).collect();
        let bytes = encode_merges(&merges);
        prop_assert_eq!(decode_merges(&bytes).unwrap(), merges);
        check_bytes(&bytes, seed, decode_merges, |merges| encode_merges(merges));
    }
}

#[test]
fn the_next_key_is_above_and_none_is_between() {
    assert_eq!(after((1, Id([0; 16]))), (1, Id::from_u128(1)));
    assert_eq!(after((1, Id([0xff; 16]))), (2, Id([0; 16])));
}
