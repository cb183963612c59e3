//! The client of ClickHouse. Each insert sets every setting that it needs, and each answer is either success or a
//! [`Failure`].

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clickhouse::error::Error;
use clickhouse::{Client, Compression};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;

use crate::bounded::Bound;
use crate::tls::{self, TlsError, causes};

use super::columns::Columns;
use super::layout::Layout;
use super::native;
use super::target::Target;
use super::verdict::{Failure, code, may_not};

/// The settings of an insert, which make inserts atomic and deduplicated. nova sets the settings of inserts explicitly,
/// because the defaults of ClickHouse change between versions and profiles.
const INSERT_SETTINGS: [(&str, &str); 9] = [
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // With the following settings each insert is one block, so ClickHouse stores the insert as a whole or not at all.
    ("input_format_parallel_parsing", "0"),
    ("max_insert_block_size", "1048576"),
    ("max_insert_threads", "1"),
    ("materialized_views_ignore_errors", "0"),
    ("insert_null_as_default", "0"),
];
/// The maximum number of bytes of an error's text.
const REFUSAL_MAX_BYTES: usize = 1 << 20;
/// The maximum number of bytes of an answer to one of nova's own queries, whose answers are small.
const ANSWER_MAX_BYTES: usize = 16 << 20;
/// The client closes a connection that is idle for this long, because ClickHouse closes an idle connection after 3 s. A
/// request that is sent just when ClickHouse closes the connection would break off.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// The password of nova's user in ClickHouse.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    Text(String),
    /// The path of the file with the password in its first line. nova reads the password file for each request, so a
    /// new password needs no restart.
    File(PathBuf),
}

/// The address of ClickHouse, the credentials and the options of the client.
#[derive(Clone, PartialEq, Eq)]
pub struct ClickHouseSettings {
    /// The URL of ClickHouse: `http://host:port` or `https://host:port`.
    pub url: String,
    pub database: String,
    pub user: Option<String>,
    pub password: Option<Password>,
    /// The PEM file with the certificate authority of an `https://` server. If `ca_file` is `None`, the client trusts
    /// the machine's certificate authorities.
    pub ca_file: Option<PathBuf>,
    pub layout: Layout,
    /// The timeout of one request.
    pub timeout: Duration,
}

/// Prints the settings without the password.
impl std::fmt::Debug for ClickHouseSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClickHouseSettings({}, {})", self.url, self.database)
    }
}

/// The client of ClickHouse.
#[derive(Clone)]
pub struct ClickHouse {
    /// A client that names no database, because the database may not exist yet.
    bare: Client,
    client: Client,
    password: Option<Password>,
    database: String,
    layout: Layout,
    timeout: Duration,
}

impl ClickHouse {
    /// Makes a client of ClickHouse. nova does not use `http_client` for ClickHouse, because `http_client` reads small
    /// answers whole. The crate `clickhouse` sends and reads rows as a stream, and needs an HTTP client of hyper for
    /// that.
    pub fn new(settings: &ClickHouseSettings) -> Result<ClickHouse, TlsError> {
        let connector = tls::connector(&settings.url, settings.ca_file.as_deref(), Bound::Refusals(REFUSAL_MAX_BYTES))?;
        let http = HttpClient::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_MAX).build(connector);
        Ok(ClickHouse::over(Client::with_http_client(http), settings))
    }

    /// Makes a client over an HTTP client of the caller, for example one whose connections stay within the process.
    pub fn over(client: Client, settings: &ClickHouseSettings) -> ClickHouse {
        let mut bare = client.with_url(&settings.url).with_compression(Compression::None);
        if let Some(user) = &settings.user {
            bare = bare.with_user(user);
        }
        let client = bare.clone().with_database(&settings.database);
        let ClickHouseSettings { password, database, layout, timeout, .. } = settings.clone();
        ClickHouse { bare, client, password, database, layout, timeout }
    }

    /// Returns the client with the present password.
    fn authenticated(&self, client: &Client) -> Result<Client, Failure> {
        let client = client.clone();
        match &self.password {
            None => Ok(client),
            Some(Password::Text(password)) => Ok(client.with_password(password)),
            Some(Password::File(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(client.with_password(text.lines().next().unwrap_or_default())),
                // If the password file cannot be read, nothing was sent. nova repeats a request without a password
                // until the password file exists, and then the request succeeds.
                Err(error) => {
                    Err(Failure::Unreachable(format!("clickhouse.password_file {}: {error}", path.display())))
                }
            },
        }
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Stores rows under a deduplication token. `rows` has the rows as RowBinary, and `columns` are the columns for which
    /// the rows were written.
    pub async fn insert(
        &self,
        target: Target,
        columns: &Columns,
        rows: Bytes,
        token: &str,
        query_id: &str,
    ) -> Result<(), Failure> {
        let block = native::block(columns, &rows);
        let block = block.map_err(|error| Failure::Refused { code: None, text: error.to_string() })?;
        let sql = format!("INSERT INTO {target} ({}) FORMAT Native", columns.names());
        let mut insert = self
            .authenticated(&self.client)?
            .insert_formatted_with(sql)
            .with_timeouts(Some(self.timeout), Some(self.timeout));
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        insert = insert.with_setting("insert_deduplication_token", token).with_setting("query_id", query_id);
        insert.send(block.into()).await.map_err(failure)?;
        insert.end().await.map_err(failure)
    }

    /// Runs a statement that has no answer.
    pub async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.execute(&self.client, sql).await
    }

    /// Runs a statement that has no answer and needs no database.
    pub async fn run_bare(&self, sql: &str) -> Result<(), Failure> {
        self.execute(&self.bare, sql).await
    }

    async fn execute(&self, client: &Client, sql: &str) -> Result<(), Failure> {
        let done = tokio::time::timeout(self.timeout, self.authenticated(client)?.query_raw(sql).execute()).await;
        done.map_err(|_| Failure::TimedOut)?.map_err(failure)
    }

    /// Returns the rows of an answer as fields of text. `rows` is for small answers whose fields contain no tabs.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        let bytes = self.answer(sql, "TabSeparatedRaw", ANSWER_MAX_BYTES).await?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Returns the rows of an answer of at most `most_bytes` bytes, in the format for [`ClickHouse::insert`].
    pub async fn row_binary(&self, sql: &str, most_bytes: usize) -> Result<Bytes, Failure> {
        self.answer(sql, "RowBinary", most_bytes).await.map(Bytes::from)
    }

    async fn answer(&self, sql: &str, format: &str, most_bytes: usize) -> Result<Vec<u8>, Failure> {
        let read = async {
            let mut cursor = self.authenticated(&self.client)?.query_raw(sql).fetch_bytes(format).map_err(failure)?;
            let mut out = Vec::new();
            while let Some(bytes) = cursor.next().await.map_err(failure)? {
                if out.len() + bytes.len() > most_bytes {
                    let text = format!("an answer of more than {most_bytes} bytes");
                    return Err(Failure::Refused { code: None, text });
                }
                out.extend_from_slice(&bytes);
            }
            Ok(out)
        };
        tokio::time::timeout(self.timeout, read).await.map_err(|_| Failure::TimedOut)?
    }

    /// Calls `each` for every row of `width` bytes (RowBinary) while the answer arrives, so the answer may have any
    /// length.
    pub async fn fixed_rows<E: From<Failure>>(
        &self,
        sql: &str,
        width: usize,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = self.authenticated(&self.client)?.query_raw(sql).fetch_bytes("RowBinary").map_err(failure)?;
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let next = tokio::time::timeout(self.timeout, cursor.next()).await;
            let Some(bytes) = next.map_err(|_| Failure::TimedOut)?.map_err(failure)? else { break };
            rest.extend_from_slice(&bytes);
            let whole = rest.len() - rest.len() % width;
            rest[..whole].chunks_exact(width).try_for_each(&mut each)?;
            rest.drain(..whole);
        }
        match rest.len() {
            0 => Ok(()),
            left => Err(Failure::Broken(format!("the answer ends {left} bytes into a row of {width}")).into()),
        }
    }

    /// Kills this user's queries whose id begins with the prefix, and waits until they have ended. If nova's user has
    /// no right to kill queries, the queries continue to run.
    pub async fn end_inserts(&self, id_prefix: &str) -> Result<(), Failure> {
        let kill = format!("KILL QUERY{} WHERE startsWith(query_id, '{id_prefix}') SYNC", self.layout.on_cluster());
        match self.run(&kill).await {
            Err(failure) if may_not(&failure) => Ok(()),
            ended => ended,
        }
    }

    /// Makes a replicated table fetch what it lacks before a query, because a different replica may have the insert
    /// that the query looks for.
    pub async fn catch_up(&self, target: Target) -> Result<(), Failure> {
        match self.layout.replicated {
            true => self.run(&format!("SYSTEM SYNC REPLICA {target}")).await,
            false => Ok(()),
        }
    }

    /// Returns the first field of the first row as a number.
    pub async fn number(&self, sql: &str) -> Result<u64, Failure> {
        let rows = self.rows(sql).await?;
        let field = rows.first().and_then(|row| row.first());
        let text = || format!("expected a number, got {rows:?}");
        field.and_then(|text| text.parse().ok()).ok_or_else(|| Failure::Refused { code: None, text: text() })
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::TimedOut => Failure::TimedOut,
        Error::BadResponse(text) => Failure::Refused { code: code(&text), text },
        Error::Network(source) => {
            let text = causes(&*source);
            match connecting(&*source) {
                true => Failure::Unreachable(text),
                false => Failure::Broken(text),
            }
        }
        other => Failure::Refused { code: code(&other.to_string()), text: causes(&other) },
    }
}

/// Whether an error occurred before a connection was established.
fn connecting(error: &(dyn std::error::Error + 'static)) -> bool {
    let own = error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect());
    own || error.source().is_some_and(connecting)
}
