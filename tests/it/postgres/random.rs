//! Random histories of transactions and faults: kills of nova, crashes of the server, changed slots, tables that leave
//! the publication and come back, and promotions of a standby. The test plays the operator, and runs the one command
//! that nova recommends. At the end nova has the rows of the server, and nova has acknowledged only what the store had.

use std::sync::Arc;

use nova::event::{Table, Tables};
use nova::source::postgres::follower::FollowSettings;
use nova_storage::testing::Recorder;
use parking_lot::Mutex;

use super::node::{Node, settings};
use super::rows::{fill, transaction};
use super::walsender::{Pg, Slot};
use crate::support::asked;
use crate::support::events::Rng;

const SEEDS: u64 = 60;
const STEPS: u64 = 150;

/// The kinds of faults that a random history may have.
#[derive(Clone, Copy)]
struct Weather {
    kills: bool,
    /// Whether the history has faults that only a person can repair.
    disasters: bool,
}

fn disaster(rng: &mut Rng, pg: &mut Pg) {
    match rng.below(8) {
        0 => {
            pg.disconnect();
            pg.slot = None;
        }
        1 => {
            if let Some(slot) = &mut pg.slot {
                slot.lost = Some("wal_removed");
            }
            pg.disconnect();
        }
        2 => {
            // Somebody moves the slot by hand.
            pg.disconnect();
            let lsn = pg.lsn;
            if let Some(slot) = &mut pg.slot {
                (slot.confirmed, slot.saved) = (lsn, lsn);
            }
        }
        3 => {
            // Somebody drops the slot and makes it again.
            pg.disconnect();
            pg.lsn += 56;
            pg.slot = Some(Slot { confirmed: pg.lsn, saved: pg.lsn, ..Slot::default() });
        }
        4 => {
            let table = Table::ALL[rng.below(5) as usize];
            pg.drop_member(table);
            (0..rng.below(4)).for_each(|_| pg.commit(&transaction(rng, 4, 30)));
            pg.add_member(table);
        }
        5 => {
            let at = pg.log.iter().rev().nth(rng.below(4) as usize).map_or(0, |one| one.end_lsn);
            let keep = rng.below(2) == 0;
            pg.promote(at, keep);
        }
        6 => {
            let at = pg.log.iter().rev().nth(1 + rng.below(4) as usize).map_or(0x100_0000, |one| one.end_lsn);
            pg.restore(at);
            // The clock of the restored server also advances.
            pg.now += std::time::Duration::from_millis(7);
            (0..rng.below(12)).for_each(|_| pg.commit(&transaction(rng, 4, 30)));
        }
        _ => pg.system_id += 1,
    }
}

fn story(seed: u64, weather: Weather) {
    let mut rng = Rng(seed);
    let pg = Arc::new(Mutex::new(Pg::default()));
    fill(&mut pg.lock(), &mut rng, 20);
    let mut disk = Recorder::new();
    let settings = FollowSettings { resnapshot: rng.below(4) == 0, ..settings() };
    let mut node = Node::boot(&disk, &pg, settings.clone());
    for _ in 0..STEPS {
        match rng.below(40) {
            0..12 => pg.lock().commit(&transaction(&mut rng, 6, 30)),
            12 => (0..30).for_each(|_| pg.lock().commit(&transaction(&mut rng, 3, 30))),
            13 => pg.lock().commit(&transaction(&mut rng, 900, 400)),
            14 => pg.lock().foreign_wal(1 << 20),
            15 => pg.lock().checkpoint(),
            16 => pg.lock().crash(),
            17 => pg.lock().disconnect(),
            18 => pg.lock().break_copy_after = Some(rng.below(40) as u32),
            19 if weather.kills => {
                let (sync, loss) = (disk.syncs(), rng.next());
                drop(node);
                disk = disk.image(sync, loss);
                node = Node::boot(&disk, &pg, settings.clone());
            }
            20 if weather.disasters => disaster(&mut rng, &mut pg.lock()),
            21 => node.follow(),
            22 => node.ingest(),
            23 => node.write(None),
            _ => node.step(),
        }
        if node.stopped().is_some() && rng.below(3) == 0 {
            node.resnapshot(Tables::ALL);
        }
    }
    pg.lock().break_copy_after = None;
    for _ in 0..2_000 {
        node.step();
        if let Some(code) = node.stopped() {
            assert!(weather.disasters, "{code} although nothing happened to the slot: {:?}", node.view());
            node.resnapshot(Tables::ALL);
            node.steps(5);
        }
    }
    node.catch_up();
    node.check_equal();
}

fn stories(what: &str, weather: Weather) {
    let (from, count) = match asked("NOVA_TEST_PG_SEED") {
        Some(seed) => (seed, 1),
        None => (0, asked("NOVA_TEST_PG_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in from..from + count {
        let done = std::panic::catch_unwind(|| story(seed, weather));
        assert!(done.is_ok(), "{what}: seed {seed} (NOVA_TEST_PG_SEED={seed})");
    }
}

#[test]
fn nova_ends_equal_to_the_server_through_kills_and_crashes() {
    stories("kills", Weather { kills: true, disasters: false });
}

#[test]
fn nova_ends_equal_to_the_server_whatever_happens_to_the_slot() {
    stories("disasters", Weather { kills: true, disasters: true });
}
