use super::*;
use nova_storage::testing::mutate::check_values;
use proptest::prelude::*;

/// The records of a partition: `Some` is a read with its snapshot's LSN, and `None` is a streamed change.
type Records = Vec<Option<u64>>;

fn follow(first: &mut FirstReads, partition: i32, record: Option<u64>) {
    match record {
        Some(lsn) => first.read(partition, lsn),
        None => first.streamed(partition),
    }
}

/// Follows the records of the tables' partitions in the order that `picks` chooses. The records of each partition stay
/// in their own order.
fn followed(tables: &[Vec<Records>], picks: &[usize]) -> Vec<FirstReads> {
    let mut reads = vec![FirstReads::default(); tables.len()];
    let mut left: Vec<_> = (0..tables.len())
        .flat_map(|table| (0..tables[table].len()).map(move |partition| (table, partition, 0)))
        .collect();
    let mut picks = picks.iter().cycle();
    while !left.is_empty() {
        let at = picks.next().unwrap_or(&0) % left.len();
        let (table, partition, next) = left[at];
        match tables[table][partition].get(next) {
            Some(record) => {
                follow(&mut reads[table], partition as i32, *record);
                left[at].2 += 1;
            }
            None => drop(left.swap_remove(at)),
        }
    }
    reads
}

/// Makes the snapshots 10, 20, … of which only the last one is complete. Streamed changes come after the snapshots.
fn interrupted() -> impl Strategy<Value = (Vec<Vec<Records>>, u64)> {
    (1u64..4, 1usize..4, 1usize..4, any::<[u8; 64]>()).prop_map(|(snapshots, tables, partitions, chance)| {
        let mut chance = chance.iter().cycle();
        let mut some = |percent: u8| *chance.next().unwrap_or(&0) < percent;
        let mut all = vec![vec![Records::new(); partitions]; tables];
        for lsn in (1..=snapshots).map(|number| number * 10) {
            for partition in all.iter_mut().flatten() {
                // The complete snapshot has reads in every partition.
                if lsn == snapshots * 10 || some(120) {
                    partition.extend([Some(lsn), Some(lsn)]);
                }
            }
        }
        all[0][0].push(None);
        all.iter_mut().flatten().filter(|_| some(100)).for_each(|partition| partition.push(None));
        (all, snapshots * 10)
    })
}

proptest! {
    /// The partitions may be read in any order.
    #[test]
    fn a_first_snapshot_that_was_taken_again_is_seen((tables, whole) in interrupted(), picks: [usize; 32]) {
        let reads = followed(&tables, &picks);
        let twice = tables.iter().flatten().flatten().any(|record| record.is_some_and(|lsn| lsn < whole));
        let wanted = if twice { Repeated::By(whole) } else { Repeated::No };
        prop_assert_eq!(FirstReads::repeated(reads.iter()), wanted);
        for (table, reads) in tables.iter().zip(&reads) {
            for lsn in table.iter().flatten().flatten() {
                prop_assert_eq!(reads.left_out(*lsn, whole), *lsn < whole);
            }
            prop_assert!(!reads.left_out(5, whole), "no read of a first snapshot");
        }
    }

    /// Before nova has seen the snapshot's end, it deletes nothing. If the later snapshot did not read a table, every
    /// row of that table stays.
    #[test]
    fn a_snapshot_without_an_end_or_of_some_tables_deletes_nothing(
        (mut tables, whole) in interrupted(),
        picks: [usize; 32],
    ) {
        let mut unfinished = tables.clone();
        unfinished.iter_mut().flatten().for_each(|partition| partition.retain(Option::is_some));
        prop_assert_eq!(FirstReads::repeated(followed(&unfinished, &picks).iter()), Repeated::No);
        tables.push(vec![vec![Some(5)]]);
        let in_part = FirstReads::repeated(followed(&tables, &picks).iter());
        let twice = tables[..tables.len() - 1].iter().flatten().flatten().any(|record| record.is_some_and(|lsn| lsn < whole));
        prop_assert_eq!(in_part, if twice { Repeated::InPart } else { Repeated::No });
    }

    /// A signal requested a snapshot after changes in every partition, or after changes in some of the partitions.
    #[test]
    fn a_snapshot_behind_changes_is_no_first_one((mut tables, whole) in interrupted(), picks: [usize; 32]) {
        let before = FirstReads::repeated(followed(&tables, &picks).iter());
        for partition in tables.iter_mut().flatten() {
            partition.push(Some(whole + 5));
        }
        let after = FirstReads::repeated(followed(&tables, &picks).iter());
        let quiet = tables.iter().flatten().any(|partition| !partition.contains(&None));
        // A partition without changes does not show that the snapshot came later. A partition with changes shows that
        // the snapshot is not a first snapshot.
        prop_assert!(after == before || quiet && matches!(after, Repeated::No | Repeated::InPart));
    }

    /// A signal requested a later snapshot of some rows, after the first snapshot had been read to its end.
    #[test]
    fn a_snapshot_behind_one_that_was_read_to_its_end_deletes_nothing((tables, whole) in interrupted(), picks: [usize; 32]) {
        let mut reads = followed(&tables, &picks);
        let before = FirstReads::repeated(reads.iter());
        // The connector marks the last read of every snapshot, including the last snapshot.
        reads[0].whole(whole);
        prop_assert_eq!(FirstReads::repeated(reads.iter()), before);
        reads[0].whole(whole - 5);
        let after = FirstReads::repeated(reads.iter());
        prop_assert_eq!(after, if before == Repeated::No { Repeated::No } else { Repeated::InPart });
    }

    /// If a read has a lower LSN than the read before it, the read belongs to a log that began again.
    #[test]
    fn a_log_that_began_again_deletes_nothing(first in 100u64..200, then in 1u64..100, picks: [usize; 8]) {
        let tables = [vec![vec![Some(first), Some(then), None]], vec![vec![Some(first), Some(then)]]];
        prop_assert_eq!(FirstReads::repeated(followed(&tables, &picks).iter()), Repeated::No);
    }

    #[test]
    fn it_round_trips_and_mutants_are_errors_or_reads((tables, _) in interrupted(), over: bool, seed: u64) {
        for mut reads in followed(&tables, &[1]) {
            if over {
                reads.end();
            } else if seed % 2 == 0 {
                reads.whole(seed % 64);
            }
            let bytes = encoded(&reads);
            prop_assert_eq!(decoded(&bytes), Ok(reads));
            check_values(&bytes, seed, decoded, encoded);
        }
    }
}

fn encoded(reads: &FirstReads) -> Vec<u8> {
    let mut out = Vec::new();
    reads.encode(&mut out);
    out
}

fn decoded(bytes: &[u8]) -> Result<FirstReads, CodecError> {
    let mut reader = Reader::new(WHAT, bytes);
    let reads = FirstReads::decode(&mut reader)?;
    reader.end()?;
    Ok(reads)
}

#[test]
fn more_partitions_or_snapshots_than_are_followed_delete_nothing() {
    let mut reads = FirstReads::default();
    (0..=PARTITIONS_MAX as i32).for_each(|partition| reads.read(partition, 1 + partition as u64 % 2));
    reads.streamed(0);
    assert_eq!(FirstReads::repeated([&reads].into_iter()), Repeated::No);
    let mut reads = FirstReads::default();
    (1..=SNAPSHOTS_MAX as u64 + 1).for_each(|lsn| reads.read(0, lsn));
    reads.streamed(0);
    assert_eq!(FirstReads::repeated([&reads].into_iter()), Repeated::No);
}
