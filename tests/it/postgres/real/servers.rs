//! Faults of the PostgreSQL server: it is killed, invalidates the slot, is restored, or requires TLS.

use crate::stack::workload::session;
use crate::stack::world::{nap, until};
use crate::support::asked;
use crate::support::events::Rng;

use super::cluster::Cluster;
use super::ends_equal;
use super::place::{PUBLISHED, Place};

/// The number of transactions of all sessions together. The variable `NOVA_TEST_TRANSACTIONS` overrides this number.
const TRANSACTIONS: u64 = 400;

/// The minimum and maximum number of kills of the server or of nova. After the minimum, the kills continue only while
/// the sessions still write.
const KILLS: std::ops::Range<u32> = 6..60;

/// Runs a session that connects again when its server is killed.
fn stubborn(url: &str, number: u64, count: u64) {
    let mut left = count;
    while left > 0 {
        let Ok(mut sql) = postgres::Client::connect(url, postgres::NoTls) else {
            nap(50);
            continue;
        };
        let part = left.min(20);
        let worked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session(&mut sql, number * 1_000 + left, part)));
        if worked.is_ok() {
            left -= part;
        }
    }
}

#[test]
fn a_workload_with_kill_9_of_nova_and_of_postgresql_ends_equal() {
    let Some(cluster) = Cluster::begin(&["checkpoint_timeout=30s"]) else { return };
    let mut place = Place::at(cluster.url());
    place.send_to_clickhouse();
    place.start();
    let count = asked("NOVA_TEST_TRANSACTIONS").unwrap_or(TRANSACTIONS) / 2;
    let hook = std::panic::take_hook();
    // The kill of a server makes the sessions panic, and each session begins again.
    std::panic::set_hook(Box::new(|_| {}));
    let workers: Vec<_> = (0..2)
        .map(|number| {
            let url = place.database();
            std::thread::spawn(move || stubborn(&url, number, count))
        })
        .collect();
    let mut rng = Rng(3);
    for number in 0..KILLS.end {
        if number >= KILLS.start && workers.iter().all(std::thread::JoinHandle::is_finished) {
            break;
        }
        nap(400 + rng.below(900));
        match rng.below(2) {
            0 => {
                cluster.kill();
                cluster.start();
            }
            _ => {
                place.kill();
                let (confirmed, committed) = (place.confirmed(), place.committed());
                assert!(confirmed <= committed, "the slot is at {confirmed:?}, the store at {committed:?}");
                place.start();
            }
        }
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    std::panic::set_hook(hook);
    ends_equal(&mut place);
}

#[test]
fn p10_a_slot_that_the_server_gave_up_is_said_and_everything_is_read_again_where_that_is_set() {
    let limits = ["max_slot_wal_keep_size=32MB", "max_wal_size=64MB", "min_wal_size=32MB", "wal_keep_size=0"];
    let Some(cluster) = Cluster::begin(&limits) else { return };
    let mut place = Place::at(cluster.url());
    session(&mut place.sql(), 1, 40);
    place.start();
    place.sentinel();
    place.stop();
    // The inserted rows write more log than the server keeps for the slot.
    place.run("CREATE TABLE foreign_rows (text text)");
    for _ in 0..8 {
        place.run("INSERT INTO foreign_rows SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i; TRUNCATE foreign_rows");
        place.run("SELECT pg_switch_wal()");
        place.run("CHECKPOINT");
    }
    place.run("DELETE FROM likes");
    session(&mut place.sql(), 2, 40);
    place.start();
    until("the reason", || place.ready().contains("pg-slot-lost"));
    assert!(place.ready().contains("nova cdc resnapshot"), "{}", place.ready());
    place.stop();
    place.set("NOVA_POSTGRES_ON_SLOT_LOST", "resnapshot");
    place.start();
    ends_equal(&mut place);
}

#[test]
fn p4_p22_a_server_that_was_restored_from_a_backup_is_another_timeline_or_behind() {
    let Some(cluster) = Cluster::begin(&[]) else { return };
    let mut place = Place::at(cluster.url());
    session(&mut place.sql(), 1, 40);
    place.start();
    place.sentinel();
    place.stop();
    // The test makes a cold copy of the server, which contains the slot.
    cluster.stop();
    let copy = cluster.data().with_file_name("copy");
    let copied = std::process::Command::new("cp").arg("-a").arg(cluster.data()).arg(&copy).status().unwrap();
    assert!(copied.success());
    cluster.start();
    place.start();
    session(&mut place.sql(), 2, 60);
    place.sentinel();
    place.stop();
    cluster.stop();
    std::fs::remove_dir_all(cluster.data()).unwrap();
    std::fs::rename(&copy, cluster.data()).unwrap();
    cluster.start();
    // The restored server has lost changes that nova has, and has made new changes since the restore.
    session(&mut place.sql(), 3, 200);
    place.start();
    until("the reason", || place.ready().contains("pg-behind"));
    place.resnapshot();
    ends_equal(&mut place);
}

/// On a server that has recovered from a crash, the position of the replayed log no longer moves. To measure the bytes
/// that the slot holds back, nova uses the end of the flushed log.
#[test]
fn p12_what_is_held_back_goes_by_the_flushed_log_of_a_server_that_recovered() {
    const FOREIGN_BYTES: i64 = 4 << 20;
    let Some(cluster) = Cluster::begin(&[]) else { return };
    let mut place = Place::at(cluster.url());
    place.start();
    place.sentinel();
    cluster.kill();
    cluster.start();
    place.sentinel();
    place.stop();
    place.run("CREATE TABLE foreign_rows (text text)");
    place.run("INSERT INTO foreign_rows SELECT repeat(md5(i::text), 30) FROM generate_series(1, 10000) i");
    let behind = "SELECT (pg_current_wal_flush_lsn() - pg_last_wal_replay_lsn())::int8";
    let behind_bytes: Option<i64> = place.sql().query_one(behind, &[]).unwrap().get(0);
    assert!(behind_bytes > Some(FOREIGN_BYTES), "the server is no example of the fault: {behind_bytes:?}");
    let output = place.nova().args(["--json", "postgres", "status"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let held = status["slot"]["state"]["retained_bytes"].as_i64().unwrap();
    assert!(held > FOREIGN_BYTES, "{status}");
    place.start();
    ends_equal(&mut place);
}

/// If a publication is dropped and made again, PostgreSQL decodes the changes from before the drop as if the new
/// publication did not exist. nova reports a publication that is younger than the slot, and one command makes the rows
/// equal again.
#[test]
fn p13_a_publication_that_is_younger_than_the_slot_loses_nothing_in_silence() {
    let Some(cluster) = Cluster::begin(&[]) else { return };
    let mut place = Place::at(cluster.url());
    session(&mut place.sql(), 1, 40);
    place.start();
    place.sentinel();
    place.stop();
    place.run(&format!("DROP PUBLICATION {}", place.name));
    session(&mut place.sql(), 2, 40);
    place.run("DELETE FROM likes");
    place.run(&format!("CREATE PUBLICATION {} FOR TABLE {PUBLISHED}", place.name));
    session(&mut place.sql(), 3, 40);
    place.start();
    let stopped = || place.ready().contains("\"not-ready\"") && place.ready().contains("pg-");
    until("the reason", stopped);
    place.resnapshot();
    ends_equal(&mut place);
}
