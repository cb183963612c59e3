//! Faults that other systems had in public, each over the double. The rest, which needs a real server, is in `real`.

use std::sync::Arc;
use std::time::Duration;

use nova::event::{Outcome, Table, Tables};
use nova::source::postgres::follower::FollowSettings;
use nova::source::postgres::position::Phase;
use nova::source::postgres::status::State;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::node::{Node, STEP, settings};
use super::rows::{fill, key, row, transaction};
use super::walsender::{Pg, Slot, Write, text};
use crate::support::events::Rng;

/// A server with rows, and a node that has caught up with it.
pub(super) fn following(resnapshot: bool) -> (Arc<Mutex<Pg>>, Recorder, Node) {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, FollowSettings { resnapshot, ..settings() });
    node.catch_up();
    node.check_equal();
    (pg, disk, node)
}

pub(super) fn again(disk: &Recorder, pg: &Arc<Mutex<Pg>>, node: Node) -> Node {
    let sync = disk.syncs();
    drop(node);
    Node::boot(&disk.image(sync, 3), pg, settings())
}

pub(super) fn some(pg: &Mutex<Pg>, seed: u64) {
    fill(&mut pg.lock(), &mut Rng(seed), 10);
}

#[test]
fn p1_the_end_of_a_transaction_is_acknowledged_only_when_all_of_it_is_committed() {
    let (pg, disk, mut node) = following(false);
    let before = pg.lock().slot.clone().unwrap().confirmed;
    let rows: Vec<_> = (0..9_000).map(|id| Write::Put(Table::Likes, row(Table::Likes, 1_000 + id, id))).collect();
    pg.lock().commit(&rows);
    // Some of it is committed, and the process is killed.
    node.until("a part of the transaction", |node| node.partition().row.consumed > 4_000);
    assert!(node.partition().row.consumed < 9_000, "the transaction was committed at once");
    assert_eq!(pg.lock().slot.clone().unwrap().confirmed, before);
    let mut node = again(&disk, &pg, node);
    node.catch_up();
    node.check_equal();
    assert!(node.partition().redelivered > 4_000 && pg.lock().slot.clone().unwrap().confirmed > before);
}

#[test]
fn p2_p11_a_slot_that_is_ahead_of_the_store_is_said_and_never_followed() {
    let made_again = |pg: &mut Pg| {
        pg.lsn += 56;
        pg.slot = Some(Slot { confirmed: pg.lsn, saved: pg.lsn, ..Slot::default() });
    };
    let moved = |pg: &mut Pg| {
        let lsn = pg.lsn;
        let slot = pg.slot.as_mut().unwrap();
        (slot.confirmed, slot.saved) = (lsn, lsn);
    };
    for change in [made_again as fn(&mut Pg), moved] {
        let (pg, _, mut node) = following(false);
        pg.lock().disconnect();
        some(&pg, 2);
        change(&mut pg.lock());
        let starts = pg.lock().starts;
        node.until("the halt", |node| node.stopped().is_some());
        assert_eq!(node.stopped(), Some("pg-slot-ahead"));
        let reason = node.view().reason().unwrap();
        assert!(reason.contains("nova cdc resnapshot"), "{reason}");
        node.steps(100);
        assert_eq!(pg.lock().starts, starts, "a slot that is ahead was started");
        assert!(node.partition().hold.is_some());
        node.resnapshot(Tables::ALL);
        node.catch_up();
        node.check_equal();
    }
}

#[test]
fn p3_p24_the_slot_moves_on_while_the_followed_tables_are_idle() {
    let (pg, _, mut node) = following(false);
    for _ in 0..16 {
        pg.lock().foreign_wal(64 << 20);
        // Ten seconds and a little.
        node.steps(110);
        let pg = pg.lock();
        let held = pg.lsn - pg.slot.as_ref().unwrap().confirmed;
        assert!(held < 64 << 20, "{held} bytes are held");
    }
    // Nothing was written for it: neither a record nor a table of theirs.
    let consumed = node.partition().row.consumed;
    node.steps(200);
    assert_eq!(node.partition().row.consumed, consumed);
}

#[test]
fn p4_a_store_that_was_restored_finds_the_slot_ahead_of_it() {
    let (pg, disk, mut node) = following(false);
    let backup = disk.image(disk.syncs(), 0);
    some(&pg, 2);
    node.catch_up();
    drop(node);
    let mut node = Node::boot(&backup, &pg, settings());
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-slot-ahead"));
    some(&pg, 3);
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p5_p20_nothing_behind_the_snapshots_own_point_is_acknowledged_before_its_end_is_committed() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(5), 60);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, settings());
    let mut during = 0;
    while node.position().is_none_or(|position| position.phase == Phase::Snapshot) {
        some(&pg, during);
        node.follow();
        node.ingest();
        if during % 3 == 0 {
            node.write(None);
        }
        node.pg.lock().now += STEP / 10;
        if let Some(slot) = &pg.lock().slot {
            let point = node.position().filter(|position| position.phase == Phase::Stream);
            assert!(point.is_some() || slot.confirmed == slot.saved, "acknowledged during the snapshot");
        }
        during += 1;
    }
    assert!(during > 10);
    // The point is the one that the slot was made at.
    let made = pg.lock().slot.clone().unwrap().saved;
    assert_eq!(node.position().unwrap().end_lsn, made);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p6_a_writer_that_stands_for_minutes_costs_no_session() {
    let (pg, _, mut node) = following(false);
    let starts = pg.lock().starts;
    for seed in 0..300 {
        some(&pg, seed);
        pg.lock().now += Duration::from_secs(1);
        // The writer does nothing.
        node.follow();
        node.ingest();
    }
    assert_eq!(node.view().state, State::Streaming);
    assert_eq!(pg.lock().starts, starts);
    node.catch_up();
    node.check_equal();
    assert_eq!(pg.lock().starts, starts);
}

#[test]
fn p7_a_table_that_was_away_for_a_time_is_read_again() {
    for while_down in [false, true] {
        let (pg, disk, mut node) = following(false);
        let lose = |pg: &Mutex<Pg>| {
            pg.lock().drop_member(Table::Likes);
            pg.lock()
                .commit(&[Write::Put(Table::Likes, row(Table::Likes, 77, 1)), Write::Delete(Table::Likes, key(3))]);
            pg.lock().add_member(Table::Likes);
        };
        if while_down {
            let sync = disk.syncs();
            drop(node);
            lose(&pg);
            node = Node::boot(&disk.image(sync, 0), &pg, settings());
        } else {
            lose(&pg);
        }
        let begun = pg.lock().now;
        node.until("the halt", |node| node.stopped().is_some());
        assert_eq!(node.stopped(), Some("pg-publication-changed"));
        assert!(pg.lock().now - begun <= Duration::from_secs(11), "said within ten seconds");
        assert!(node.view().reason().unwrap().contains("nova cdc resnapshot likes"));
        let epochs: Vec<_> = node.opened.writer.tables().iter().map(|table| table.epoch).collect();
        node.resnapshot(Tables::NONE.with(Table::Likes));
        node.catch_up();
        node.check_equal();
        // The others were not read.
        for (table, epoch) in Table::ALL.iter().zip(epochs) {
            let read = u16::from(*table == Table::Likes);
            assert_eq!(node.opened.writer.tables()[*table as usize].epoch, epoch + read, "{table}");
        }
    }
}

#[test]
fn p7_a_table_that_leaves_the_publication_is_said_within_ten_seconds() {
    let (pg, _, mut node) = following(true);
    pg.lock().drop_member(Table::Posts);
    let begun = pg.lock().now;
    node.until("the halt", |node| node.stopped().is_some());
    assert!(pg.lock().now - begun <= Duration::from_secs(11));
    assert!(node.view().reason().unwrap().contains("the publication has no more: posts"));
}

#[test]
fn p8_p14_a_publication_that_cannot_be_followed_is_refused_until_it_is_corrected() {
    type Spoil = fn(&mut Pg);
    let wrong: [(&str, Spoil); 4] = [
        ("pg-publication-leaf", |pg| pg.leaf = true),
        ("pg-publication-no-deletes", |pg| pg.publication.as_mut().unwrap().deletes = false),
        ("pg-publication-empty", |pg| pg.members = [None; 5]),
        ("pg-publication-missing", |pg| pg.publication = None),
    ];
    for (code, spoil) in wrong {
        // From the start on: nothing is made at their server.
        let pg = Arc::new(Mutex::new(Pg::default()));
        spoil(&mut pg.lock());
        let mut node = Node::boot(&Recorder::new(), &pg, settings());
        node.steps(50);
        let unfit = |node: &Node| match node.view().state {
            State::Unfit(finding) => finding.code.name(),
            other => panic!("{other:?}"),
        };
        assert_eq!(unfit(&node), code);
        assert!(pg.lock().slot.is_none());
        let fresh = Pg::default();
        let mut now = pg.lock();
        (now.leaf, now.publication, now.members) = (false, fresh.publication, fresh.members);
        drop(now);
        node.catch_up();
        // While it runs.
        spoil(&mut pg.lock());
        node.steps(120);
        match node.view().state {
            State::Unfit(finding) => assert_eq!(finding.code.name(), code),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn p9_what_is_not_repeated_is_never_taken_for_null() {
    let (pg, disk, mut node) = following(false);
    let (at, long) = (row(Table::Posts, 500, 4), "a caption that does not change at all");
    let post = |version: u64| {
        let mut values = row(Table::Posts, 500, version);
        values[2] = text(long);
        Write::Put(Table::Posts, values)
    };
    assert_ne!(at[3], at[2]);
    pg.lock().commit(&[post(1)]);
    pg.lock().commit(&[post(2)]);
    // A new key names the row that has the value; a delete tells nulls that are none.
    pg.lock().commit(&[Write::Rekey(Table::Posts, key(500), key(501))]);
    pg.lock().commit(&[Write::Rekey(Table::Posts, key(501), key(500)), post(3)]);
    node.catch_up();
    node.check_equal();
    assert_eq!(node.partition().unfilled, 0);
    // The row is not stored: its value is counted as unknown, and the row is there.
    let sync = disk.syncs();
    drop(node);
    let mut node = Node::boot(&disk.image(sync, 0), &pg, settings());
    pg.lock().commit(&[Write::Delete(Table::Posts, key(500))]);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p10_an_invalidated_slot_is_one_state_and_no_loop() {
    for lost in [true, false] {
        let (pg, _, mut node) = following(false);
        match lost {
            true => pg.lock().slot.as_mut().unwrap().lost = Some("wal_removed"),
            false => pg.lock().slot = None,
        }
        pg.lock().disconnect();
        let starts = pg.lock().starts;
        node.until("the halt", |node| node.stopped().is_some());
        assert_eq!(node.stopped(), Some("pg-slot-lost"));
        node.steps(3_000);
        assert_eq!(pg.lock().starts, starts);
        some(&pg, 9);
        node.resnapshot(Tables::ALL);
        node.catch_up();
        node.check_equal();
    }
}

#[test]
fn p10_without_an_order_at_most_three_snapshots_are_made_within_an_hour() {
    let (pg, _, mut node) = following(true);
    for round in 0..3 {
        pg.lock().slot.as_mut().unwrap().lost = Some("idle_timeout");
        pg.lock().disconnect();
        some(&pg, round);
        node.catch_up();
        node.check_equal();
    }
    pg.lock().slot.as_mut().unwrap().lost = Some("idle_timeout");
    pg.lock().disconnect();
    node.until("the halt", |node| node.stopped().is_some());
    let snapshots = node.status.snapshots.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(snapshots, 4);
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p16_p19_a_session_ends_for_silence_and_never_while_keepalives_come() {
    let (pg, _, mut node) = following(false);
    let starts = pg.lock().starts;
    for _ in 0..3_000 {
        // A long foreign transaction.
        pg.lock().foreign_wal(1 << 20);
        node.step();
    }
    assert_eq!(pg.lock().starts, starts, "P19");
    pg.lock().silent = true;
    node.until("another session", |_| {
        let starts_now = pg.lock().starts;
        starts_now > starts
    });
    pg.lock().silent = false;
    assert_eq!(node.status.stalls.load(std::sync::atomic::Ordering::Relaxed), 1);
    some(&pg, 4);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p17_a_snapshot_that_fails_leaves_no_slot_behind() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(6), 60);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, settings());
    // The double refuses a second slot of the name.
    for round in 0..6 {
        pg.lock().break_copy_after = Some(3 + round);
        node.until("the failure", |node| node.pg.lock().break_copy_after.is_none());
        some(&pg, u64::from(round));
        if round % 2 == 0 {
            let sync = disk.syncs();
            drop(node);
            pg.lock().open_snapshots = 0;
            node = Node::boot(&disk.image(sync, u64::from(round)), &pg, settings());
        }
    }
    node.catch_up();
    node.check_equal();
    assert_eq!(pg.lock().open_snapshots, 0);
}

#[test]
fn p18_a_row_that_cannot_be_read_is_a_dead_letter_that_can_be_replayed() {
    let (pg, _, mut node) = following(false);
    let mut broken = row(Table::Likes, 600, 1);
    broken[3] = text("next tuesday");
    pg.lock().commit(&[Write::Put(Table::Likes, broken), Write::Put(Table::Likes, row(Table::Likes, 601, 1))]);
    node.catch_up();
    assert_eq!(node.count(Outcome::Dead), 1);
    let read = node.opened.store.read().unwrap();
    let (_, letter) = nova::pipeline::dead::page(&read, None, 10).unwrap().remove(0);
    let record = nova::pipeline::dead::record(&letter);
    let relation = record.origin.as_ref().unwrap().kind.relation().unwrap().clone();
    assert_eq!((&*relation.name, relation.columns.len()), ("likes", 4));
    assert_eq!(record.value.as_ref().unwrap()[0], b'I');
    assert_eq!(letter.reason, "invalid-value");
    // The rest of the stream went on.
    assert_eq!(
        pg.lock().tables[Table::Likes as usize].len(),
        crate::support::dump(&node.opened)[Table::Likes as usize].len() + 1
    );
}

#[test]
fn p21_rows_that_share_an_lsn_are_told_apart_by_their_place() {
    let (pg, disk, mut node) = following(false);
    {
        let mut pg = pg.lock();
        let rows: Vec<_> = (0..5_000).map(|id| Write::Put(Table::Follows, row(Table::Follows, 700 + id, id))).collect();
        pg.commit(&rows);
        let last = pg.log.last_mut().unwrap();
        let lsn = last.changes[0].0;
        // As COPY and multi-inserts write them.
        last.changes.iter_mut().for_each(|change| change.0 = lsn);
    }
    node.until("a part of the transaction", |node| node.partition().row.consumed > 2_000);
    let mut node = again(&disk, &pg, node);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p22_a_promoted_standby_is_gone_on_with_only_where_nothing_was_lost() {
    // Nothing was lost, and the slot is there.
    let (pg, _, mut node) = following(false);
    let end_lsn = pg.lock().lsn;
    pg.lock().promote(end_lsn, true);
    some(&pg, 2);
    node.catch_up();
    node.check_equal();
    assert_eq!(node.position().unwrap().timeline, 2);
    // The slot did not come along.
    let end_lsn = pg.lock().lsn;
    pg.lock().promote(end_lsn, false);
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-slot-lost"));
    node.resnapshot(Tables::ALL);
    node.catch_up();
    // Changes that nova has are not on the new timeline.
    let before = pg.lock().log.last().unwrap().end_lsn;
    some(&pg, 3);
    node.catch_up();
    pg.lock().promote(before, true);
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-timeline"));
    some(&pg, 4);
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p4_a_server_that_was_put_back_from_a_copy_is_told_by_its_log() {
    for resnapshot in [false, true] {
        let (pg, _, mut node) = following(resnapshot);
        let copied = pg.lock().log.last().unwrap().end_lsn;
        some(&pg, 2);
        node.catch_up();
        // Its log is already longer than what nova has read of the other one.
        pg.lock().restore(copied);
        pg.lock().now += STEP;
        fill(&mut pg.lock(), &mut Rng(40), 60);
        assert!(pg.lock().lsn > node.position().unwrap().end_lsn);
        if !resnapshot {
            node.until("the halt", |node| node.stopped().is_some());
            assert_eq!(node.stopped(), Some("pg-behind"));
            node.resnapshot(Tables::ALL);
        }
        node.catch_up();
        node.check_equal();
    }
}

#[test]
fn another_database_is_said_and_read_after_the_command() {
    let (pg, _, mut node) = following(false);
    let mut other = Pg::default();
    // Its log is shorter than that of the first.
    (other.system_id, other.now, other.lsn) = (8, pg.lock().now, 0x10_0000);
    fill(&mut other, &mut Rng(77), 30);
    pg.lock().disconnect();
    *pg.lock() = other;
    pg.lock().crash();
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-other-system"));
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn a_slot_of_somebody_else_is_never_dropped_without_the_command() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    let lsn = pg.lock().lsn;
    pg.lock().slot = Some(Slot { confirmed: lsn, saved: lsn, ..Slot::default() });
    let mut node = Node::boot(&Recorder::new(), &pg, FollowSettings { resnapshot: true, ..settings() });
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-slot-foreign"));
    assert_eq!(pg.lock().slot.as_ref().unwrap().confirmed, lsn);
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn a_slot_that_holds_too_much_of_their_log_is_dropped_where_that_is_limited() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    let mut node = Node::boot(&Recorder::new(), &pg, FollowSettings { max_held_wal_mib: 100, ..settings() });
    node.catch_up();
    // A table stands, and the stream with it.
    let (actor, reply) = ("test".to_owned(), Box::new(|()| {}));
    let pause = nova::pipeline::writer::Command::Pause { table: Table::Likes, actor, reply };
    node.write(Some(nova::pipeline::writer::Message::Command(pause)));
    pg.lock().commit(&[Write::Put(Table::Likes, row(Table::Likes, 1, 1))]);
    node.steps(20);
    assert!(node.partition().hold.is_some());
    pg.lock().foreign_wal(101 << 20);
    node.until("the slot to be dropped", |node| node.pg.lock().slot.is_none());
    assert_eq!(node.stopped(), Some("pg-held-wal"));
}

#[test]
fn what_comes_again_otherwise_than_before_is_numbered_on() {
    let (pg, disk, mut node) = following(false);
    let rows: Vec<_> = (0..6_000)
        .map(|id| {
            Write::Put(if id % 2 == 0 { Table::Likes } else { Table::Follows }, {
                let table = if id % 2 == 0 { Table::Likes } else { Table::Follows };
                row(table, 1_000 + id, id)
            })
        })
        .collect();
    pg.lock().commit(&rows);
    node.until("a part of the transaction", |node| node.partition().row.consumed > 3_000);
    let sync = disk.syncs();
    drop(node);
    // The numbers of what is sent again are others: a change of the transaction is not sent any more.
    pg.lock().log.last_mut().unwrap().changes.remove(10);
    let removed = key(1_010);
    let mut node = Node::boot(&disk.image(sync, 0), &pg, settings());
    node.catch_up();
    assert!(node.partition().hold.is_none() && node.stopped().is_none());
    assert!(node.count(Outcome::Duplicate) > 1_000, "{:?}", node.partition().row);
    // The row was applied before.
    assert!(crate::support::dump(&node.opened).concat().iter().any(|line| line.contains(&removed)));
    node.check_equal();
}

#[test]
fn a_resnapshot_deletes_what_is_gone_and_old_rows_stay_until_then() {
    let (pg, _, mut node) = following(false);
    let rows = || -> usize { crate::support::dump(&node.opened).iter().map(Vec::len).sum() };
    let before = rows();
    // Everything is lost, and the server lost some rows and has others.
    pg.lock().disconnect();
    pg.lock().slot = None;
    let mut rng = Rng(8);
    (0..40).for_each(|_| pg.lock().commit(&transaction(&mut rng, 6, 60)));
    assert!(before > 20);
    node.until("the halt", |node| node.stopped().is_some());
    node.resnapshot(Tables::ALL);
    let mut least = usize::MAX;
    for _ in 0..400 {
        node.step();
        least = least.min(crate::support::dump(&node.opened).iter().map(Vec::len).sum());
    }
    let theirs = pg.lock().tables.iter().map(std::collections::BTreeMap::len).sum::<usize>();
    assert!(least >= before.min(theirs), "rows went before the snapshot was read: {least} of {before} and {theirs}");
    node.catch_up();
    node.check_equal();
}
