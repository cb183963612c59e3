//! Checks rule N6 as a property. The test has a small PostgreSQL with open transactions, and a connector that reads it,
//! streams from it, restarts and takes snapshots. Whatever the topic contains at the end, nova makes the source's table
//! from it, and no table halts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Place;
use crate::event::{Cell, Change, ChangeBody, Format, Id, Op, Row, Table};
use crate::pipeline::apply::{Judgement, judge};
use crate::pipeline::meta::TableMeta;
use crate::pipeline::stored::{SEEN_MAX, StoredRow, Version};

const KEYS: u8 = 3;

/// A step of the simulated source or of its connector.
#[derive(Clone, Debug)]
enum Step {
    /// The transaction `tx` writes `value` to a key that no other transaction has locked, or deletes the key.
    Write {
        tx: usize,
        key: u8,
        value: Option<u8>,
    },
    Commit {
        tx: usize,
    },
    /// Somebody sets the server's clock.
    Clock {
        to: i64,
    },
    /// The connector writes the next committed changes to the topic.
    Stream {
        most: usize,
    },
    /// The connector dies, and begins again at an earlier commit.
    Restart {
        back: usize,
    },
    /// The connector takes a snapshot of all committed rows, and the position of its stream does not change. The reads
    /// have the LSN of the log's present end, or the LSN at which the slot begins.
    Blocking {
        slot: bool,
    },
    /// The connector writes reads without an LSN. It leaves out keys that a change of the snapshot's window has
    /// touched.
    Incremental {
        window: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..3, 0..KEYS, proptest::option::weighted(0.75, any::<u8>()))
            .prop_map(|(tx, key, value)| Step::Write { tx, key, value }),
        4 => (0usize..3).prop_map(|tx| Step::Commit { tx }),
        1 => (0i64..400).prop_map(|to| Step::Clock { to }),
        4 => (1usize..6).prop_map(|most| Step::Stream { most }),
        1 => (0usize..12).prop_map(|back| Step::Restart { back }),
        1 => any::<bool>().prop_map(|slot| Step::Blocking { slot }),
        1 => (0usize..4).prop_map(|window| Step::Incremental { window }),
    ];
    proptest::collection::vec(step, 1..60)
}

#[derive(Clone, Debug)]
struct Write {
    key: u8,
    value: Option<u8>,
    op: Op,
    lsn: u64,
    ts_us: i64,
    /// The partition of the rows that have this value. A delete is in the partition of the key's previous value.
    partition: usize,
}

#[derive(Default)]
struct Source {
    lsn: u64,
    clock_us: i64,
    /// The writes of each transaction that is open.
    open: [Vec<Write>; 3],
    /// The changes in the order of their commits, and the table after each change.
    committed: Vec<Write>,
    table: BTreeMap<u8, u8>,
    /// The first commit that the slot streams, and the LSN at which somebody made the slot.
    from: usize,
    slot_lsn: u64,
    at: usize,
    /// The records of the topic, each with its partition.
    topic: Vec<(Change, usize)>,
}

impl Source {
    fn write(&mut self, tx: usize, key: u8, value: Option<u8>) {
        let other = (0..3).any(|other| other != tx && self.open[other].iter().any(|write| write.key == key));
        let own = self.open[tx].iter().rev().find(|write| write.key == key).map(|write| write.value);
        let before = own.unwrap_or_else(|| self.table.get(&key).copied());
        let op = match (before, value) {
            (None, None) => return,
            (None, Some(_)) => Op::Create,
            (Some(_), Some(_)) => Op::Update,
            (Some(_), None) => Op::Delete,
        };
        if !other {
            self.lsn += 10;
            let partition = usize::from(value.or(before).unwrap_or(0)) % 3;
            self.open[tx].push(Write { key, value, op, lsn: self.lsn, ts_us: 0, partition });
        }
    }

    fn commit(&mut self, tx: usize) {
        self.clock_us += 7;
        for write in std::mem::take(&mut self.open[tx]) {
            match write.value {
                Some(value) => self.table.insert(write.key, value),
                None => self.table.remove(&write.key),
            };
            self.committed.push(Write { ts_us: self.clock_us, ..write });
        }
    }

    fn stream(&mut self, most: usize) {
        let to = (self.at + most).min(self.committed.len());
        let changes = self.committed[self.at..to].iter().map(|write| {
            let body = write.value.map_or(ChangeBody::Delete, |value| ChangeBody::Upsert(row(write.key, value)));
            (change(write.key, write.op, Some(write.lsn), write.ts_us, body), write.partition)
        });
        self.topic.extend(changes.collect::<Vec<_>>());
        self.at = to;
    }

    /// Writes reads of the table's present rows, but leaves out the keys in `except`.
    fn read(&mut self, lsn: Option<u64>, except: &[u8]) {
        let ts_us = self.clock_us + 3;
        let table = self.table.iter().filter(|(key, _)| !except.contains(key));
        let reads = table.map(|(key, value)| change(*key, Op::Read, lsn, ts_us, ChangeBody::Upsert(row(*key, *value))));
        self.topic.extend(reads.map(|read| (read, 0)).collect::<Vec<_>>());
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { tx, key, value } => self.write(tx, key, value),
            Step::Commit { tx } => self.commit(tx),
            Step::Clock { to } => self.clock_us = to,
            Step::Stream { most } => self.stream(most),
            Step::Restart { back } => self.at = self.at.saturating_sub(back).max(self.from),
            Step::Blocking { slot } => {
                let lsn = if slot { self.slot_lsn } else { self.lsn };
                self.read(Some(lsn), &[]);
            }
            Step::Incremental { window } => {
                let low = self.at;
                self.stream(window);
                // The connector now streams the changes that are committed but not streamed yet, because the stream
                // closes the window of the snapshot.
                self.stream(usize::MAX - self.at);
                let keys: Vec<_> = self.committed[low..].iter().map(|write| write.key).collect();
                self.read(None, &keys);
            }
        }
    }

    /// A second server, whose LSNs and clock differ from the first server's, takes over from the first server. A new
    /// slot begins at the second server.
    fn promote(&mut self, (lsn, clock_us): (u64, i64)) {
        (0..3).for_each(|tx| self.commit(tx));
        self.stream(usize::MAX - self.at);
        (self.lsn, self.clock_us, self.from) = (lsn, clock_us, self.at);
    }

    /// Makes the slot and reads the committed rows while transactions are open.
    fn first_snapshot(&mut self) {
        (self.from, self.at, self.slot_lsn) = (self.committed.len(), self.committed.len(), self.lsn);
        self.read(Some(self.lsn), &[]);
    }
}

fn row(key: u8, value: u8) -> Row {
    let cells = [Cell::Uuid(id(key)), Cell::Text(value.to_string().into())];
    Row { cells: cells.into(), extra: None, extra_unavailable: Box::default() }
}

fn id(key: u8) -> Id {
    Id::from_u128(u128::from(key) + 1)
}

fn change(key: u8, op: Op, lsn: Option<u64>, ts_us: i64, body: ChangeBody) -> Change {
    Change {
        table: Table::Likes,
        key: id(key),
        op,
        format: Format::Envelope,
        lsn,
        source_ts_us: Some(ts_us),
        renamed: None,
        ends_snapshot: false,
        body,
    }
}

type Stored = BTreeMap<Id, (Box<[u8]>, Version)>;

/// Applies a record to the rows. The error is the reason for which nova would halt the table.
fn apply(rows: &mut Stored, change: Change, place: Place) -> Result<(), String> {
    apply_in(rows, change, place, 0)
}

/// Does the same as `apply`, in an epoch that a person raised.
fn apply_in(rows: &mut Stored, change: Change, place: Place, epoch: u16) -> Result<(), String> {
    let (key, stored) = (change.key, rows.get(&change.key));
    let (text, meta) = (format!("{change:?}"), TableMeta { epoch, ..TableMeta::default() });
    match judge(change, place, &meta, stored.map(|(bytes, _)| &**bytes), None).unwrap() {
        Judgement::Write(written) => {
            // ClickHouse keeps the row with the highest version, so the last version that nova writes must be the
            // highest.
            let rises = stored.is_none_or(|(_, version)| written.version.number() > version.number());
            if !rises {
                return Err(format!("the version does not rise at {text}"));
            }
            rows.insert(key, (written.stored, written.version));
            Ok(())
        }
        Judgement::Skip(_) | Judgement::Late(_) => Ok(()),
        Judgement::Halt(halt) => Err(format!("{halt} at {text}")),
    }
}

fn live(rows: &Stored) -> BTreeMap<Id, Row> {
    let row =
        |(id, (bytes, _)): (&Id, &(Box<[u8]>, Version))| Some((*id, StoredRow::decode(bytes).unwrap().row().unwrap()?));
    rows.iter().filter_map(row).collect()
}

fn table(source: &Source) -> BTreeMap<Id, Row> {
    source.table.iter().map(|(key, value)| (id(*key), row(*key, *value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn n6_a_partition_converges_whatever_snapshots_and_restarts_do(before in steps(), after in steps(), snapshot: bool) {
        let mut source = Source { lsn: 1_000, clock_us: 200, ..Source::default() };
        if snapshot {
            before.iter().filter(|step| matches!(step, Step::Write { .. } | Step::Commit { .. })).for_each(|step| source.step(step));
            source.first_snapshot();
        }
        after.iter().for_each(|step| source.step(step));
        (0..3).for_each(|tx| source.commit(tx));
        source.stream(usize::MAX - source.at);
        let mut rows = Stored::new();
        for (offset, (change, _)) in source.topic.iter().enumerate() {
            let place = Place { partition: Some(0), offset: offset as i64 };
            prop_assert_eq!(apply(&mut rows, change.clone(), place), Ok(()));
        }
        prop_assert_eq!(live(&rows), table(&source));
        // Kafka delivers a part of the topic again, and the rows do not change.
        for (offset, (change, _)) in source.topic.iter().enumerate().skip(source.topic.len() / 2) {
            let place = Place { partition: Some(0), offset: offset as i64 };
            prop_assert_eq!(apply(&mut rows, change.clone(), place), Ok(()));
        }
        prop_assert_eq!(live(&rows), table(&source));
    }

    /// A key moves to another partition when its value changes, and partitions are read in any order.
    #[test]
    fn n6_keys_that_move_between_partitions_converge_in_any_order(
        steps in steps(), order in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut source = Source { lsn: 1_000, clock_us: 200, ..Source::default() };
        let streamed = |step: &&Step| matches!(step, Step::Write { .. } | Step::Commit { .. } | Step::Stream { .. } | Step::Restart { .. });
        steps.iter().filter(streamed).for_each(|step| source.step(step));
        (0..3).for_each(|tx| source.commit(tx));
        source.stream(usize::MAX - source.at);
        let mut partitions = [Vec::new(), Vec::new(), Vec::new()];
        for (change, partition) in &source.topic {
            partitions[*partition].push(change.clone());
        }
        let (mut rows, mut at) = (Stored::new(), [0usize; 3]);
        let mut order = order.into_iter().map(usize::from).chain(0..);
        while (0..3).any(|one| at[one] < partitions[one].len()) {
            let one = order.next().unwrap() % 3;
            if let Some(change) = partitions[one].get(at[one]) {
                let place = Place { partition: Some(one as i32), offset: at[one] as i64 };
                prop_assert_eq!(apply(&mut rows, change.clone(), place), Ok(()));
                at[one] += 1;
            }
        }
        prop_assert_eq!(live(&rows), table(&source));
    }

    /// The source's logs begin again with LSNs and times in any order, and the epoch is raised at any moment, as if
    /// another partition had raised it. If a row has no more versions than nova remembers, the row is right or the
    /// table halts. A row with more versions than that is also right if no time says that a change is older than the
    /// remembered versions. So the test gives a row more versions only if all times are equal (`still`).
    #[test]
    fn n6_a_partition_converges_or_halts_where_logs_begin_again(
        logs in proptest::collection::vec((steps(), 0u64..200, 0i64..400), 2..4),
        raises in proptest::collection::vec(any::<proptest::sample::Index>(), 0..3),
        snapshot: bool, still: bool,
    ) {
        let mut source = Source { lsn: 1_000, clock_us: 200, ..Source::default() };
        let mut versions = [0usize; KEYS as usize];
        for (number, (steps, lsn, clock)) in (0u64..).zip(&logs) {
            // The LSNs of two logs differ in their last digit, and the times of two logs differ in the milliseconds.
            let began = (lsn * 10 + number, clock * 10_000 + number as i64 * 1_000);
            match number {
                0 => source.clock_us = began.1,
                _ => source.promote(began),
            }
            for (at, step) in steps.iter().enumerate() {
                if number == 0 && snapshot && at == steps.len() / 2 && source.topic.is_empty() {
                    source.first_snapshot();
                }
                match step {
                    Step::Write { key, .. } if versions[usize::from(*key)] == SEEN_MAX && !still => {}
                    Step::Write { key, .. } => {
                        source.step(step);
                        let of = |write: &&Write| write.key == *key;
                        let open = source.open.iter().flatten().filter(of).count();
                        versions[usize::from(*key)] = open + source.committed.iter().filter(of).count();
                    }
                    Step::Commit { .. } | Step::Stream { .. } | Step::Restart { .. } => source.step(step),
                    Step::Clock { to } => source.clock_us = to * 10_000 + number as i64 * 1_000,
                    Step::Blocking { .. } | Step::Incremental { .. } => {}
                }
            }
        }
        (0..3).for_each(|tx| source.commit(tx));
        source.stream(usize::MAX - source.at);
        if still {
            source.topic.iter_mut().for_each(|(change, _)| change.source_ts_us = Some(1));
        }
        let raises: Vec<_> = raises.iter().map(|at| at.index(source.topic.len() + 1)).collect();
        let (mut rows, mut epoch) = (Stored::new(), 0);
        for (offset, (change, _)) in source.topic.iter().enumerate() {
            epoch += raises.iter().filter(|at| **at == offset).count() as u16;
            let place = Place { partition: Some(0), offset: offset as i64 };
            if let Err(reason) = apply_in(&mut rows, change.clone(), place, epoch) {
                prop_assert!(reason.starts_with("lsn_regression"), "{}", reason);
                epoch += 1;
                prop_assert_eq!(apply_in(&mut rows, change.clone(), place, epoch), Ok(()));
            }
        }
        prop_assert_eq!(live(&rows), table(&source));
    }
}
