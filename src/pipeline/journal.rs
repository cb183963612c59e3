//! The journal: what each commit since the last checkpoint did, one blob a commit, in order. Recovery loads the
//! checkpoint and does it again.

use nova_storage::codec::{CodecError, Put, Reader};

use crate::event::{Action, Effect, Facts, Id, Table};

/// Version 1 had no dates.
const JOURNAL_VERSION: u8 = 2;
/// Tag of a date.
const DATED_TAG: u8 = 15;
/// Tags below this are the action of an event; at and above it, a row of the table with that number.
const ROW_TAG: u8 = 16;

/// One step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The row's new stored bytes; the old ones are those that the steps before left.
    Row {
        table: Table,
        key: Id,
        stored: &'a [u8],
    },
    Event {
        user: Id,
        post: Id,
        action: Action,
        at_ms: i64,
        dwell_ms: u32,
    },
    /// The row that comes next is dated ahead of the clock, and counts at this time.
    Dated {
        at_ms: i64,
    },
}

/// Hands over what a row's change does to memory; `dated_ms` is when it counts, if not at its own time.
pub fn effects(
    (key, old, new): (Id, Option<Facts>, Option<Facts>),
    dated_ms: Option<i64>,
    mut each: impl FnMut(Effect),
) {
    let Some(((action, _), at_ms)) = new.as_ref().and_then(Facts::counted).zip(dated_ms) else {
        return each(Effect::Row { key, old, new });
    };
    // What the row counted before goes from the time at which it was counted.
    if old.is_some() {
        each(Effect::Row { key, old, new: None });
    }
    each(Effect::Dated { action, key, at_ms });
    each(Effect::Row { key, old: None, new });
}

/// Builds the blob of one commit.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// Times are written as differences.
    last_ms: i64,
}

impl Writer {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn push(&mut self, step: Step<'_>) {
        if self.bytes.is_empty() {
            self.bytes.put_u8(JOURNAL_VERSION);
        }
        match step {
            Step::Row { table, key, stored } => {
                self.bytes.put_u8(ROW_TAG + table.number());
                self.bytes.put_id(key);
                self.bytes.put_bytes(stored);
            }
            Step::Event { user, post, action, at_ms, dwell_ms } => {
                self.bytes.put_u8(action as u8);
                self.bytes.put_id(user);
                self.bytes.put_id(post);
                self.bytes.put_zigzag(at_ms.wrapping_sub(self.last_ms));
                self.bytes.put_varint(u64::from(dwell_ms));
                self.last_ms = at_ms;
            }
            Step::Dated { at_ms } => {
                self.bytes.put_u8(DATED_TAG);
                self.bytes.put_zigzag(at_ms);
            }
        }
    }

    /// The blob; the writer starts the next one.
    pub fn take(&mut self) -> Vec<u8> {
        self.last_ms = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// Calls `each` for every step of a blob, in order.
pub fn read<'a, E: From<CodecError>>(
    bytes: &'a [u8],
    mut each: impl FnMut(Step<'a>) -> Result<(), E>,
) -> Result<(), E> {
    const WHAT: &str = "journal";
    let (mut reader, _) = Reader::versioned(WHAT, bytes, JOURNAL_VERSION)?;
    let mut last_ms = 0i64;
    while !reader.is_empty() {
        let tag = reader.u8()?;
        let step = match tag.checked_sub(ROW_TAG) {
            None if tag == DATED_TAG => Step::Dated { at_ms: reader.zigzag()? },
            Some(number) => {
                let table = Table::numbered(number)?;
                Step::Row { table, key: reader.id()?, stored: reader.bytes()? }
            }
            None => {
                let action = Action::numbered(tag)?;
                let (user, post) = (reader.id()?, reader.id()?);
                last_ms = last_ms.wrapping_add(reader.zigzag()?);
                Step::Event { user, post, action, at_ms: last_ms, dwell_ms: reader.varint_u32()? }
            }
        };
        each(step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_storage::testing::mutate::check_values;
    use proptest::prelude::*;

    /// A step that outlives its blob.
    #[derive(Clone, Debug, PartialEq)]
    enum Owned {
        Row(Table, Id, Vec<u8>),
        Event(Id, Id, Action, i64, u32),
        Dated(i64),
    }

    impl Owned {
        fn of(step: Step<'_>) -> Owned {
            match step {
                Step::Row { table, key, stored } => Owned::Row(table, key, stored.to_vec()),
                Step::Event { user, post, action, at_ms, dwell_ms } => {
                    Owned::Event(user, post, action, at_ms, dwell_ms)
                }
                Step::Dated { at_ms } => Owned::Dated(at_ms),
            }
        }

        fn step(&self) -> Step<'_> {
            match self {
                Owned::Row(table, key, stored) => Step::Row { table: *table, key: *key, stored },
                Owned::Event(user, post, action, at_ms, dwell_ms) => {
                    Step::Event { user: *user, post: *post, action: *action, at_ms: *at_ms, dwell_ms: *dwell_ms }
                }
                Owned::Dated(at_ms) => Step::Dated { at_ms: *at_ms },
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Owned>> {
        let step = (0usize..6, any::<(u128, u128, i64, u32)>(), any::<Option<Vec<u8>>>());
        let step = step.prop_map(|(number, (a, b, at_ms, dwell_ms), row)| match row {
            _ if number == 5 => Owned::Dated(at_ms),
            Some(stored) => Owned::Row(Table::ALL[number], Id::from_u128(a), stored),
            None => Owned::Event(Id::from_u128(a), Id::from_u128(b), Action::ALL[number], at_ms, dwell_ms),
        });
        proptest::collection::vec(step, 1..50)
    }

    fn blobs() -> impl Strategy<Value = Vec<u8>> {
        steps().prop_map(|steps| {
            let mut writer = Writer::default();
            steps.iter().for_each(|step| writer.push(step.step()));
            writer.take()
        })
    }

    proptest! {
        #[test]
        fn steps_round_trip(steps in steps()) {
            let mut writer = Writer::default();
            steps.iter().for_each(|step| writer.push(step.step()));
            let blob = writer.take();
            let mut seen = Vec::new();
            read::<CodecError>(&blob, |step| { seen.push(Owned::of(step)); Ok(()) }).unwrap();
            prop_assert_eq!(seen, steps);
            prop_assert!(writer.is_empty());
        }

        #[test]
        fn a_mutated_blob_is_an_error_or_steps_with_these_bytes(blob in blobs(), seed: u64) {
            let decode = |bytes: &[u8]| {
                let mut steps = Vec::new();
                read::<CodecError>(bytes, |step| { steps.push(Owned::of(step)); Ok(()) })?;
                Ok(steps)
            };
            let encode = |steps: &Vec<Owned>| {
                let mut writer = Writer::default();
                steps.iter().for_each(|step| writer.push(step.step()));
                if steps.is_empty() { vec![JOURNAL_VERSION] } else { writer.take() }
            };
            check_values(&blob, seed, decode, encode);
        }
    }
}
