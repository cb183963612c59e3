//! A database with a publication, and a nova that follows it; each test uses its own names.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nova::source::postgres::link;
use nova::source::postgres::lsn::parse_lsn;
use nova::source::postgres::position::Position;
use nova_storage::codec::OffsetRow;
use nova_storage::schema::OFFSETS;
use nova_storage::{Options, Store};
use parking_lot::Mutex;
use postgres::{Client as Postgres, NoTls};
use serde_json::Value;

use crate::stack::world::{drop_database, http, until};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// The published tables and columns of the test database. The columns `password_hash` and `email` are not published.
pub const PUBLISHED: &str = "users (id, username, email_verified, is_active, created_at, updated_at, deleted_at), posts, follows, \
                         comments, likes";

pub struct Place {
    server: String,
    /// The name of the database. In a database that the test makes, the slot and the publication also have this name.
    pub name: String,
    slot: String,
    data: PathBuf,
    /// The directory of the store, which is removed at the end, or `None` if the caller owns the directory.
    own: Option<tempfile::TempDir>,
    node: Option<(Child, String)>,
    sentinels: std::cell::Cell<u32>,
    more: BTreeMap<&'static str, String>,
    /// The address of ClickHouse, if nova sends rows to a ClickHouse database with the name of the PostgreSQL database.
    clickhouse: Option<String>,
}

impl Place {
    /// Makes the database with the tables and the publication. Returns `None` if no PostgreSQL server is named.
    pub fn begin() -> Option<Place> {
        let server = crate::support::environment("NOVA_TEST_POSTGRES").unwrap_or_default();
        if server.is_empty() {
            eprintln!("skipped: NOVA_TEST_POSTGRES is not set");
            return None;
        }
        Some(Place::at(server))
    }

    /// Makes a new database for the caller on the server.
    pub fn at(server: String) -> Place {
        let name = format!("nova{:08x}", uuid::Uuid::new_v4().as_fields().0);
        let mut admin = Postgres::connect(&server, NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut place = Place::beside(&server, &name, &name, dir.path());
        place.own = Some(dir);
        place.run(include_str!("../../../../deploy/postgres/10-schema.sql"));
        place.run(&format!("CREATE PUBLICATION {} FOR TABLE {PUBLISHED}", place.name));
        place
    }

    /// Makes a store in a directory for an existing database and publication. The function changes neither the database
    /// nor the publication.
    pub fn beside(server: &str, name: &str, slot: &str, data: &Path) -> Place {
        let (server, name, slot) = (server.to_owned(), name.to_owned(), slot.to_owned());
        let (sentinels, more) = (std::cell::Cell::new(0), BTreeMap::new());
        Place { server, name, slot, data: data.to_owned(), own: None, node: None, sentinels, more, clickhouse: None }
    }

    /// Makes a second store, without rows, for the database of this store.
    pub fn fresh(&self, data: &Path) -> Place {
        let mut fresh = Place::beside(&self.server, &self.name, &self.slot, data);
        fresh.set("NOVA_POSTGRES_SLOT", format!("{}_fresh", self.slot));
        fresh
    }

    /// Adds a variable to the environment of nova.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.more.insert(name, value.into());
    }

    /// Makes nova also send rows to the real ClickHouse, if `NOVA_TEST_CLICKHOUSE` names one.
    pub fn send_to_clickhouse(&mut self) {
        let url = crate::support::environment("NOVA_TEST_CLICKHOUSE").unwrap_or_default();
        if url.is_empty() {
            eprintln!("skipped: ClickHouse's rows are not compared: NOVA_TEST_CLICKHOUSE is not set");
            return;
        }
        self.set("NOVA_CLICKHOUSE_URL", url.clone());
        self.set("NOVA_CLICKHOUSE_DATABASE", self.name.clone());
        self.clickhouse = Some(url);
    }

    /// Waits until no row waits for ClickHouse, if nova sends rows there.
    pub fn sent(&self) {
        let waits = |line: &str| line.starts_with("nova_outbox_rows{") && !line.ends_with(" 0.0");
        until("the rows to be in ClickHouse", || {
            let metrics = self.metrics();
            metrics.contains("nova_outbox_rows{") && !metrics.lines().any(waits)
        });
    }

    /// Returns a function that runs a query in ClickHouse, and returns the lines of the answer. Returns `None` if nova
    /// sends no rows to ClickHouse.
    pub fn warehouse(&self) -> Option<impl Fn(&str) -> Vec<String>> {
        let url = format!("{}/?database={}", self.clickhouse.as_ref()?, self.name);
        Some(move |sql: &str| {
            let (status, body) = http("POST", &url, "", sql).unwrap();
            assert_eq!(status, 200, "{sql}: {body}");
            body.lines().map(str::to_owned).collect()
        })
    }

    pub fn database(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    pub fn sql(&self) -> Postgres {
        Postgres::connect(&self.database(), NoTls).unwrap()
    }

    pub fn run(&self, sql: &str) {
        self.sql().batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub fn nova(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        command.arg("--data").arg(&self.data).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env_clear().env("PATH", crate::support::environment("PATH").unwrap_or_default());
        command.env("NOVA_POSTGRES_URL", self.database()).env("NOVA_LOG_LEVEL", "info");
        command.env("NOVA_POSTGRES_SLOT", &self.slot).env("NOVA_POSTGRES_PUBLICATION", &self.slot);
        command.env("NOVA_LIMITS_ENABLED", "false").env("NOVA_POSTGRES_SSL_MODE", "disable").envs(&self.more);
        command
    }

    pub fn start(&mut self) {
        self.start_over(&self.database());
    }

    pub fn start_over(&mut self, url: &str) {
        let log = std::fs::File::options().create(true).append(true).open(self.data.join("log")).unwrap();
        let mut command = self.nova();
        command.args(["serve", "--listen", "127.0.0.1:0", "--postgres", url]);
        let mut child = command.stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{}", self.log()));
        self.node = Some((child, url.to_owned()));
    }

    pub fn store(&self) -> PathBuf {
        self.data.join("nova.redb")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("log")).unwrap_or_default()
    }

    pub fn url(&self) -> &str {
        &self.node.as_ref().unwrap().1
    }

    /// Kills nova with `kill -9`.
    pub fn kill(&mut self) {
        let (mut child, _) = self.node.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends nova with SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        let (mut child, _) = self.node.take().unwrap();
        crate::support::signal(&child, rustix::process::Signal::TERM);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", self.log());
    }

    /// Runs the command that makes the running node read all tables again.
    pub fn resnapshot(&self) {
        let output = self.nova().args(["cdc", "resnapshot", "--url", self.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn ready(&self) -> String {
        http("GET", &format!("{}/health/ready", self.url()), "", "").map(|(_, body)| body).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        http("GET", &format!("{}/metrics", self.url()), "", "").map(|(_, body)| body).unwrap_or_default()
    }

    fn token(&self, user: &str) -> String {
        let output = self.nova().args(["token", "--sub", user]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Returns the posts of a user's feed, newest first.
    pub fn feed(&self, user: &str) -> Vec<String> {
        let headers = format!("Authorization: Bearer {}\r\n", self.token(user));
        let answer = http("GET", &format!("{}/api/v1/feed?algo=time&limit=100", self.url()), &headers, "");
        let Some((200, body)) = answer else { return Vec::new() };
        let feed: Value = serde_json::from_str(&body).unwrap();
        feed["posts"].as_array().unwrap().iter().map(|post| post.as_str().unwrap().to_owned()).collect()
    }

    /// Writes a reader and, as the last row, a post by an author whom the reader follows. Returns the ids of the reader
    /// and of the post. As soon as the feed shows the post, everything that was written before the post has arrived.
    pub fn sentinel(&self) -> (String, String) {
        let (user, post) = self.plant();
        until("the sentinel in the feed", || self.feed(&user).contains(&post));
        // The post may come from the first snapshot, and a node that stops before the end of that snapshot reads the
        // whole snapshot again. nova acknowledges a position only after the store has the end of the first snapshot.
        until("the first snapshot to be complete in the store", || self.acknowledges());
        (user, post)
    }

    /// Returns whether nova streams, and has acknowledged a position.
    fn acknowledges(&self) -> bool {
        let metrics = self.metrics();
        let value = |name| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value("nova_pg_snapshot_done ") == Some(1.0) && value("nova_pg_feedback_lsn ").is_some_and(|lsn| lsn > 0.0)
    }

    /// Writes a reader, and a post that the reader's feed will contain.
    pub fn plant(&self) -> (String, String) {
        let number = self.sentinels.replace(self.sentinels.get() + 1);
        // The key of the post is within every row filter that a test sets.
        let row = self.sql().query_one(
            &format!(
                "WITH a AS (INSERT INTO users (email, username, password_hash) VALUES ('sa{number}', 'sa{number}', 'x') RETURNING id),
                      b AS (INSERT INTO users (email, username, password_hash) VALUES ('sb{number}', 'sb{number}', 'x') RETURNING id),
                      f AS (INSERT INTO follows (follower_id, following_id) SELECT a.id, b.id FROM a, b),
                      p AS (INSERT INTO posts (id, user_id, image_key, status)
                            SELECT ('f' || substr(gen_random_uuid()::text, 2))::uuid, id, 'k', 'published' FROM b RETURNING id)
                 SELECT a.id::text, p.id::text FROM a, p"
            ),
            &[],
        );
        let row = row.unwrap();
        (row.get(0), row.get(1))
    }

    pub fn source_rows(&self) -> BTreeMap<String, Vec<BTreeMap<String, Value>>> {
        let mut sql = self.sql();
        let rows = |table: &nova::event::Table| {
            let columns: Vec<_> = table.columns().iter().map(|column| column.name).collect();
            let select =
                format!("SELECT row_to_json(t)::text FROM (SELECT {} FROM {table}) t ORDER BY id", columns.join(", "));
            sql.batch_execute("SET timezone = 'UTC'").unwrap();
            let rows = sql.query(&select, &[]).unwrap();
            let rows = rows.iter().map(|row| serde_json::from_str(row.get::<_, &str>(0)).unwrap()).collect();
            (table.name().to_owned(), rows)
        };
        nova::event::Table::ALL.iter().map(rows).collect()
    }

    /// Returns the output of `nova dump` for every table of the stopped node.
    pub fn dumped(&self) -> Vec<Vec<String>> {
        let dump = |table: &nova::event::Table| {
            let output = self.nova().args(["dump", "--table", table.name()]).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
        };
        nova::event::Table::ALL.iter().map(dump).collect()
    }

    /// Returns the slot's `confirmed_flush_lsn`.
    pub fn confirmed(&self) -> Option<u64> {
        let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1";
        let row = self.sql().query_opt(sql, &[&self.slot]).unwrap()?;
        parse_lsn(row.get::<_, Option<&str>>(0)?)
    }

    /// Returns the position of the stopped store, if the store has one.
    pub fn committed(&self) -> Option<u64> {
        let store = Store::open(&self.store(), &Options::default(), |_| {}).unwrap();
        let name = link::partition(&self.slot);
        let read = store.read().unwrap();
        let cookie = |bytes: &[u8]| OffsetRow::decode(bytes).unwrap().1.to_vec();
        let cookie = read.get_with(OFFSETS, (&*name.topic, name.partition), cookie).unwrap()?;
        let position = Position::decode(&cookie).unwrap();
        // nova acknowledges nothing of a snapshot before it has read the whole snapshot. Before the end of a snapshot,
        // the slot stays at the LSN where it was made.
        match position.phase {
            nova::source::postgres::position::Phase::Stream => Some(position.end_lsn),
            nova::source::postgres::position::Phase::Snapshot => Some(u64::MAX),
        }
    }

    /// Returns the number of bytes of the log that the server keeps for the slot.
    pub fn held_bytes(&self) -> i64 {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn)::int8 FROM pg_replication_slots
                   WHERE slot_name = $1";
        // From time to time the server writes a record of the running transactions, and only then can the restart
        // position of a slot advance.
        self.run("CHECKPOINT");
        self.sql().query_one(sql, &[&self.slot]).unwrap().get(0)
    }

    /// Makes the PostgreSQL server end the replication session.
    pub fn end_sessions(&self) {
        self.run(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
             WHERE slot_name = current_database() AND active_pid IS NOT NULL",
        );
        until("the slot to be free", || {
            let sql = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NULL";
            let free: i64 = self.sql().query_one(sql, &[&self.slot]).unwrap().get(0);
            free == 1
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.node {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("nova's log:\n{}", self.log().lines().rev().take(40).collect::<Vec<_>>().join("\n"));
        }
        if self.own.is_none() {
            return;
        }
        drop_database(&self.server, &self.name);
        if let Some(url) = &self.clickhouse {
            let _ = http("POST", url, "", &format!("DROP DATABASE IF EXISTS {}", self.name));
        }
    }
}

/// A proxy that records every byte between nova and the server.
pub struct Tap {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub fn to(place: &Place) -> Tap {
        let (_, rest) = place.server.rsplit_once('@').unwrap();
        let server = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<u8>>>::default());
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let heard = Arc::clone(&all);
                    std::thread::spawn(move || pipe(from, to, &heard));
                }
            }
        });
        Tap { port, heard }
    }

    pub fn url(&self, place: &Place) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, place.name)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.heard.lock().clone()
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        heard.lock().extend_from_slice(&buffer[..count]);
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
