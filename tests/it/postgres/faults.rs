//! Faults of the stream that were public bugs of systems other than nova, each tested with the double. The tests check
//! what nova acknowledges and when, what a session survives, and what a row may contain. `slots` and `copies` test the
//! faults of slots and of copies, and `real` tests the faults that need a real server.

use std::time::Duration;

use nova::event::{Outcome, Table};
use nova::source::postgres::status::State;

use super::following::{again, following, some};
use super::node::{Node, STEP, settings};
use super::rows::{key, row};
use super::walsender::{Write, text};

#[test]
fn p1_the_end_of_a_transaction_is_acknowledged_only_when_all_of_it_is_committed() {
    let (pg, disk, mut node) = following(false);
    let before = pg.lock().slot.clone().unwrap().confirmed;
    let rows: Vec<_> = (0..9_000).map(|id| Write::Put(Table::Likes, row(Table::Likes, 1_000 + id, id))).collect();
    pg.lock().commit(&rows);
    // nova has committed a part of the transaction when the process is killed.
    node.until("a part of the transaction", |node| node.partition().row.consumed > 4_000);
    assert!(node.partition().row.consumed < 9_000, "the transaction was committed at once");
    assert_eq!(pg.lock().slot.clone().unwrap().confirmed, before);
    let mut node = again(&disk, &pg, node);
    node.catch_up();
    node.check_equal();
    assert!(node.partition().redelivered > 4_000 && pg.lock().slot.clone().unwrap().confirmed > before);
}

#[test]
fn p3_p24_the_slot_moves_on_while_the_followed_tables_are_idle() {
    let (pg, _, mut node) = following(false);
    for _ in 0..16 {
        pg.lock().foreign_wal(64 << 20);
        // The steps last a little more than ten seconds, which is the interval of idle positions.
        node.steps(110);
        let pg = pg.lock();
        let held = pg.lsn - pg.slot.as_ref().unwrap().confirmed;
        assert!(held < 64 << 20, "{held} bytes are held");
    }
    // For the idle position, the server had to write neither a log record nor a table.
    let consumed = node.partition().row.consumed;
    node.steps(200);
    assert_eq!(node.partition().row.consumed, consumed);
}

#[test]
fn p6_a_writer_that_stands_for_minutes_costs_no_session() {
    let (pg, _, mut node) = following(false);
    let starts = pg.lock().starts;
    for seed in 0..300 {
        some(&pg, seed);
        pg.lock().now += Duration::from_secs(1);
        // The writer makes no step, while the follower and ingest make steps.
        node.follow();
        node.ingest();
    }
    assert_eq!(node.view().state, State::Streaming);
    assert_eq!(pg.lock().starts, starts);
    node.catch_up();
    node.check_equal();
    assert_eq!(pg.lock().starts, starts);
    let view = node.view();
    let positions = [view.told_lsn, view.committed_lsn, view.received_lsn, view.server_lsn];
    assert!(view.told_lsn > 0 && positions.is_sorted(), "{positions:?}");
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
    // A change of a key comes first, for which nova must take the value from the row with the old key. A delete reports
    // nulls for values that are not null.
    pg.lock().commit(&[Write::Rekey(Table::Posts, key(500), key(501))]);
    pg.lock().commit(&[Write::Rekey(Table::Posts, key(501), key(500)), post(3)]);
    node.catch_up();
    node.check_equal();
    assert_eq!(node.partition().unfilled, 0);
    // The delete comes after a restart, so nova must find the row in its store.
    let sync = disk.syncs();
    drop(node);
    let mut node = Node::boot(&disk.image(sync, 0), &pg, settings());
    pg.lock().commit(&[Write::Delete(Table::Posts, key(500))]);
    node.catch_up();
    node.check_equal();
}

#[test]
fn p16_p19_a_session_ends_for_silence_and_never_while_keepalives_come() {
    let (pg, _, mut node) = following(false);
    let starts = pg.lock().starts;
    for _ in 0..3_000 {
        // A long transaction writes to a second database of the server, and nova does not follow this database.
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
    // All changes of the stream except the dead letter were applied.
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
        // COPY and an insert of several rows write changes with the same LSN.
        last.changes.iter_mut().for_each(|change| change.0 = lsn);
    }
    node.until("a part of the transaction", |node| node.partition().row.consumed > 2_000);
    let mut node = again(&disk, &pg, node);
    node.catch_up();
    node.check_equal();
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
    // The changes of the repeated transaction get new numbers, because the server no longer sends one of them.
    pg.lock().log.last_mut().unwrap().changes.remove(10);
    let removed = key(1_010);
    let mut node = Node::boot(&disk.image(sync, 0), &pg, settings());
    node.catch_up();
    assert!(node.partition().hold.is_none() && node.stopped().is_none());
    assert!(node.count(Outcome::Duplicate) > 1_000, "{:?}", node.partition().row);
    // nova had applied the removed row before its restart.
    assert!(crate::support::dump(&node.opened).concat().iter().any(|line| line.contains(&removed)));
    node.check_equal();
}

#[test]
fn p23_a_run_that_ends_at_once_has_told_the_server_of_its_last_commit() {
    let (pg, _, mut node) = following(false);
    some(&pg, 2);
    let end_lsn = pg.lock().log.last().unwrap().end_lsn;
    // The follower does not notice the last commit of the store before the process ends.
    for _ in 0..1_000 {
        pg.lock().now += STEP / 10;
        node.follow();
        node.ingest();
        node.write(None);
        if node.position().unwrap().end_lsn >= end_lsn {
            break;
        }
    }
    assert_eq!(node.position().unwrap().end_lsn, end_lsn);
    assert!(pg.lock().slot.as_ref().unwrap().confirmed < end_lsn, "it was told before the end");
    node.close();
    assert_eq!(pg.lock().slot.as_ref().unwrap().confirmed, end_lsn);
    assert_eq!(node.view().state, State::Closed);
}
