//! The properties that must hold after every commit, after every crash, and at the end of a run, derived only from the
//! model.

use std::collections::{BTreeMap, BTreeSet};

use nova::event::{Action, Cell, Id, Op, Outcome, Row, Table};
use nova::pipeline::seen::Seen;
use nova::warehouse::rows::{self, RowChange};
use nova::warehouse::{Target, outbox};
use nova_storage::codec::{DeadLetter, OffsetRow};
use nova_storage::schema::{DEAD, OFFSETS};

use super::clients::{key_of, refused};
use super::product::Product;
use super::world::World;
use crate::support::clickhouse::version_at;
use crate::support::{state_bytes, store_over};

/// The bytes of rows that one batch may add to an outbox that is already full.
const OUTBOX_SLACK_BYTES: u64 = 1 << 20;
const FILE_MAX_BYTES: usize = 24 << 20;
/// The size of the columns `_version`, `_deleted`, `_op`, `_lsn` and `_source_ts` in a row.
const NUMBERS_BYTES: usize = 16 + 1 + 2 + 8 + 8;

impl World {
    /// Checks the properties I7, I8 and N2 after a commit.
    pub fn check_commit(&self) {
        let read = self.node.opened.store.read().unwrap();
        for (name, committed) in &self.broker.lock().committed {
            let next_of = |bytes: &[u8]| OffsetRow::decode(bytes).unwrap().0.next;
            let next = read.get_with(OFFSETS, (&*name.topic, name.partition), next_of).unwrap().unwrap_or(0);
            assert!(*committed <= next, "I7: {name} is committed at {committed}, the store has {next}");
        }
        for status in self.node.shared.partitions() {
            assert!(status.row.balanced(), "N2: {} {:?}", status.name, status.row);
        }
        let (waiting, most) = (self.node.status.waiting_bytes(), self.setup.settings.outbox_max_bytes);
        assert!(waiting < most + OUTBOX_SLACK_BYTES, "I8: {waiting} bytes wait, at most {most} may");
    }

    /// Checks the property I7 across a crash, and N13: a recovered state can be recovered again.
    pub fn check_recovery(&self) {
        self.check_commit();
        let image = self.disk.image(self.disk.syncs(), 0);
        let opened = nova::app::open_store(&self.setup, store_over(image)).unwrap();
        assert!(state_bytes(&opened) == self.node.memory(), "N13: recovery is not repeatable");
    }

    /// Checks the property I2 during the run: no row is stored twice, and every stored row was sent by a client.
    pub fn check_server(&mut self) {
        let tables = self.server.tables.lock();
        for stored in &tables.stored[self.seen.0..] {
            if stored.table != Target::Events.name() {
                continue;
            }
            // All rows of an insert must belong to one partition (a month), because otherwise ClickHouse does not store
            // the insert as a whole.
            let month = |row: &Vec<u8>| rows::month(i64::from_le_bytes(row[16..24].try_into().unwrap()));
            assert!(stored.rows.iter().all(|row| month(row) == month(&stored.rows[0])), "an insert of two months");
            for row in &stored.rows {
                let key = key_of(row);
                let sent = self.choices.with_log
                    || self.clients.accepted.contains_key(&key)
                    || self.clients.either.contains(&key);
                assert!(sent, "I2: {key:?} was never accepted");
                let at_ms = i64::from_le_bytes(row[16..24].try_into().unwrap());
                assert!(self.seen.1.insert(key), "I2: {key:?} of {at_ms} is stored twice, now by {}", stored.token);
            }
        }
        self.seen.0 = tables.stored.len();
    }

    /// Checks the properties I1 to I8 and N13 at the end, after everything has healed.
    pub fn check_end(&mut self) {
        self.check_server();
        self.check_commit();
        self.check_accounting();
        self.check_rows();
        self.check_views();
        self.check_counters();
        self.check_letters();
        let read = self.node.opened.store.read().unwrap();
        for target in Target::ALL {
            assert!(outbox::sealed(&read, target, 1).unwrap().is_empty(), "N3: {target} has batches left");
        }
        let image = self.disk.image(self.disk.syncs(), 0);
        let bytes = image.bytes();
        assert!(bytes.len() < FILE_MAX_BYTES, "I8: the file has {} bytes", bytes.len());
        assert!(memchr::memmem::find(&bytes, Product::secret()).is_none(), "a dropped column is stored");
        let opened = nova::app::open_store(&self.setup, store_over(image)).unwrap();
        assert!(state_bytes(&opened) == self.node.memory(), "N13: the end is not what is recovered");
    }

    /// I1: nova has consumed every record once, with the required outcome.
    fn check_accounting(&self) {
        let statuses = self.node.shared.partitions();
        for (name, log) in &self.broker.lock().logs {
            let row = statuses.iter().find(|status| status.name == *name).unwrap().row;
            let expected = &self.expected[name];
            assert_eq!(row.next, log.last().unwrap().offset + 1, "I1: {name}");
            assert_eq!(row.consumed, log.len() as u64, "I1: {name}");
            let count = |outcome: Outcome| row.outcomes[outcome as usize];
            assert_eq!(count(Outcome::Dead), expected.poison.len() as u64, "I1: {name}");
            if *name.topic == *super::node::EVENTS {
                let [accepted, duplicate, conflict, late] = expected.fates;
                let [applied, again, too_late] = [Outcome::Applied, Outcome::Duplicate, Outcome::Late].map(count);
                let wanted = [accepted, duplicate + conflict, late];
                let found = [applied, again, too_late];
                assert_eq!(found.iter().sum::<u64>(), wanted.iter().sum::<u64>() + expected.either, "I1: {name}");
                let fine = applied >= accepted && again == wanted[1] && too_late >= late;
                assert!(fine, "I1: {name}: {found:?} instead of {wanted:?} and {} of either", expected.either);
                assert_eq!(row.conflicts, conflict, "I1: {name}");
            }
        }
    }

    /// Checks that a reader that runs beside the writer sees the rows that the writer has found.
    fn check_seen(&self, table: Table, found: &Found) {
        let seen = Seen::load(self.node.opened.store.read().unwrap()).unwrap();
        let mut rows = Found::new();
        let each = |row: Row| {
            let Cell::Uuid(id) = row.cells[0] else { panic!("{table} without a key") };
            rows.insert(id, (row.cells.to_vec(), row.extra.map(String::from)));
            true
        };
        seen.live(table, each).unwrap();
        assert_eq!(&rows, found, "{table}");
    }

    /// I3: the stored rows and each current view are equal to the model.
    fn check_rows(&self) {
        let tables = self.server.tables.lock();
        for table in Table::ALL {
            let model = &self.product.tables[table as usize];
            let mut found = BTreeMap::new();
            let each = |row: Row| {
                let Cell::Uuid(id) = row.cells[0] else { panic!("{table} without a key") };
                found.insert(id, (row.cells.to_vec(), row.extra.map(String::from)));
            };
            self.node.opened.writer.dump(table, each).unwrap();
            self.check_seen(table, &found);
            let count = table.columns().len();
            let known = |row: &Vec<Cell>| (row[..count].to_vec(), self.product.extra(row));
            let mut wanted: Found = model.iter().map(|(id, row)| (*id, known(row))).collect();
            if self.product.values_get_lost() {
                forget_unfilled(&found, &mut wanted);
            }
            same_rows(table, &found, &wanted);
            let target = Target::Rows(table);
            let mut latest = BTreeMap::<Id, (u128, u8, &[u8], &[u8])>::new();
            for row in tables.rows(target.name()) {
                let at = version_at(target, row);
                let version = u128::from_le_bytes(row[at..at + 16].try_into().unwrap());
                let new = (version, row[at + 16], &row[..at], &row[at + NUMBERS_BYTES..]);
                let known = latest.entry(rows::id(row)).or_insert(new);
                assert!(known.0 != new.0 || *known == new, "I3: two rows of one version in {target}");
                *known = (*known).max(new);
                assert!(memchr::memmem::find(row, Product::secret()).is_none(), "a dropped column is in {target}");
            }
            latest.retain(|_, (_, deleted, ..)| *deleted == 0);
            assert!(latest.keys().eq(model.keys()), "I3: the keys of {table}_current");
            for (id, (cells, extra)) in &wanted {
                let (cells, extra) = (cells.as_slice().into(), extra.as_deref().map(Box::from));
                let row = Row { cells, extra, extra_unavailable: Box::default() };
                let mut bytes = Vec::new();
                let (row, deleted, op) = (Some(&row), false, Op::Create);
                let change = RowChange { table, key: *id, row, deleted, op, version: 0, lsn: 0, source_ts_us: 0 };
                rows::put_change(&mut bytes, &change);
                let at = version_at(target, &bytes);
                assert!(latest[id].2 == &bytes[..at], "I3: {id} of {table}_current");
                assert!(latest[id].3 == &bytes[at + NUMBERS_BYTES..], "I3: _extra of {id} in {table}_current");
            }
        }
    }

    /// I2 and I5: `post_events` has each accepted event exactly once. The materialised view counts the accepted events,
    /// or nova reports that the view may have lost some.
    fn check_views(&self) {
        let letters = self.letters();
        let mut refused_keys = BTreeSet::new();
        for letter in letters.iter().filter(|letter| letter.stage == "warehouse") {
            let row = letter.value.as_deref().unwrap();
            assert!(refused(row), "I6: a good row is a dead letter: {}", letter.detail);
            assert!(refused_keys.insert(key_of(row)), "I6: a row is a dead letter twice");
        }
        let stored = &self.seen.1;
        assert!(stored.is_disjoint(&refused_keys), "I2: a row is stored and a dead letter");
        let found: BTreeSet<_> = stored.union(&refused_keys).copied().collect();
        let wanted: BTreeSet<_> = self.clients.accepted.keys().copied().collect();
        let odd: Vec<_> =
            found.symmetric_difference(&wanted).filter(|key| !self.clients.either.contains(key)).collect();
        assert!(odd.is_empty(), "I2: stored or accepted alone: {odd:?}");
        let viewed = self.server.tables.lock().viewed;
        let now = self.node.status.uncertain_batches.load(std::sync::atomic::Ordering::Relaxed);
        assert!(viewed == stored.len() || self.uncertain + now > 0, "I5: {viewed} viewed, {} stored", stored.len());
    }

    /// I4: the counters in memory are equal to a count of the model's rows and events.
    fn check_counters(&self) {
        let (state, product) = (self.node.opened.state.read(), &self.product);
        let mut counts: BTreeMap<Id, [i64; 5]> = BTreeMap::new();
        let mut count = |id: Id, action: Action, by: i64| counts.entry(id).or_default()[action as usize] += by;
        let id = |cell: &Cell| if let Cell::Uuid(id) = cell { *id } else { Id::NIL };
        for row in product.tables[Table::Likes as usize].values() {
            count(id(&row[2]), Action::Like, 1);
        }
        for row in product.tables[Table::Comments as usize].values().filter(|row| row[7] == Cell::Null) {
            count(id(&row[1]), Action::Comment, 1);
        }
        for (post, [impressions, views, shares]) in &self.clients.counts {
            count(*post, Action::Impression, *impressions);
            count(*post, Action::View, *views);
            count(*post, Action::Share, *shares);
        }
        for (number, id) in state.post_ids.numbers().zip(state.post_ids.all()) {
            let wanted = counts.remove(&id).unwrap_or_default();
            assert_eq!(state.posts.totals(number), wanted, "I4: post {id}");
            let post = product.tables[Table::Posts as usize].get(&id);
            let visible = post.is_some_and(|row| {
                let author = product.tables[Table::Users as usize].get(&self::id(&row[1]));
                let active = author.is_none_or(|user| user[3] == Cell::Bool(true) && user[6] == Cell::Null);
                row[5] == Cell::Text("published".into()) && row[8] == Cell::Null && active
            });
            assert_eq!(state.visible(number), visible, "I4: whether post {id} is shown");
        }
        assert!(counts.values().all(|counts| *counts == [0; 5]), "I4: posts that memory does not know: {counts:?}");
        let follows = product.tables[Table::Follows as usize].values();
        let pairs: BTreeSet<_> = follows.map(|row| (id(&row[1]), id(&row[2]))).collect();
        assert_eq!(state.graph.follows_len(), pairs.len(), "I4: follows");
        for (from, to) in pairs {
            let number = |id| state.users.number(id).unwrap();
            assert!(state.graph.follows(number(from), number(to)), "I4: {from} follows {to}");
        }
    }

    /// I6: every poisonous record is exactly one dead letter. A conflict is also a dead letter, until somebody replays
    /// it.
    fn check_letters(&self) {
        let mut found: BTreeMap<(String, i32, i64), usize> = BTreeMap::new();
        for letter in self.letters().iter().filter(|letter| letter.stage != "warehouse") {
            *found.entry((letter.topic.clone(), letter.partition, letter.offset)).or_default() += 1;
        }
        for (name, expected) in &self.expected {
            let mut take = |offset: &i64| found.remove(&(name.topic.to_string(), name.partition, *offset));
            for offset in &expected.poison {
                assert_eq!(take(offset), Some(1), "I6: poison {name}@{offset}");
            }
            for offset in &expected.conflicts {
                let times = take(offset);
                let fine = times == Some(1) || (times.is_none() && self.replayed);
                assert!(fine, "I6: conflict {name}@{offset} {times:?}");
            }
        }
        // Dead letters of the local log are left out, because the model does not know their offsets.
        found.retain(|(_, partition, _), _| *partition >= 0);
        assert!(found.is_empty(), "I6: dead letters that are none: {found:?}");
        let read = self.node.opened.store.read().unwrap();
        assert_eq!(read.len(DEAD).unwrap(), self.letters().len() as u64);
    }

    fn letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        let read = self.node.opened.store.read().unwrap();
        read.scan(DEAD, 0u64.., |_, bytes| {
            letters.push(DeadLetter::decode(bytes).unwrap());
            true
        })
        .unwrap();
        letters
    }
}

type Found = BTreeMap<Id, (Vec<Cell>, Option<String>)>;

/// Removes from the model the values that nova reports as unknown. If a changed key needs values of a row that nova
/// cannot identify because its partition was behind, nova must report the values as unknown. nova must never use the
/// values of a wrong row.
fn forget_unfilled(found: &Found, wanted: &mut Found) {
    for (id, (cells, extra)) in wanted {
        let Some((known, known_extra)) = found.get(id) else { continue };
        let unknown = cells.iter_mut().zip(known).filter(|(_, known)| **known == Cell::Unavailable);
        unknown.for_each(|(cell, _)| *cell = Cell::Unavailable);
        if known_extra.is_none() {
            *extra = None;
        }
    }
}

fn same_rows(table: Table, found: &Found, wanted: &Found) {
    for id in found.keys().chain(wanted.keys()) {
        assert_eq!(found.get(id), wanted.get(id), "I3: row {id} of {table}");
    }
}

fn id(cell: &Cell) -> Id {
    if let Cell::Uuid(id) = cell { *id } else { Id::NIL }
}
