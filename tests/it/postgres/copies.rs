//! Tests of the publication and of the copies of its tables: what nova reads, when nova reads it, and what prevents
//! reading. The numbers in the test names refer to public bugs of systems other than nova.

use std::sync::Arc;
use std::time::Duration;

use nova::event::{Table, Tables};
use nova::source::postgres::finding::Code;
use nova::source::postgres::position::Phase;
use nova::source::postgres::status::State;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::following::{following, some};
use super::node::{Node, STEP, settings};
use super::rows::{fill, key, row, transaction};
use super::walsender::{Pg, Write};
use crate::support::events::Rng;

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
    // The stored position is the point at which the slot was made.
    let made = pg.lock().slot.clone().unwrap().saved;
    assert_eq!(node.position().unwrap().end_lsn, made);
    node.catch_up();
    node.check_equal();
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
        // nova read again only the tables that the person had named.
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
    let wrong: [(&str, Spoil); 5] = [
        ("pg-publication-leaf", |pg| pg.leaf = true),
        ("pg-inheritance", |pg| pg.parents = Tables::NONE.with(Table::Posts)),
        ("pg-publication-no-deletes", |pg| pg.publication.as_mut().unwrap().deletes = false),
        ("pg-publication-empty", |pg| pg.members = [None; 5]),
        ("pg-publication-missing", |pg| pg.publication = None),
    ];
    for (code, spoil) in wrong {
        // Each problem of the server exists from the start, so nova makes nothing on the server.
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
        now.parents = fresh.parents;
        drop(now);
        node.catch_up();
        // Each problem of the server appears while the node runs.
        spoil(&mut pg.lock());
        node.steps(120);
        match node.view().state {
            State::Unfit(finding) => assert_eq!(finding.code.name(), code),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn p17_a_snapshot_that_fails_leaves_no_slot_behind() {
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut Rng(6), 60);
    let disk = Recorder::new();
    let mut node = Node::boot(&disk, &pg, settings());
    // The double of the server refuses a second slot with the same name.
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
fn a_resnapshot_deletes_what_is_gone_and_old_rows_stay_until_then() {
    let (pg, _, mut node) = following(false);
    let rows = || -> usize { crate::support::dump(&node.opened).iter().map(Vec::len).sum() };
    let before = rows();
    // The slot is lost, and the server has lost some rows and got new rows since then.
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

/// nova also checks the policies and the encoding of the database while the stream runs.
#[test]
fn policies_and_an_encoding_are_said_within_ten_seconds_while_the_stream_goes_on() {
    let (pg, _, mut node) = following(false);
    let starts = pg.lock().starts;
    assert_eq!(node.view().warnings, []);
    let likes = Tables::NONE.with(Table::Likes);
    pg.lock().encoding = "SQL_ASCII";
    pg.lock().hidden = likes;
    // The steps last a little more than ten seconds, which is the interval of the checks.
    node.steps(110);
    let codes: Vec<_> = node.view().warnings.iter().map(|one| one.code).collect();
    assert_eq!(codes, [Code::Encoding, Code::RowSecurity]);
    some(&pg, 2);
    node.catch_up();
    node.check_equal();
    assert_eq!(pg.lock().starts, starts);
    // PostgreSQL would refuse the copy, so nova does not begin the copy before the policies are removed.
    node.resnapshot(likes);
    node.steps(110);
    match node.view().state {
        State::Unfit(finding) => assert_eq!(finding.code, Code::RowSecurity),
        other => panic!("{other:?}"),
    }
    assert_eq!(pg.lock().open_snapshots, 0);
    pg.lock().hidden = Tables::NONE;
    node.catch_up();
    node.check_equal();
}
