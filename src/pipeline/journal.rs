//! The journal has the changes of each commit since the last checkpoint. The changes of a commit are in one or more
//! blobs, in the order of the changes. Recovery loads the checkpoint and applies the journal to it.

#![warn(clippy::indexing_slicing)]

use nova_storage::codec::{CodecError, Put, Reader};
use nova_storage::schema::fits_page;

use crate::event::{Action, Effect, Facts, Id, Table};

/// The version of the journal's format. Version 1 of the journal's format did not have [`DATED_TAG`].
const JOURNAL_VERSION: u8 = 2;
/// The tag of [`Step::Dated`].
const DATED_TAG: u8 = 15;
/// A tag below `ROW_TAG` is the action of an event. A tag from `ROW_TAG` on belongs to a row: the tag minus `ROW_TAG`
/// is the number of the row's table.
const ROW_TAG: u8 = 16;

/// One step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The new stored bytes of a row. The old bytes of the row are the bytes that the earlier steps left.
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
    /// The next row has a time ahead of the clock, and counts at the time of this step.
    Dated {
        at_ms: i64,
    },
}

/// Calls `each` with the effects that a change of a row has on memory. `dated_ms` is the time at which the row counts,
/// if that is not the row's own time.
pub fn effects(
    (key, old, new): (Id, Option<Facts>, Option<Facts>),
    dated_ms: Option<i64>,
    mut each: impl FnMut(Effect),
) {
    let Some(((action, _), at_ms)) = new.as_ref().and_then(Facts::counted).zip(dated_ms) else {
        return each(Effect::Row { key, old, new });
    };
    // nova subtracts the old row at the time for which it had counted that row, which may differ from `at_ms`.
    if old.is_some() {
        each(Effect::Row { key, old, new: None });
    }
    each(Effect::Dated { action, key, at_ms });
    each(Effect::Row { key, old: None, new });
}

/// The maximum length of a blob of several steps. A step that would make the blob longer begins the next blob.
const BLOB_MAX_BYTES: usize = fits_page(64 << 10);
/// The maximum number of bytes that a step has in addition to the bytes of its row.
const STEP_MAX_BYTES: usize = 64;

/// Builds the journal blobs of one commit.
#[derive(Debug, Default)]
pub struct Writer {
    full: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    /// The last time that was written to the blob. The blob stores a time as its difference from the previous time.
    last_ms: i64,
}

impl Writer {
    pub fn push(&mut self, step: Step<'_>) {
        let more = if let Step::Row { stored, .. } = step { stored.len() } else { 0 };
        if !self.bytes.is_empty() && self.bytes.len() + more + STEP_MAX_BYTES > BLOB_MAX_BYTES {
            self.end_blob();
        }
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

    fn end_blob(&mut self) {
        self.last_ms = 0;
        self.full.push(std::mem::take(&mut self.bytes));
    }

    /// Returns the blobs of the commit, and begins the next commit.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        if !self.bytes.is_empty() {
            self.end_blob();
        }
        std::mem::take(&mut self.full)
    }
}

/// Calls `each` for every step of a journal blob, in order.
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

    /// A step that owns its bytes, so that it may live longer than its blob.
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
            writer.take().concat()
        })
    }

    proptest! {
        #[test]
        fn steps_round_trip(steps in steps()) {
            let mut writer = Writer::default();
            steps.iter().for_each(|step| writer.push(step.step()));
            let blob = writer.take().concat();
            let mut seen = Vec::new();
            read::<CodecError>(&blob, |step| { seen.push(Owned::of(step)); Ok(()) }).unwrap();
            prop_assert_eq!(seen, steps);
            prop_assert!(writer.take().is_empty());
        }

        #[test]
        fn a_long_commit_is_several_blobs_that_fit_a_page(lengths in proptest::collection::vec(0usize..9_000, 0..60)) {
            let mut writer = Writer::default();
            let step = |at: usize, stored| Step::Row { table: Table::Posts, key: Id::from_u128(at as u128), stored };
            let rows: Vec<Vec<u8>> = lengths.iter().map(|length| vec![7; *length]).collect();
            for (at, row) in rows.iter().enumerate() {
                writer.push(Step::Dated { at_ms: -1 });
                writer.push(step(at, row));
            }
            let blobs = writer.take();
            prop_assert!(blobs.iter().all(|blob| blob.len() <= BLOB_MAX_BYTES));
            // Only the last blob of a commit has room for another row.
            prop_assert!(blobs.iter().rev().skip(1).all(|blob| blob.len() > BLOB_MAX_BYTES - 9_000 - STEP_MAX_BYTES));
            let mut seen = Vec::new();
            for blob in &blobs {
                read::<CodecError>(blob, |step| { seen.push(Owned::of(step)); Ok(()) }).unwrap();
            }
            seen.retain(|step| !matches!(step, Owned::Dated(_)));
            let expected: Vec<_> = rows.iter().enumerate().map(|(at, row)| Owned::of(step(at, row))).collect();
            prop_assert_eq!(seen, expected);
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
                if steps.is_empty() { vec![JOURNAL_VERSION] } else { writer.take().concat() }
            };
            check_values(&blob, seed, decode, encode);
        }
    }
}
