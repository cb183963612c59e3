//! Tests in which the slot, the server or the store was replaced. nova reports every replaced slot, server or store,
//! and one command makes nova's rows equal to the server's rows again. The numbers in the test names refer to public
//! bugs of systems other than nova.

use std::sync::Arc;

use nova::event::{Table, Tables};
use nova::source::postgres::follower::FollowSettings;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::following::{following, some};
use super::node::{Node, STEP, settings};
use super::rows::{fill, row};
use super::walsender::{Pg, Slot, Write};
use crate::support::events::Rng;

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
fn p4_a_server_that_was_put_back_from_a_copy_is_told_by_its_log() {
    for resnapshot in [false, true] {
        let (pg, _, mut node) = following(resnapshot);
        let copied = pg.lock().log.last().unwrap().end_lsn;
        some(&pg, 2);
        node.catch_up();
        // The log of the new server is already longer than the part of the old server's log that nova has read.
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
fn p22_a_promoted_standby_is_gone_on_with_only_where_nothing_was_lost() {
    // The first standby is promoted without a loss of changes, and it has the slot.
    let (pg, _, mut node) = following(false);
    let end_lsn = pg.lock().lsn;
    pg.lock().promote(end_lsn, true);
    some(&pg, 2);
    node.catch_up();
    node.check_equal();
    assert_eq!(node.position().unwrap().timeline, 2);
    // The second promoted server does not have the slot.
    let end_lsn = pg.lock().lsn;
    pg.lock().promote(end_lsn, false);
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some("pg-slot-lost"));
    node.resnapshot(Tables::ALL);
    node.catch_up();
    // nova has changes that are not on the new timeline.
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
fn another_database_is_said_and_read_after_the_command() {
    let (pg, _, mut node) = following(false);
    let mut other = Pg::default();
    // The log of the second server is shorter than the log of the first server.
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
    // If one table is paused, the whole stream is paused.
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
