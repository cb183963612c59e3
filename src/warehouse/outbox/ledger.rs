//! What of the outbox outlives the process: counts of each table, and which batches `post_events` must have.

use nova_storage::codec::{CodecError, Put, Reader};

use super::WHAT;
use crate::warehouse::Target;

const VERSION: u8 = 2;
/// One batch in so long is remembered, and so many of them: what the hourly look asks `post_events` for.
const MARK_EVERY_MS: i64 = 3_600_000;
const MARKS_MAX: usize = 48;

/// A batch that `post_events` has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub batch: u64,
    /// The partition value of its rows.
    pub partition: u32,
    /// Of the acknowledgement, epoch milliseconds.
    pub at_ms: i64,
}

/// Numbers of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub next: u64,
    pub emitted: u64,
    pub acknowledged: u64,
    pub dead: u64,
}

impl Ledger {
    /// The number of a new batch.
    pub fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// Of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledgers {
    pub tables: [Ledger; Target::COUNT],
    marks: Vec<Mark>,
}

impl Ledgers {
    pub fn of(&mut self, target: Target) -> &mut Ledger {
        &mut self.tables[usize::from(target.number())]
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Remembers a batch, if it is time for one.
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

    /// With the batches that still grow.
    pub fn encode(&self, open: impl ExactSizeIterator<Item = (Target, u64)>) -> Vec<u8> {
        let mut out = vec![VERSION];
        for ledger in &self.tables {
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
    for ledger in &mut ledgers.tables {
        let Ledger { next, emitted, acknowledged, dead } = ledger;
        for number in [next, emitted, acknowledged, dead] {
            *number = reader.varint()?;
        }
    }
    let mut open = Vec::new();
    for _ in 0..reader.varint()? {
        let target = Target::ALL.get(usize::from(reader.u8()?)).ok_or(CodecError::Invalid(WHAT))?;
        open.push((*target, reader.varint()?));
    }
    // The first version had no marks.
    let marks = if version < 2 { 0 } else { reader.varint()? };
    for _ in 0..marks {
        let (batch, partition, at_ms) = (reader.varint()?, reader.varint_u32()?, reader.zigzag()?);
        ledgers.marks.push(Mark { batch, partition, at_ms });
    }
    reader.end()?;
    Ok((ledgers, open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_round_trips_and_never_panics(
            numbers: [(u64, u64, u64, u64); Target::COUNT],
            open in proptest::collection::vec((0..Target::COUNT, any::<u64>()), 0..5),
            marks in proptest::collection::vec((any::<u64>(), any::<u32>(), any::<i64>()), 0..5),
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let tables = numbers.map(|(next, emitted, acknowledged, dead)| Ledger { next, emitted, acknowledged, dead });
            let marks = marks.into_iter().map(|(batch, partition, at_ms)| Mark { batch, partition, at_ms }).collect();
            let (ledgers, open) = (Ledgers { tables, marks }, open.into_iter().map(|(n, batch)| (Target::ALL[n], batch)));
            let open: Vec<_> = open.collect();
            let encoded = ledgers.encode(open.iter().copied());
            prop_assert_eq!(decode(&encoded), Ok((ledgers.clone(), open)));
            let first = [&[1], &Ledgers { marks: Vec::new(), ..ledgers.clone() }.encode([].into_iter())[1..]].concat();
            prop_assert_eq!(decode(&first[..first.len() - 1]).map(|(read, _)| read.tables), Ok(ledgers.tables));
            let _ = decode(&bytes);
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
