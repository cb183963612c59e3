use crate::event::Tables;
use crate::source::postgres::finding::Effect;
use crate::source::postgres::fitness::{findings, unfit};
use crate::source::postgres::slot::{IdentityColumn, OpenTransaction, Publication, SlotRow, Used};

use super::*;

/// A description of a server that has no problem.
fn fit() -> Seen {
    let published = |table: Table| Published {
        table: Some(table),
        namespace: "public".to_owned(),
        name: table.name().to_owned(),
        columns: table.columns().iter().map(|column| (column.name.to_owned(), 25)).collect(),
        replica_identity: 'd',
        has_primary_key: true,
        identity_columns: vec![IdentityColumn { name: "id".to_owned(), generated: false, published: true }],
        ..Published::default()
    };
    let slot =
        SlotRow { active_pid: Some(7), wal_status: "reserved".to_owned(), restart_lsn: Some(1), ..SlotRow::default() };
    Seen {
        version: 18_00_06,
        wal_level: "logical".to_owned(),
        may_replicate: true,
        slot: Some(slot),
        publication: Some(Publication {
            inserts: true,
            updates: true,
            deletes: true,
            truncates: true,
            ..Publication::default()
        }),
        tables: Table::ALL.map(published).to_vec(),
        ..Seen::default()
    }
}

type Spoil = fn(&mut Seen);

const SPOILS: &[(Code, Spoil)] = &[
    (Code::MinorVersion, |seen| seen.version = 15_00_12),
    (Code::MinorVersion, |seen| seen.version = 16_00_09),
    (Code::MinorVersion, |seen| seen.version = 17_00_05),
    (Code::SlotsFull, |seen| (seen.slot, seen.limits.slots) = (None, Used { used: 2, most: 2 })),
    (Code::SendersFull, |seen| {
        seen.slot.as_mut().unwrap().active_pid = None;
        seen.limits.senders = Used { used: 3, most: 3 };
    }),
    (Code::PublicationYounger, |seen| seen.publication.as_mut().unwrap().is_younger = true),
    (Code::PublicationIncomplete, |seen| drop(seen.tables.pop())),
    (Code::NoTableRight, |seen| seen.tables[1].unreadable = vec!["caption".to_owned()]),
    (Code::PrivateColumns, |seen| seen.tables[0].columns.push(("Password_Hash".to_owned(), 25))),
    (Code::NoReplicaIdentity, |seen| seen.tables[1].has_primary_key = false),
    (Code::NoReplicaIdentity, |seen| seen.tables[1].replica_identity = 'n'),
    (Code::NoReplicaIdentity, |seen| {
        seen.tables[1].replica_identity = 'i';
        seen.tables[1].identity_columns.clear();
    }),
    (Code::IdentityWithoutKey, |seen| {
        seen.tables[4].replica_identity = 'i';
        seen.tables[4].identity_columns[0].name = "user_id".to_owned();
    }),
    (Code::IdentityWithoutKey, |seen| seen.tables[4].identity_columns[0].name = "user_id".to_owned()),
    (Code::PublicationNoTruncate, |seen| seen.publication.as_mut().unwrap().truncates = false),
    (Code::IdentityUncovered, |seen| seen.tables[0].identity_columns[0].published = false),
    (Code::GeneratedIdentity, |seen| {
        let column = IdentityColumn { name: "sum".to_owned(), generated: true, published: false };
        seen.tables[1].replica_identity = 'f';
        seen.tables[1].identity_columns.push(column);
    }),
    (Code::KeepSize, |seen| seen.limits.keep_mib = -1),
    (Code::KeepSize, |seen| seen.limits.keep_mib = 0),
    (Code::KeepSize, |seen| seen.limits.keep_mib = 1_023),
    (Code::IdleTimeout, |seen| seen.limits.idle_timeout_s = 3_600),
    (Code::NoFailover, |seen| seen.limits.has_standby = true),
    (Code::Spilling, |seen| seen.slot.as_mut().unwrap().spilled_bytes = 256 << 20),
    (Code::OldTransaction, |seen| {
        seen.limits.oldest = Some(OpenTransaction { who: "process 7".to_owned(), age_s: OLD_TRANSACTION_S });
    }),
];

#[test]
fn each_hazard_is_said_alone_with_a_way_out_and_stops_nothing() {
    assert_eq!(findings(&fit(), "nova", "nova"), []);
    for (code, spoil) in SPOILS {
        let mut seen = fit();
        spoil(&mut seen);
        let found = findings(&seen, "nova", "nova");
        assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [*code]);
        assert!(found[0].remedy.len() > 20 && found[0].repair == Tables::NONE, "{}", found[0]);
        assert_eq!((code.effect(), unfit(&seen, "nova", "nova")), (Effect::Warns, None));
    }
}

#[test]
fn every_code_that_warns_has_a_case_here() {
    use crate::source::postgres::finding::TABLE;
    /// The findings that other tests check, because they need the database's tables (`around/tests.rs`) or the earlier
    /// state of the tables (`redefined.rs`).
    const ELSEWHERE: [Code; 4] = [Code::ColumnsLeftOut, Code::RowSecurity, Code::Encoding, Code::TableRedefined];
    let cased = |code: &Code| SPOILS.iter().any(|(spoiled, _)| spoiled == code) || ELSEWHERE.contains(code);
    let warns = TABLE.iter().filter(|(_, _, effect)| *effect == Effect::Warns);
    let lacks: Vec<_> = warns.filter(|(code, ..)| !cased(code)).collect();
    assert!(lacks.is_empty(), "{lacks:?}");
}

#[test]
fn a_statement_fits_the_way_in_which_the_table_is_published() {
    let found = |spoil: Spoil| {
        let mut seen = fit();
        seen.tables[0].columns.extend(["email", "birthday"].map(|name| (name.to_owned(), 25)));
        spoil(&mut seen);
        findings(&seen, "nova", "nova").remove(0).remedy
    };
    let list = "(id, username, email_verified, is_active, created_at, updated_at, deleted_at)";
    let named = found(|seen| seen.tables[0].filter = Some("is_active".to_owned()));
    let again = format!("ALTER PUBLICATION nova ADD TABLE public.users {list} WHERE (is_active)");
    assert_eq!(
        named,
        format!("ALTER PUBLICATION nova DROP TABLE public.users; {again}; then nova cdc resnapshot users")
    );
    let own = format!("CREATE PUBLICATION nova_tables FOR TABLE public.users {list}, public.posts, public.follows");
    let cases: [(Spoil, &str); 2] = [
        (|seen| seen.publication.as_mut().unwrap().all_tables = true, "FOR ALL TABLES"),
        (|seen| seen.tables[0].membership = "9.7//17.701".to_owned(), "FOR TABLES IN SCHEMA"),
    ];
    for (spoil, words) in cases {
        let remedy = found(spoil);
        assert!(remedy.contains(&own) && remedy.contains(words) && !remedy.contains("DROP TABLE"), "{remedy}");
    }
    let mut seen = fit();
    seen.publication.as_mut().unwrap().all_tables = true;
    seen.tables[1].has_primary_key = false;
    assert!(!findings(&seen, "nova", "nova")[0].remedy.contains("DROP TABLE"));
}

#[test]
fn what_is_right_at_its_border_is_not_said() {
    let right: &[Spoil] = &[
        |seen| seen.version = 15_00_14,
        |seen| seen.version = 16_00_10,
        |seen| seen.version = 17_00_06,
        // The slot already exists, so nova need not make a slot.
        |seen| seen.limits.slots = Used { used: 2, most: 2 },
        // nova itself uses one of the WAL senders.
        |seen| seen.limits.senders = Used { used: 3, most: 3 },
        |seen| seen.limits.keep_mib = KEEP_MIN_MIB,
        |seen| seen.slot.as_mut().unwrap().spilled_bytes = (256 << 20) - 1,
        |seen| (seen.version, seen.limits.has_standby) = (16_00_12, true),
        |seen| (seen.limits.has_standby, seen.slot.as_mut().unwrap().failover) = (true, true),
        // Before version 18 of PostgreSQL, generated columns cannot be published, so the check does not compare them.
        |seen| {
            seen.version = 17_00_10;
            let column = IdentityColumn { name: "sum".to_owned(), generated: true, published: false };
            seen.tables[1].identity_columns.push(column);
        },
    ];
    for spoil in right {
        let mut seen = fit();
        spoil(&mut seen);
        assert_eq!(findings(&seen, "nova", "nova"), []);
    }
}
