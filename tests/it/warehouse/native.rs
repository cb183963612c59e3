//! The block of an insert has exactly the rows of its batch.

use nova::warehouse::rows::split;
use nova::warehouse::{Target, Wire, native};
use nova_storage::codec::Put as _;
use proptest::prelude::*;

use crate::support::native::read;

/// Returns a value of a type as RowBinary. `seed` chooses the value.
fn value(wire: Wire, seed: u64, out: &mut Vec<u8>) {
    let null = |out: &mut Vec<u8>| {
        out.put_u8(u8::from(seed.is_multiple_of(3)));
        seed.is_multiple_of(3)
    };
    let text = |length: u64, out: &mut Vec<u8>| out.put_bytes(format!("{seed:x}").repeat(length as usize).as_bytes());
    match wire {
        Wire::NullableUuid | Wire::NullableMicros | Wire::NullableText if null(out) => {}
        Wire::Uuid | Wire::U128 | Wire::NullableUuid => out.put_fixed(&u128::from(seed).pow(2).to_le_bytes()),
        Wire::Micros | Wire::NullableMicros | Wire::Millis | Wire::U64 => out.put_fixed(&seed.to_le_bytes()),
        Wire::U32 => out.put_fixed(&(seed as u32).to_le_bytes()),
        Wire::Bool | Wire::U8 => out.put_u8(seed as u8 & 1),
        Wire::Text | Wire::NullableText => text(seed % 40, out),
        Wire::Word => text(1, out),
    }
}

proptest! {
    #[test]
    fn a_block_has_the_columns_and_the_rows_of_its_batch(
        target in 0..Target::ALL.len(),
        rows in proptest::collection::vec(any::<u32>(), 0..400),
        // The number of different words chooses the width of an index.
        different in prop_oneof![1u64..5, 250u64..300, Just(u64::MAX)],
    ) {
        let columns = Target::ALL[target].columns();
        let mut bytes = Vec::new();
        for seed in &rows {
            for (index, (_, wire)) in columns.iter().enumerate() {
                value(wire, u64::from(*seed).wrapping_mul(index as u64 + 1) % different, &mut bytes);
            }
        }
        let block = read(&native::block(columns, &bytes).unwrap());
        let named: Vec<_> = columns.iter().map(|(name, wire)| (name.to_owned(), wire.type_name().to_owned())).collect();
        prop_assert_eq!(block.columns, named);
        prop_assert_eq!(block.rows.len(), rows.len());
        prop_assert_eq!(block.rows.concat(), bytes);
    }

    #[test]
    fn bytes_that_are_no_rows_are_an_error_and_what_is_a_block_has_these_bytes(
        bytes in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..300),
    ) {
        for target in Target::ALL {
            let split = split(target.columns(), &bytes);
            let block = native::block(target.columns(), &bytes);
            prop_assert_eq!(split.is_ok(), block.is_ok());
            if let Ok(block) = block {
                prop_assert_eq!(read(&block).rows.concat(), bytes.clone());
            }
        }
    }
}

#[test]
fn words_of_more_than_65_536_kinds_have_indexes_of_four_bytes() {
    for count in [1u64, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        let columns = Target::Events.columns().only("device");
        let mut bytes = Vec::new();
        (0..count).for_each(|seed| value(Wire::Word, seed, &mut bytes));
        // The last row has the key of the first row.
        value(Wire::Word, 0, &mut bytes);
        let block = read(&native::block(&columns, &bytes).unwrap());
        assert_eq!(block.rows.concat(), bytes, "{count} kinds");
    }
}
