//! The parts of the outbox that the store keeps: the counts of each table, and the batches that `post_events` must
//! have.

use nova_storage::codec::{CodecError, Put, Reader};

use super::error::WHAT;
use crate::event::Table;
use crate::warehouse::mark::Mark;
use crate::warehouse::target::Target;

/// The version of the ledgers' format. The ledgers of version 1 had no marks. In the versions 1 and 2 of the ledgers,
/// each of the six tables of that time had one entry, and the entry did not contain the table's number.
const VERSION: u8 = 3;
/// The tables of the versions 1 and 2, in the order of their entries.
const TARGETS_V2: [Target; 6] = [
    Target::Rows(Table::Users),
    Target::Rows(Table::Posts),
    Target::Rows(Table::Follows),
    Target::Rows(Table::Comments),
    Target::Rows(Table::Likes),
    Target::Events,
];
/// The outbox marks one delivered batch in each period of this length, and keeps at most `MARKS_MAX` marks. The hourly
/// check looks for the marked batches in `post_events`.
const MARK_EVERY_MS: i64 = 3_600_000;
const MARKS_MAX: usize = 48;

/// The counts of one table's rows, and the number of its next batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub next: u64,
    pub emitted: u64,
    pub acknowledged: u64,
    pub dead: u64,
}

impl Ledger {
    /// Returns the number for a new batch.
    pub fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// The ledgers of all tables, in the order of [`Target::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledgers {
    pub tables: [Ledger; Target::COUNT],
    marks: Vec<Mark>,
}

impl Ledgers {
    pub fn of(&mut self, target: Target) -> &mut Ledger {
        &mut self.tables[target.index()]
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Keeps a mark of a delivered batch, if a mark is due.
    pub fn mark(&mut self, mark: Mark) {
        if self.marks.last().is_some_and(|last| mark.at_ms.saturating_sub(last.at_ms) < MARK_EVERY_MS) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            self.marks.remove(0);
        }
        self.marks.push(mark);
    }

    pub fn forget_marks(&mut self) {
        self.marks.clear();
    }

    /// Encodes the ledgers, the numbers of the open batches, and the marks.
    pub fn encode(&self, open: impl ExactSizeIterator<Item = (Target, u64)>) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_varint(self.tables.len() as u64);
        for (target, ledger) in Target::ALL.iter().zip(&self.tables) {
            out.put_u8(target.number());
            for number in [ledger.next, ledger.emitted, ledger.acknowledged, ledger.dead] {
                out.put_varint(number);
            }
        }
        out.put_varint(open.len() as u64);
        for (target, batch) in open {
            out.put_u8(target.number());
            out.put_varint(batch);
        }
        out.put_varint(self.marks.len() as u64);
        for Mark { batch, partition, at_ms } in &self.marks {
            out.put_varint(*batch);
            out.put_varint(u64::from(*partition));
            out.put_zigzag(*at_ms);
        }
        out
    }
}

pub(super) type Saved = (Ledgers, Vec<(Target, u64)>);

pub(super) fn decode(bytes: &[u8]) -> Result<Saved, CodecError> {
    let (mut reader, version) = Reader::versioned(WHAT, bytes, VERSION)?;
    let mut ledgers = Ledgers::default();
    if version < 3 {
        for target in TARGETS_V2 {
            *ledgers.of(target) = ledger(&mut reader)?;
        }
    } else {
        let mut last = None;
        for _ in 0..reader.varint()? {
            let number = reader.u8()?;
            // The numbers of the tables must rise, so that no table occurs twice.
            if last.replace(number).is_some_and(|last| last >= number) {
                return Err(CodecError::Invalid(WHAT));
            }
            *ledgers.of(Target::numbered(number)?) = ledger(&mut reader)?;
        }
    }
    let mut open = Vec::new();
    for _ in 0..reader.varint()? {
        open.push((Target::numbered(reader.u8()?)?, reader.varint()?));
    }
    // The ledgers of version 1 had no marks.
    let marks = if version < 2 { 0 } else { reader.varint()? };
    for _ in 0..marks {
        let (batch, partition, at_ms) = (reader.varint()?, reader.varint_u32()?, reader.zigzag()?);
        ledgers.marks.push(Mark { batch, partition, at_ms });
    }
    reader.end()?;
    Ok((ledgers, open))
}

fn ledger(reader: &mut Reader<'_>) -> Result<Ledger, CodecError> {
    let (next, emitted) = (reader.varint()?, reader.varint()?);
    let (acknowledged, dead) = (reader.varint()?, reader.varint()?);
    Ok(Ledger { next, emitted, acknowledged, dead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_values;
    use proptest::prelude::*;

    fn saved() -> impl Strategy<Value = Saved> {
        let numbers = any::<[(u64, u64, u64, u64); Target::COUNT]>();
        let open = proptest::collection::vec((0..Target::COUNT, any::<u64>()), 0..5);
        let marks = proptest::collection::vec(any::<(u64, u32, i64)>(), 0..5);
        (numbers, open, marks).prop_map(|(numbers, open, marks)| {
            let tables =
                numbers.map(|(next, emitted, acknowledged, dead)| Ledger { next, emitted, acknowledged, dead });
            let marks = marks.into_iter().map(|(batch, partition, at_ms)| Mark { batch, partition, at_ms }).collect();
            (Ledgers { tables, marks }, open.into_iter().map(|(n, batch)| (Target::ALL[n], batch)).collect())
        })
    }

    fn encode((ledgers, open): &Saved) -> Vec<u8> {
        ledgers.encode(open.iter().copied())
    }

    proptest! {
        #[test]
        fn it_round_trips_and_mutants_are_errors_or_ledgers(saved in saved(), seed: u64) {
            prop_assert_eq!(decode(&encode(&saved)), Ok(saved.clone()));
            // A mutant may be a valid ledger that lacks tables, because a later version may have added tables.
            check_values(&encode(&saved), seed, decode, encode);
        }

        /// Before version 3 the entries had no numbers of tables, and version 1 ended after the open batches.
        #[test]
        fn earlier_versions_read((ledgers, open) in saved()) {
            let mut body = Vec::new();
            for Ledger { next, emitted, acknowledged, dead } in &ledgers.tables {
                [next, emitted, acknowledged, dead].into_iter().for_each(|number| body.put_varint(*number));
            }
            body.put_varint(open.len() as u64);
            for (target, batch) in &open {
                body.put_u8(Target::ALL.iter().position(|known| known == target).unwrap() as u8);
                body.put_varint(*batch);
            }
            let first = Ledgers { marks: Vec::new(), ..ledgers };
            prop_assert_eq!(decode(&[&[1], body.as_slice()].concat()), Ok((first.clone(), open.clone())));
            prop_assert_eq!(decode(&[&[2], body.as_slice(), &[0]].concat()), Ok((first, open)));
        }

        #[test]
        fn one_with_fewer_tables_reads_and_one_with_more_names_the_way_out((ledgers, _) in saved(), count in 0..6usize) {
            let with = |numbers: &[u8]| {
                let mut out = vec![VERSION];
                out.put_varint(numbers.len() as u64);
                for (number, Ledger { next, emitted, acknowledged, dead }) in numbers.iter().zip(&ledgers.tables) {
                    out.put_u8(*number);
                    [next, emitted, acknowledged, dead].into_iter().for_each(|number| out.put_varint(*number));
                }
                out.extend([0, 0]);
                out
            };
            let numbers: Vec<_> = Target::ALL.iter().take(count).map(|target| target.number()).collect();
            let (read, _) = decode(&with(&numbers)).unwrap();
            prop_assert_eq!(&read.tables[..count], &ledgers.tables[..count]);
            let error = decode(&with(&[&numbers[..], &[77]].concat())).unwrap_err();
            prop_assert_eq!(error, CodecError::Unknown { what: "ClickHouse table", number: 77 });
        }
    }

    #[test]
    fn one_batch_an_hour_is_remembered_for_two_days() {
        let mut ledgers = Ledgers::default();
        for minute in 0..100 * 60 {
            ledgers.mark(Mark { batch: minute, partition: 1, at_ms: minute as i64 * 60_000 });
        }
        let batches: Vec<_> = ledgers.marks().iter().map(|mark| mark.batch).collect();
        assert_eq!(batches, (52..100).map(|hour| hour * 60).collect::<Vec<_>>());
    }
}
