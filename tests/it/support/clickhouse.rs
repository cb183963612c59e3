//! A double of ClickHouse over HTTP. The double keeps rows, remembers a window of deduplication tokens, and fails as
//! the test's script says.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nova::event::Id;
use nova::warehouse::{Target, Wire, rows};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use super::http_text::{parameter, request, response};

/// The fault that one insert into the double of ClickHouse meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A proxy in front of the server answers with 503.
    Reject,
    /// ClickHouse answers with an error with the given code, and stores nothing.
    Code(u32),
    /// The connection ends before the server has stored anything.
    CloseBefore,
    /// The server stores the rows, and the connection ends without an answer.
    FailAfterWrite,
    /// The server stores the rows, and no answer comes before the client stops waiting.
    Hang,
    /// The server stores the rows, and a materialised view fails on them.
    View,
    /// The connection ends while the insert is running. The insert continues without its client, and is stored after
    /// the next insert, unless it is killed.
    Zombie,
}

/// A function that decides whether the constraint of a table refuses a row.
pub type Refuses = fn(&[u8]) -> bool;

/// The rows that one insert into the double of ClickHouse has stored.
#[derive(Clone)]
pub struct Stored {
    /// The value of [`Inner::now`] when the insert arrived.
    pub at: usize,
    pub table: String,
    pub token: String,
    pub rows: Vec<Vec<u8>>,
}

pub struct Inner {
    pub stored: Vec<Stored>,
    /// A function that returns the number of the present moment of the run.
    pub now: Box<dyn Fn() -> usize + Send>,
    /// The inserts that run without their clients, each as its query id, table, token and rows.
    zombies: Vec<(String, String, String, Vec<u8>)>,
    /// The numbers of the batches whose rows nova has searched for.
    pub probes: BTreeSet<u64>,
    /// The query strings of the insert requests.
    pub targets: Vec<String>,
    /// The fixed answers to queries, each with a part of the query's text.
    pub answers: Vec<(&'static str, &'static str)>,
    /// The token of every insert, the hash of the insert's body, and the hash of the insert's rows as RowBinary, in the
    /// order of arrival.
    pub inserts: Vec<(String, u128, u128)>,
    window: Window,
    /// The number of tokens that a table remembers. `window_moments` is the number of moments for which a table
    /// remembers a token.
    pub window_max: usize,
    pub window_moments: usize,
    pub script: VecDeque<Option<Fault>>,
    /// The fault of every insert for which the script has no fault.
    pub always: Option<Fault>,
    pub refuses: Option<Refuses>,
    /// The password that every request must have, in lower case. The password in lower case; requests must contain this
    /// password.
    pub password: Option<String>,
    pub strangers: usize,
    /// The number of rows that the materialised view of `post_events` has counted. The view has its own window of
    /// tokens, and fails if `view_throws` is set.
    pub viewed: usize,
    view_window: Window,
    pub view_throws: bool,
    /// The rows of the table `schema_migrations`.
    migrations: Vec<String>,
}

/// The remembered tokens as (table, token, moment), oldest first.
type Window = VecDeque<(String, String, usize)>;

pub struct Fake {
    pub url: String,
    pub inner: Arc<Mutex<Inner>>,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            stored: Vec::new(),
            now: Box::new(|| 0),
            zombies: Vec::new(),
            probes: BTreeSet::new(),
            targets: Vec::new(),
            answers: Vec::new(),
            inserts: Vec::new(),
            window: Window::new(),
            window_max: 10_000,
            window_moments: usize::MAX,
            script: VecDeque::new(),
            always: None,
            refuses: None,
            password: None,
            strangers: 0,
            viewed: 0,
            view_window: Window::new(),
            view_throws: false,
            migrations: Vec::new(),
        }
    }
}

impl Inner {
    /// Copies the rows that a second double had stored up to the moment `until`.
    pub fn seed(&mut self, other: &Inner, until: usize) {
        self.stored = other.stored.iter().filter(|stored| stored.at <= until).cloned().collect();
        self.window = self.stored.iter().map(|one| (one.table.clone(), one.token.clone(), one.at)).collect();
    }

    pub fn rows(&self, table: &str) -> impl Iterator<Item = &Vec<u8>> {
        self.stored.iter().filter(move |stored| stored.table == table).flat_map(|stored| &stored.rows)
    }

    /// Stores the rows of an insert and of the materialised view, unless the token of the insert is known. Returns the
    /// error if the table or the view refuses a row. `into` is the table with the columns that the insert names, as in
    /// `posts_cdc (id, user_id`. The body is a block with exactly these columns.
    pub fn store(&mut self, into: &str, token: &str, body: &[u8]) -> Result<(), String> {
        let (table, names) = into.split_once(" (").unwrap();
        let target = Target::ALL.into_iter().find(|one| one.name() == table).unwrap();
        let block = super::native::read(body);
        assert_eq!(block.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "), names);
        let rows = block.rows;
        if let Some(refuses) = self.refuses
            && rows.iter().any(|row| refuses(row))
        {
            return Err("Code: 469. DB::Exception: Constraint `c` is violated. (VIOLATED_CONSTRAINT)".to_owned());
        }
        let (at, count) = ((self.now)(), rows.len());
        let (max, moments) = (self.window_max, self.window_moments);
        if remember(&mut self.window, (table, token), at, max, moments) {
            self.stored.push(Stored { at, table: table.to_owned(), token: token.to_owned(), rows });
        }
        if target != Target::Events {
            return Ok(());
        }
        if self.view_throws {
            return Err("Code: 469. DB::Exception: while pushing to view nova.post_metrics_1m_mv. (X)".to_owned());
        }
        if remember(&mut self.view_window, (table, token), at, max, moments) {
            self.viewed += count;
        }
        Ok(())
    }
}

/// Adds a token to a window of tokens. Returns true if the window did not contain the token.
fn remember(window: &mut Window, (table, token): (&str, &str), at: usize, max: usize, moments: usize) -> bool {
    window.retain(|(_, _, then)| at.saturating_sub(*then) <= moments);
    if window.iter().any(|(of, known, _)| of == table && known == token) {
        return false;
    }
    window.push_back((table.to_owned(), token.to_owned(), at));
    let of_table = |window: &Window| window.iter().filter(|(of, ..)| of == table).count();
    while of_table(window) > max
        && let Some(oldest) = window.iter().position(|(of, ..)| of == table)
    {
        window.remove(oldest);
    }
    true
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::<Mutex<Inner>>::default();
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || drop(serve(stream.unwrap(), &shared)));
            }
        });
        Fake { url, inner }
    }

    pub fn script(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.inner.lock().script = faults.into_iter().collect();
    }

    /// Returns the ids of the rows in a table. The id of a row that is stored twice is returned twice.
    pub fn ids(&self, table: &str) -> Vec<Id> {
        self.inner.lock().rows(table).map(|row| rows::id(row)).collect()
    }
}

fn serve(mut stream: TcpStream, shared: &Mutex<Inner>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut buffer = Vec::new();
    loop {
        let Some((length, target, body)) = request(&buffer) else {
            let mut piece = vec![0; 64 << 10];
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                read => buffer.extend_from_slice(&piece[..read]),
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..length]).to_lowercase();
        let stranger = shared
            .lock()
            .password
            .as_ref()
            .is_some_and(|password| !head.contains(&format!("\r\nx-clickhouse-key: {password}\r\n")));
        buffer.drain(..length);
        if stranger {
            shared.lock().strangers += 1;
            stream.write_all(&response(
                403,
                b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)",
            ))?;
            continue;
        }
        let Some((status, answer)) = answer(&target, &body, shared) else { return Ok(()) };
        if status == HANGS {
            let _ = stream.read(&mut [0]);
            return Ok(());
        }
        stream.write_all(&response(status, &answer))?;
    }
}

/// The status with which `answer` says that the server keeps the connection open and never answers.
const HANGS: u16 = 0;

/// Returns the answer to a request, or `None` to end the connection.
pub fn answer(target: &str, body: &[u8], shared: &Mutex<Inner>) -> Option<(u16, Vec<u8>)> {
    let query = parameter(target, "query");
    if let Some(rest) = query.strip_prefix("INSERT INTO ") {
        let into = rest.split(')').next().unwrap();
        let mut inner = shared.lock();
        inner.targets.push(target.to_owned());
        let (token, id) = (parameter(target, "insert_deduplication_token"), parameter(target, "query_id"));
        return insert(&mut inner, into, &token, id, body).map(|(status, text)| (status, text.into_bytes()));
    }
    let sql = if query.is_empty() { String::from_utf8_lossy(body).into_owned() } else { query };
    if let Some((_, answer)) = shared.lock().answers.iter().find(|(part, _)| sql.contains(part)) {
        return Some((200, answer.as_bytes().to_vec()));
    }
    if let Some(prefix) = sql.strip_prefix("KILL QUERY WHERE startsWith(query_id, '") {
        let prefix = prefix.split('\'').next().unwrap();
        shared.lock().zombies.retain(|(id, ..)| !id.starts_with(prefix));
    }
    let lines = |lines: Vec<String>| Some((200, lines.concat().into_bytes()));
    let of = |target: Target| target.columns().iter().map(|(name, wire)| format!("{name}\t{}\n", wire.type_name()));
    if sql.contains("SELECT table, name, type FROM system.columns") {
        return lines(Target::ALL.iter().flat_map(|one| of(*one).map(move |line| format!("{one}\t{line}"))).collect());
    }
    if sql.contains("FROM system.columns") {
        return lines(
            Target::ALL.iter().filter(|one| sql.contains(&format!("'{one}'"))).flat_map(|one| of(*one)).collect(),
        );
    }
    if sql.contains("FROM system.tables") {
        let names =
            Target::ALL.iter().map(|one| one.name()).chain(["post_metrics_1m", "post_metrics_1h", "user_author_90d"]);
        let row = |name: &str| {
            let engine = if name.ends_with("_cdc") { "ReplacingMergeTree" } else { "MergeTree" };
            let full = format!("{engine}(_version, _deleted) SETTINGS non_replicated_deduplication_window = 10000");
            format!("{name}\t{engine}\tid\t{full}\n")
        };
        return lines(names.map(row).collect());
    }
    if let Some((_, values)) = sql.split_once("INSERT INTO schema_migrations (name, checksum) VALUES ") {
        let fields: Vec<_> = values.split('\'').collect();
        shared.lock().migrations.push(format!("{}\t{}\n", fields[1], fields[3]));
        return lines(Vec::new());
    }
    if sql.contains("FROM schema_migrations") {
        return lines(shared.lock().migrations.clone());
    }
    if sql.contains("SELECT DISTINCT toString(event_id)") {
        let mut inner = shared.lock();
        let line = |row: &Vec<u8>| format!("{}\t{}\n", rows::id(row), rows::id(&row[24..40]));
        if sql.contains("event_id IN (") {
            let asked = |row: &&Vec<u8>| sql.contains(&format!("'{}'", rows::id(row)));
            return lines(inner.rows("post_events").filter(asked).map(line).collect());
        }
        let batch: u64 =
            sql.rsplit("_nova_batch = ").next().unwrap().split_whitespace().next().unwrap().parse().unwrap();
        inner.probes.insert(batch);
        let of_batch = inner.rows("post_events").filter(|row| row[row.len() - 8..] == batch.to_le_bytes());
        return lines(of_batch.map(line).collect());
    }
    if sql.contains("FROM post_events") && sql.contains("_nova_store = ") {
        return Some((200, of_store(&sql, &shared.lock())));
    }
    Some((200, Vec::new()))
}

/// Answers nova's queries about the rows that a store has sent, by batch.
fn of_store(sql: &str, inner: &Inner) -> Vec<u8> {
    let after = |mark: &str| sql.split(mark).nth(1).and_then(|rest| rest.split([' ', ')']).next()?.parse::<u64>().ok());
    let number = |row: &[u8], from_end: usize| {
        let at = row.len() - from_end;
        u64::from_le_bytes(row[at..at + 8].try_into().unwrap())
    };
    let store = after("_nova_store = ").unwrap();
    let rows: Vec<_> = inner.rows("post_events").filter(|row| number(row, 16) == store).collect();
    let later = || rows.iter().filter(|row| number(row, 8) >= after("_nova_batch >= ").unwrap());
    if sql.contains("SELECT user_id, event_id, ingested_at") {
        // In a row, the arrival time is followed by the ids of the store and of the batch.
        return later()
            .flat_map(|row| [&row[24..40], &row[..16], &row[row.len() - 24..row.len() - 16]].concat())
            .collect();
    }
    if sql.contains("SELECT count(), max(_nova_batch)") {
        let highest = rows.iter().map(|row| number(row, 8)).max().unwrap_or(0);
        return format!("{}\t{highest}\t{}\n", rows.len(), later().count()).into_bytes();
    }
    assert!(sql.contains("SELECT DISTINCT _nova_batch"), "{sql}");
    let asked = sql.split("_nova_batch IN (").nth(1).unwrap().split(')').next().unwrap();
    let asked = asked.split(", ").map(|batch| batch.parse::<u64>().unwrap());
    let there = asked.filter(|batch| rows.iter().any(|row| number(row, 8) == *batch));
    there.map(|batch| format!("{batch}\n")).collect::<String>().into_bytes()
}

fn insert(inner: &mut Inner, into: &str, token: &str, id: String, body: &[u8]) -> Option<(u16, String)> {
    let rows = super::native::read(body).rows.concat();
    inner.inserts.push((token.to_owned(), xxh3_128(body), xxh3_128(&rows)));
    let fault = inner.script.pop_front().unwrap_or(inner.always);
    match fault {
        Some(Fault::Reject) => return Some((503, "no healthy upstream".to_owned())),
        Some(Fault::Code(code)) => return Some((500, format!("Code: {code}. DB::Exception: as the script says. (X)"))),
        Some(Fault::CloseBefore) => return None,
        Some(Fault::Zombie) => {
            inner.zombies.push((id, into.to_owned(), token.to_owned(), body.to_vec()));
            return None;
        }
        Some(Fault::FailAfterWrite | Fault::Hang | Fault::View) | None => {}
    }
    let stored = inner.store(into, token, body);
    for (_, into, token, body) in std::mem::take(&mut inner.zombies) {
        // The client does not learn how its abandoned insert has ended.
        let _ = inner.store(&into, &token, &body);
    }
    match (fault, stored) {
        (Some(Fault::FailAfterWrite), _) => None,
        (Some(Fault::Hang), _) => Some((HANGS, String::new())),
        (Some(Fault::View), _) => {
            Some((500, "Code: 395. DB::Exception: no: while pushing to view nova.v. (X)".to_owned()))
        }
        (_, Err(text)) => Some((500, text)),
        (_, Ok(())) => Some((200, String::new())),
    }
}

/// Returns the offset of `_version` in a row. The column `_deleted` comes directly after `_version`.
pub fn version_at(target: Target, row: &[u8]) -> usize {
    let mut at = 0;
    let text = |at: usize| {
        let end = row[at..].iter().position(|byte| byte & 0x80 == 0).unwrap();
        let length = row[at..=at + end].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
        end + 1 + length
    };
    for (name, wire) in target.columns().iter() {
        if name == "_version" {
            break;
        }
        at += match (wire, row[at]) {
            (Wire::NullableUuid | Wire::NullableText | Wire::NullableMicros, 1) => 1,
            (Wire::NullableUuid, _) => 17,
            (Wire::NullableMicros, _) => 9,
            (Wire::NullableText, _) => 1 + text(at + 1),
            (Wire::Uuid, _) => 16,
            (Wire::Micros, _) => 8,
            (Wire::Bool, _) => 1,
            _ => text(at),
        };
    }
    at
}
