//! Changes that the stream does not report, or reports only when they are outdated. In each case an attacker once made
//! nova's rows differ from PostgreSQL's rows while nova was ready. Each case runs with the double of the server.

use std::sync::Arc;

use nova::event::{Table, Tables};
use nova::source::postgres::finding::Code;
use nova::source::postgres::status::State;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::following::{again, following, some};
use super::node::{Node, settings};
use super::rows::{fill, key, row};
use super::walsender::{Pg, Write};
use crate::support::events::Rng;

const LIKES: Tables = Tables::NONE.with(Table::Likes);

/// Makes steps until nova has acknowledged an idle position, which is a position up to which the server had nothing to
/// send. After the steps, the function saves the position of the slot on the server.
fn idle(pg: &Mutex<Pg>, node: &mut Node) {
    pg.lock().foreign_wal(1 << 20);
    let end = pg.lock().lsn;
    node.until("the idle position", |node| node.position().is_some_and(|position| position.end_lsn >= end));
    node.steps(20);
    assert_eq!(pg.lock().slot.as_ref().unwrap().confirmed, end);
    pg.lock().checkpoint();
}

fn like(id: u64, version: u64) -> Write {
    Write::Put(Table::Likes, row(Table::Likes, id, version))
}

fn stops_with(node: &mut Node, code: &str, command: &str) {
    node.until("the halt", |node| node.stopped().is_some());
    assert_eq!(node.stopped(), Some(code));
    let reason = node.view().reason().unwrap();
    assert!(reason.contains(command), "{reason}");
}

#[test]
fn a_server_that_was_put_back_is_told_where_its_slot_stands_behind_the_last_change() {
    // The test restores the server before the first change after the snapshot, and after a change.
    for changes in [false, true] {
        let (pg, disk, mut node) = following(false);
        if changes {
            some(&pg, 2);
            node.catch_up();
        }
        idle(&pg, &mut node);
        let copied = pg.lock().lsn;
        idle(&pg, &mut node);
        // The position of the copied slot is after the last change, and before the idle position.
        pg.lock().restore(copied);
        pg.lock().commit(&[like(3, 900), Write::Delete(Table::Likes, key(4))]);
        pg.lock().foreign_wal(8 << 20);
        stops_with(&mut node, "pg-behind", "nova cdc resnapshot");
        // nova did not move the slot, so the next process reports the position of the slot as a finding again.
        assert!(pg.lock().slot.as_ref().unwrap().confirmed <= copied, "what nova has not was acknowledged");
        let mut node = again(&disk, &pg, node);
        stops_with(&mut node, "pg-behind", "nova cdc resnapshot");
        node.resnapshot(Tables::ALL);
        node.catch_up();
        node.check_equal();
    }
}

#[test]
fn a_server_that_was_put_back_without_the_last_change_is_told_before_another_one_comes() {
    let (pg, _, mut node) = following(false);
    idle(&pg, &mut node);
    let copied = pg.lock().lsn;
    some(&pg, 2);
    node.catch_up();
    pg.lock().restore(copied);
    // Nobody writes to the tables that nova follows.
    pg.lock().foreign_wal(8 << 20);
    stops_with(&mut node, "pg-behind", "nova cdc resnapshot");
    node.resnapshot(Tables::ALL);
    node.catch_up();
    node.check_equal();
}

#[test]
fn a_slot_that_a_crash_of_the_server_set_back_is_read_on_from_wherever_it_was_saved() {
    // The saved position of the slot is before changes that nova has, between the changes and an idle position, or at
    // the idle position.
    for saved in 0..3 {
        let (pg, disk, mut node) = following(false);
        idle(&pg, &mut node);
        let save = |now: usize| {
            if now == saved {
                pg.lock().checkpoint();
            }
        };
        save(0);
        (2..6).for_each(|seed| some(&pg, seed));
        node.catch_up();
        save(1);
        pg.lock().foreign_wal(1 << 20);
        let end = pg.lock().lsn;
        node.until("the idle position", |node| node.position().is_some_and(|position| position.end_lsn >= end));
        node.steps(20);
        save(2);
        let redelivered = node.partition().redelivered;
        pg.lock().crash();
        some(&pg, 9);
        node.catch_up();
        assert_eq!((node.stopped(), node.partition().redelivered), (None, redelivered));
        node.check_equal();
        // nova also continues without a finding if the nova process restarts after a second crash of the server.
        pg.lock().crash();
        let mut node = again(&disk, &pg, node);
        some(&pg, 10);
        node.catch_up();
        assert_eq!(node.stopped(), None);
        node.check_equal();
        let confirmed = pg.lock().slot.as_ref().unwrap().confirmed;
        assert_eq!(confirmed, node.position().unwrap().end_lsn, "acknowledged again once the log is known");
    }
}

#[test]
fn what_a_copy_of_a_table_has_is_not_taken_from_the_stream_behind_it() {
    // In one run, the test kills the node between the copy and the part of the stream that repeats the copy.
    for kill in [false, true] {
        let (pg, mut disk, node) = following(false);
        let sync = disk.syncs();
        drop(node);
        // The stream contains the inserts, and the table is not published while the rows are deleted.
        let rows: Vec<_> = (0..3_000).map(|id| like(1_000 + id, id)).collect();
        pg.lock().commit(&rows);
        pg.lock().drop_member(Table::Likes);
        let gone: Vec<_> = (0..3_000).step_by(2).map(|id| Write::Delete(Table::Likes, key(1_000 + id))).collect();
        pg.lock().commit(&gone);
        pg.lock().add_member(Table::Likes);
        // While one table is copied, the other tables change, and the copy does not contain the changes of the other
        // tables.
        some(&pg, 3);
        disk = disk.image(sync, 0);
        let mut node = Node::boot(&disk, &pg, settings());
        stops_with(&mut node, "pg-publication-changed", "nova cdc resnapshot likes");
        node.resnapshot(LIKES);
        if kill {
            let copied = |node: &Node| node.position().is_some_and(|position| position.copied != [0; 5]);
            node.until("the copy to be committed", copied);
            node = again(&disk, &pg, node);
        }
        some(&pg, 4);
        node.catch_up();
        node.check_equal();
        // Changes after the copy are applied.
        pg.lock().commit(&[like(1_000, 7), Write::Delete(Table::Likes, key(1_001))]);
        node.catch_up();
        node.check_equal();
        assert_eq!(node.position().unwrap().copied, [0; 5], "the copy is not behind the stream");
    }
}

#[test]
fn changes_of_a_table_that_was_replaced_are_not_taken_for_those_of_the_table_that_was_copied() {
    for while_down in [false, true] {
        let (pg, disk, node) = following(false);
        let sync = disk.syncs();
        let running = Some(node).filter(|_| !while_down);
        pg.lock().commit(&[like(700, 1), like(701, 1)]);
        // The new table, which has the name of the old table, has only one of the rows.
        pg.lock().tables[Table::Likes as usize].remove(&key(700));
        pg.lock().replace(Table::Likes);
        pg.lock().commit(&[like(702, 1)]);
        let mut node = running.unwrap_or_else(|| Node::boot(&disk.image(sync, 0), &pg, settings()));
        stops_with(&mut node, "pg-publication-changed", "nova cdc resnapshot likes");
        node.resnapshot(LIKES);
        node.catch_up();
        node.check_equal();
        pg.lock().commit(&[like(702, 2), like(700, 2)]);
        node.catch_up();
        node.check_equal();
    }
}

#[test]
fn a_table_that_had_another_name_while_it_was_changed_is_read_again() {
    for (namespace, name) in [("public", "likes_old"), ("hidden", "likes"), ("public", "comments")] {
        for resnapshot in [false, true] {
            let (pg, _, mut node) = following(resnapshot);
            some(&pg, 2);
            pg.lock().rename(Table::Likes, namespace, name);
            pg.lock().commit(&[Write::Put(Table::Users, row(Table::Users, 5, 800)), like(900, 1)]);
            pg.lock().rename(Table::Likes, "public", "likes");
            some(&pg, 3);
            if !resnapshot {
                stops_with(&mut node, "pg-publication-changed", "nova cdc resnapshot likes");
                node.resnapshot(LIKES);
            }
            node.catch_up();
            node.check_equal();
            assert_eq!(node.stopped(), None, "{namespace}.{name}");
        }
    }
}

#[test]
fn a_table_that_had_another_name_for_a_time_and_no_change_stops_nothing() {
    let (pg, _, mut node) = following(false);
    pg.lock().rename(Table::Likes, "hidden", "likes");
    pg.lock().commit(&[Write::Put(Table::Users, row(Table::Users, 5, 800))]);
    pg.lock().rename(Table::Likes, "public", "likes");
    some(&pg, 3);
    node.catch_up();
    node.steps(120);
    assert_eq!(node.view().state, State::Streaming);
    node.check_equal();
}

#[test]
fn a_table_that_a_person_wanted_is_read_when_it_comes_into_the_publication() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(1), 20);
    pg.lock().drop_member(Table::Likes);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, settings());
    node.catch_up();
    let snapshots = |node: &Node| node.status.snapshots.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(snapshots(&node), 1);
    node.resnapshot(LIKES);
    node.steps(300);
    // nova need not read any table again, and follows all published tables.
    assert_eq!((snapshots(&node), node.view().state), (1, State::Streaming));
    some(&pg, 2);
    pg.lock().add_member(Table::Likes);
    some(&pg, 3);
    node.steps(130);
    assert_eq!((snapshots(&node), node.stopped()), (2, None));
    node.catch_up();
    node.check_equal();
    assert!(node.position().unwrap().wanted.is_empty());
}

#[test]
fn a_column_of_another_type_is_said_until_the_table_is_read_again() {
    let (pg, disk, mut node) = following(false);
    let said = |node: &Node| node.view().warnings.iter().any(|finding| finding.code == Code::TableRedefined);
    some(&pg, 2);
    node.catch_up();
    node.steps(120);
    assert!(!said(&node));
    pg.lock().retype(Table::Posts, "status", 1_043);
    node.steps(120);
    assert!(said(&node) && node.view().state == State::Streaming, "{:?}", node.view().state);
    // nova also knows the missing table after a restart.
    let mut node = again(&disk, &pg, node);
    node.catch_up();
    assert!(said(&node));
    node.resnapshot(Tables::NONE.with(Table::Posts));
    node.catch_up();
    node.steps(120);
    assert!(!said(&node));
    node.check_equal();
}
