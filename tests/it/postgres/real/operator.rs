//! Commands of an operator with a real server: `nova postgres`, `nova check`, and what readiness and metrics report.

use std::process::{Command, Output};

use serde_json::Value;

use crate::stack::workload::session;
use crate::stack::world::{http, until};

use super::cluster::Cluster;
use super::ends_equal;
use super::place::Place;

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(command: &mut Command) -> (Option<i32>, Value) {
    let output = command.arg("--json").output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
    (output.status.code(), value)
}

/// Makes a database that has the tables and nothing for nova. Returns the database, and the name of a role that does
/// not exist.
fn bare(at: String) -> (Place, String) {
    let place = Place::at(at);
    place.run(&format!("DROP PUBLICATION {}", place.name));
    let role = format!("{}_role", place.name);
    (place, role)
}

fn address(place: &Place, role: &str) -> String {
    let database = place.database();
    let (_, rest) = database.rsplit_once('@').unwrap();
    format!("postgres://{role}:a-secret@{rest}")
}

fn setup(place: &Place, role: &str) -> Command {
    let mut command = place.nova();
    command.env("NOVA_POSTGRES_URL", address(place, role));
    command.args(["postgres", "setup", "--apply", "--url", &place.database()]);
    command
}

#[test]
fn setup_makes_what_nova_needs_once_and_a_node_follows_with_those_rights_alone() {
    let Some(cluster) = Cluster::begin(&["max_slot_wal_keep_size=8GB"]) else { return };
    let (mut place, role) = bare(cluster.url());
    place.run(
        "ALTER TABLE users ADD COLUMN bio text, ADD COLUMN birthday date; ALTER TABLE posts ENABLE ROW LEVEL SECURITY",
    );
    // A statement trigger runs even if the statement changes no row.
    place.run(
        "CREATE TABLE touched (n int);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO touched VALUES (1); RETURN NULL; END $$;
         CREATE TRIGGER t AFTER UPDATE OR DELETE ON likes FOR EACH STATEMENT EXECUTE FUNCTION touch()",
    );
    session(&mut place.sql(), 1, 60);
    place.run("TRUNCATE touched");
    let (code, first) = json(&mut setup(&place, &role));
    assert_eq!(
        (code, &first["changed"], first["findings"].as_array().map(Vec::len)),
        (Some(0), &Value::Bool(true), Some(0)),
        "{first}"
    );
    assert!(!first.to_string().contains("a-secret") && !first.to_string().contains("SCRAM"), "{first}");
    let (code, second) = json(&mut setup(&place, &role));
    assert_eq!(
        (code, &second["changed"], &second["statements"]),
        (Some(0), &Value::Bool(false), &Value::Array(Vec::new()))
    );
    let plain = setup(&place, &role).output().unwrap();
    assert!(told(&plain).contains("nothing was changed"), "{}", told(&plain));
    let touched: i64 = place.sql().query_one("SELECT count(*) FROM touched", &[]).unwrap().get(0);
    assert_eq!(touched, 0, "what the triggers did was not taken back");
    let columns = "SELECT string_agg(a, ',') FROM pg_publication_tables, unnest(attnames) a WHERE tablename = 'users'";
    let columns: String = place.sql().query_one(columns, &[]).unwrap().get(0);
    assert_eq!(columns, "id,username,email_verified,is_active,created_at,updated_at,deleted_at,bio");
    let mut nova = postgres::Client::connect(&address(&place, &role), postgres::NoTls).unwrap();
    assert!(nova.query("SELECT id, bio FROM users LIMIT 1", &[]).is_ok());
    assert!(nova.query("SELECT email FROM users", &[]).is_err());
    assert!(nova.query("SELECT password_hash FROM users", &[]).is_err());
    let stored: String =
        place.sql().query_one("SELECT rolpassword FROM pg_authid WHERE rolname = $1", &[&role]).unwrap().get(0);
    assert!(stored.starts_with("SCRAM-SHA-256$"));
    place.start_over(&address(&place, &role));
    session(&mut place.sql(), 2, 30);
    ends_equal(&mut place);
}

/// Issues mastra 13097, daily.dev 4008 and go-pq-cdc 158: the application's UPDATE failed once its table was published.
#[test]
fn p15_setup_changes_nothing_where_the_applications_own_statements_would_fail() {
    let Some(cluster) = Cluster::begin(&[]) else { return };
    type Case = (&'static str, &'static str, &'static str);
    let cases: [Case; 4] = [
        (
            "ALTER TABLE users REPLICA IDENTITY FULL",
            "pg-identity-uncovered",
            "ALTER TABLE users REPLICA IDENTITY DEFAULT",
        ),
        (
            "ALTER TABLE follows DROP CONSTRAINT follows_pkey",
            "pg-no-replica-identity",
            "ALTER TABLE follows ADD PRIMARY KEY (id)",
        ),
        (
            "CREATE UNIQUE INDEX by_mail ON users (email); ALTER TABLE users REPLICA IDENTITY USING INDEX by_mail",
            "pg-identity-uncovered",
            "ALTER TABLE users REPLICA IDENTITY DEFAULT",
        ),
        // The list of columns in the catalogue does not show the row filter, but a probe of the plan finds it.
        (
            "CREATE PUBLICATION #P FOR TABLE posts WHERE (status = 'published')",
            "The application's own statement would fail",
            "DROP PUBLICATION #P",
        ),
    ];
    for (spoil, words, repair) in cases {
        let (place, role) = bare(cluster.url());
        place.run(&spoil.replace("#P", &place.name));
        let refused = setup(&place, &role).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{spoil}");
        assert!(told(&refused).contains(words) && told(&refused).contains("nothing was changed"), "{}", told(&refused));
        let there = |sql: &str, name: &String| -> i64 { place.sql().query_one(sql, &[name]).unwrap().get(0) };
        assert_eq!(there("SELECT count(*) FROM pg_roles WHERE rolname = $1", &role), 0, "{spoil}");
        assert_eq!(
            there(
                "SELECT count(*) FROM pg_publication_tables WHERE pubname = $1 AND tablename <> 'posts'",
                &place.name
            ),
            0
        );
        place.run(&repair.replace("#P", &place.name));
        let done = setup(&place, &role).output().unwrap();
        assert!(done.status.success(), "{}", told(&done));
        place.run("UPDATE users SET is_active = is_active; DELETE FROM follows; UPDATE posts SET caption = caption");
    }
}

#[test]
fn setup_repairs_a_publication_that_leaks_or_lacks_and_says_what_to_read_again() {
    let Some(cluster) = Cluster::begin(&["max_slot_wal_keep_size=8GB"]) else { return };
    let (place, role) = bare(cluster.url());
    place.run(&format!("CREATE PUBLICATION {} FOR TABLE users, posts WITH (publish = 'insert')", place.name));
    let (_, checked) = json(place.nova().arg("check"));
    let codes: Vec<_> =
        checked["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    for code in ["pg-private-columns", "pg-publication-incomplete", "pg-publication-no-deletes"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    let done = setup(&place, &role).output().unwrap();
    assert!(done.status.success() && told(&done).contains("nova cdc resnapshot users"), "{}", told(&done));
    let checked = place.nova().arg("check").output().unwrap();
    assert!(checked.status.success(), "{}", told(&checked));
    // A publication of all tables has no list of tables.
    place.run(&format!("DROP PUBLICATION {0}; CREATE PUBLICATION {0} FOR ALL TABLES", place.name));
    let refused = setup(&place, &role).output().unwrap();
    assert!(!refused.status.success() && told(&refused).contains("FOR ALL TABLES"), "{}", told(&refused));
}

#[test]
fn the_printed_script_is_what_psql_runs_and_apply_finds_nothing_to_do_then() {
    let Some(cluster) = Cluster::begin(&[]) else { return };
    let (place, role) = bare(cluster.url());
    let printed =
        place.nova().env("NOVA_POSTGRES_URL", address(&place, &role)).args(["postgres", "setup"]).output().unwrap();
    let script = String::from_utf8(printed.stdout).unwrap();
    assert!(
        script.contains(&format!("CREATE ROLE {role} LOGIN REPLICATION;")) && !script.contains("a-secret"),
        "{script}"
    );
    place.run(&script);
    let (code, after) = json(&mut setup(&place, &role));
    assert_eq!((code, &after["changed"]), (Some(0), &Value::Bool(false)), "{after}");
    // With a server to check, `nova postgres setup` prints only the missing statements.
    let lacking = place.nova().args(["postgres", "setup", "--url", &place.database()]).output().unwrap();
    assert!(!told(&lacking).contains("CREATE PUBLICATION"), "{}", told(&lacking));
}

#[test]
fn status_and_drop_slot_know_where_the_store_stands_beside_a_node_and_without_one() {
    let Some(mut place) = Place::begin() else { return };
    let (code, before) = json(place.nova().args(["postgres", "status"]));
    assert_eq!(
        (code, &before["slot"]["exists"], &before["store"]),
        (Some(0), &Value::Bool(false), &Value::Null),
        "{before}"
    );
    place.start();
    place.sentinel();
    until("the slot to be streamed", || place.ready().contains("\"ready\""));
    let url = place.url().to_owned();
    let (code, beside) = json(place.nova().args(["postgres", "status", "--url", &url]));
    assert_eq!(
        (code, &beside["slot"]["state"]["active"], &beside["store"]["running"]),
        (Some(0), &Value::Bool(true), &Value::Bool(true))
    );
    assert_eq!(beside["publication"]["state"]["tables"].as_array().unwrap().len(), 5);
    // Without `--url`, the command finds the store locked, and asks the node of the configuration.
    let listen = url.strip_prefix("http://").unwrap();
    let (code, locked) = json(place.nova().env("NOVA_HTTP_LISTEN", listen).args(["postgres", "status"]));
    assert_eq!((code, &locked["store"]["running"]), (Some(0), &Value::Bool(true)), "{locked}");
    let metrics = http("GET", &format!("{url}/metrics"), "", "").unwrap().1;
    for series in [
        "nova_pg_up 1",
        "nova_pg_lag_bytes ",
        "nova_pg_lag_seconds ",
        "nova_pg_retained_wal_bytes ",
        "nova_pg_wal_status{status=\"reserved\"} 1",
        "nova_pg_spill_bytes_total ",
        "nova_pg_reconnects_total 0",
        "nova_pg_stalls_total 0",
        "nova_pg_snapshot_rows_total ",
        "nova_pg_snapshot_done 1",
    ] {
        assert!(metrics.contains(series), "{series}\n{metrics}");
    }
    // The first look at the slot may come before the server has sent anything, so the test waits for the next look.
    until("the end of what the server has sent", || {
        let overview = http("GET", &format!("{url}/api/v1/overview"), "", "").unwrap().1;
        overview.contains("\"sent_lsn\":\"") && overview.contains("\"received_lsn\":\"")
    });
    // The test server has no limit on the log that it keeps for a slot.
    assert!(metrics.contains("nova_pg_findings{code=\"pg-keep-size\"} 1") && place.ready().contains("pg-keep-size: "));
    let active = place.nova().args(["postgres", "drop-slot", "--force", "--url", &url]).output().unwrap();
    assert!(!active.status.success() && told(&active).contains("stop nova first"), "{}", told(&active));
    place.stop();
    let (code, stopped) = json(place.nova().args(["postgres", "status"]));
    assert_eq!((code, &stopped["store"]["running"]), (Some(0), &Value::Bool(false)));
    assert_eq!(stopped["store"]["lsn"], stopped["slot"]["state"]["confirmed_flush_lsn"]);
    let follows = place.nova().args(["postgres", "drop-slot"]).output().unwrap();
    assert!(!follows.status.success() && told(&follows).contains("--force"), "{}", told(&follows));
    let (code, dropped) = json(place.nova().args(["postgres", "drop-slot", "--force"]));
    assert_eq!((code, &dropped["dropped"]), (Some(0), &Value::Bool(true)));
    let (code, again) = json(place.nova().args(["postgres", "drop-slot"]));
    assert_eq!((code, &again["dropped"]), (Some(0), &Value::Bool(false)));
    let (code, gone) = json(place.nova().args(["postgres", "status"]));
    assert_eq!(code, Some(1));
    assert!(gone["findings"].to_string().contains("pg-slot-lost"), "{gone}");
}

#[test]
fn check_says_what_a_server_lacks_and_what_an_address_leads_to() {
    let limits = ["max_replication_slots=1", "max_slot_wal_keep_size=64MB", "max_wal_senders=2"];
    let Some(cluster) = Cluster::begin(&limits) else { return };
    let place = Place::at(cluster.url());
    let codes = |command: &mut Command| -> Vec<String> {
        let (code, checked) = json(command.arg("check"));
        let found = checked["findings"].as_array().unwrap();
        assert_eq!(code, Some(i32::from(!found.is_empty())), "{checked}");
        found.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&mut place.nova()), ["pg-keep-size"]);
    place.run("SELECT pg_create_logical_replication_slot('somebody', 'pgoutput')");
    assert_eq!(codes(&mut place.nova()), ["pg-slots-full", "pg-keep-size"]);
    place.run("CREATE ROLE reader LOGIN");
    let database = place.database();
    let reader = database.replace("postgres@", "reader@");
    let few = codes(place.nova().env("NOVA_POSTGRES_URL", &reader));
    assert_eq!(few[0], "pg-no-replication-right");
    assert!(few.contains(&"pg-no-table-right".to_owned()), "{few:?}");
    assert_eq!(codes(place.nova().env("NOVA_POSTGRES_URL", database.replace("postgres@", "nobody@"))), ["pg-refused"]);
    assert_eq!(codes(place.nova().env("NOVA_POSTGRES_URL", "postgres://me@127.0.0.1:1/app")), ["pg-unreachable"]);
}
