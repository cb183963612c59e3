//! Finds the rows of a batch that ClickHouse refuses, by trying parts of the batch. To find one bad row among n rows
//! takes about log2 n inserts. The good halves are stored during the search, and the rows that the search set aside are
//! stored together at the end.

/// If a batch has more bad rows than this, the fault is in the table and not in the rows.
pub const DEAD_ROWS_MAX: usize = 1_000;
/// If the table has refused this many single rows and stored none, nova concludes that the table refuses every row.
const HOPELESS_AFTER: usize = 8;

/// The result of the search for bad rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolated {
    /// The table refuses the rows with these indexes, and has stored all other rows of the batch. Each index has the
    /// text of the table's error.
    Dead(Vec<(usize, String)>),
    /// The table refuses too many rows. The rows that the table accepted during the search are stored under tokens of
    /// their own.
    Hopeless(String),
}

/// Finds the bad rows of a batch of `count` rows that the table refused as a whole. `insert` stores the rows with the
/// given indexes together. `insert` returns `None` if the rows are stored, or the text of the error if the table
/// refuses them. `hint` is the index of the row that the text of the refusal names. `taken` says that the table has
/// already stored some rows of the batch, so the table does not refuse every row.
pub async fn isolate<E>(
    count: usize,
    hint: Option<usize>,
    taken: bool,
    mut insert: impl AsyncFnMut(&[usize]) -> Result<Option<String>, E>,
) -> Result<Isolated, E> {
    let (mut dead, mut stored) = (Vec::new(), usize::from(taken));
    let mut suspects: Vec<usize> = (0..count).collect();
    if let Some(hint) = hint.filter(|hint| *hint < count && count > 1) {
        match insert(&[hint]).await? {
            Some(words) => {
                dead.push((hint, words));
                suspects.remove(hint);
                if insert(&suspects).await?.is_none() {
                    return Ok(Isolated::Dead(dead));
                }
            }
            None => {
                suspects.remove(hint);
                stored += 1;
            }
        }
    }
    loop {
        let (mut aside, mut alone) = (Vec::new(), None);
        while suspects.len() > 1 {
            let right = suspects.split_off(suspects.len() / 2);
            match insert(&suspects).await? {
                None => {
                    stored += suspects.len();
                    (suspects, alone) = (right, None);
                }
                Some(words) => {
                    alone = Some(words);
                    aside.extend(right);
                }
            }
        }
        if let Some(row) = suspects.pop() {
            let words = match alone {
                Some(words) => Some(words),
                None => insert(&[row]).await?,
            };
            match words {
                Some(words) => dead.push((row, words)),
                None => stored += 1,
            }
        }
        if (stored == 0 && dead.len() >= HOPELESS_AFTER) || dead.len() > DEAD_ROWS_MAX {
            let words = dead.pop().map(|(_, words)| words).unwrap_or_default();
            return Ok(Isolated::Hopeless(words));
        }
        if aside.is_empty() || insert(&aside).await?.is_none() {
            dead.sort_unstable_by_key(|(row, _)| *row);
            return Ok(Isolated::Dead(dead));
        }
        suspects = aside;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    fn run(count: usize, bad: &BTreeSet<usize>, hint: Option<usize>) -> (Isolated, Vec<usize>, usize) {
        run_after(false, count, bad, hint)
    }

    fn run_after(
        taken: bool,
        count: usize,
        bad: &BTreeSet<usize>,
        hint: Option<usize>,
    ) -> (Isolated, Vec<usize>, usize) {
        let (mut stored, mut inserts) = (Vec::new(), 0);
        let done = isolate::<Infallible>(count, hint, taken, async |rows: &[usize]| {
            inserts += 1;
            if rows.iter().any(|row| bad.contains(row)) {
                return Ok(Some("refused".to_owned()));
            }
            stored.extend_from_slice(rows);
            Ok(None)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let done = runtime.block_on(done).unwrap();
        stored.sort_unstable();
        (done, stored, inserts)
    }

    proptest! {
        #[test]
        fn good_rows_are_stored_once_and_bad_ones_found(
            count in 1usize..200,
            bad in proptest::collection::btree_set(0usize..200, 1..6),
            hint in proptest::option::of(0usize..250),
        ) {
            let bad: BTreeSet<usize> = bad.into_iter().filter(|row| *row < count).collect();
            prop_assume!(!bad.is_empty());
            let (done, stored, _) = run(count, &bad, hint);
            let Isolated::Dead(dead) = done else { panic!("gave up") };
            prop_assert_eq!(dead.into_iter().map(|(row, _)| row).collect::<BTreeSet<_>>(), bad.clone());
            prop_assert_eq!(stored, (0..count).filter(|row| !bad.contains(row)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_bad_row_of_50_000_costs_at_most_18_inserts_and_with_a_hint_two() {
        for bad in [0, 1, 24_999, 25_000, 31_415, 49_999] {
            let (_, stored, inserts) = run(50_000, &BTreeSet::from([bad]), None);
            assert!(inserts <= 18, "{bad}: {inserts}");
            assert_eq!(stored.len(), 49_999);
            assert_eq!(run(50_000, &BTreeSet::from([bad]), Some(bad)).2, 2);
        }
    }

    #[test]
    fn a_table_that_refuses_everything_is_hopeless_soon() {
        let all: BTreeSet<usize> = (0..50_000).collect();
        let (done, stored, inserts) = run(50_000, &all, None);
        assert!(matches!(done, Isolated::Hopeless(_)) && stored.is_empty() && inserts < 200, "{inserts}");
    }

    #[test]
    fn bad_rows_alone_are_dead_when_the_table_took_the_others_of_their_batch() {
        let all: BTreeSet<usize> = (0..2 * HOPELESS_AFTER).collect();
        let (done, stored, _) = run_after(true, all.len(), &all, None);
        assert!(matches!(done, Isolated::Dead(dead) if dead.len() == all.len()) && stored.is_empty());
    }
}
