//! A source database with its connector, and a nova that follows it; each test uses its own names.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postgres::{Client as Postgres, NoTls};
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(180);

/// The addresses of the real servers.
#[derive(Clone)]
pub struct Servers {
    pub kafka: String,
    pub connect: String,
    pub registry: String,
    pub postgres: String,
    pub clickhouse: String,
    /// The path of a script that kills and starts servers by their names.
    pub script: Option<String>,
}

impl Servers {
    pub fn find() -> Option<Servers> {
        let get = |name: &str| match crate::support::environment(name) {
            Some(value) if !value.is_empty() => Some(value),
            _ => {
                eprintln!("skipped: {name} is not set");
                None
            }
        };
        Some(Servers {
            kafka: get("NOVA_TEST_KAFKA")?,
            connect: get("NOVA_TEST_CONNECT")?,
            registry: get("NOVA_TEST_REGISTRY")?,
            postgres: get("NOVA_TEST_POSTGRES")?,
            clickhouse: get("NOVA_TEST_CLICKHOUSE")?,
            script: crate::support::environment("NOVA_TEST_STACK"),
        })
    }

    /// Kills a server, and starts it again.
    pub fn bounce(&self, name: &str) {
        let Some(script) = &self.script else { return };
        for verb in ["kill", "up"] {
            let done = Command::new(script).args([verb, name]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            assert!(done.unwrap().success(), "{script} {verb} {name}");
        }
    }
}

/// Which of the shipped connectors the test uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Envelope,
    Flat,
    Avro,
}

/// A source database with its connector, and a nova that follows it.
pub struct World {
    pub servers: Servers,
    pub name: String,
    pub dir: tempfile::TempDir,
    placeholder: String,
    pub node: Option<(Child, String)>,
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = nova::clock::monotonic_now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        nap(100);
    }
}

pub fn nap(ms: u64) {
    std::thread::park_timeout(Duration::from_millis(ms));
}

/// Sends a request over a new connection. Returns `None` if no server answers.
pub fn http(method: &str, url: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap();
    let mut stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let length = body.len();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

impl World {
    /// Makes the tables, and starts the connector and nova.
    pub fn begin(servers: Servers, form: Form) -> World {
        let name = format!("nova{:08x}", uuid::Uuid::new_v4().as_fields().0);
        let mut admin = Postgres::connect(&servers.postgres, NoTls).unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { servers, name, dir, placeholder: String::new(), node: None };
        world.sql().batch_execute(include_str!("../../../deploy/postgres/10-schema.sql")).unwrap();
        world.register(form);
        world.start();
        world
    }

    pub fn sql(&self) -> Postgres {
        let (server, _) = self.servers.postgres.rsplit_once('/').unwrap();
        Postgres::connect(&format!("{server}/{}", self.name), NoTls).unwrap()
    }

    fn register(&mut self, form: Form) {
        let text = match form {
            Form::Envelope => include_str!("../../../deploy/debezium/nova.json"),
            Form::Flat => include_str!("../../../deploy/debezium/nova-flat.json"),
            Form::Avro => include_str!("../../../deploy/debezium/nova-avro.json"),
        };
        let mut config: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        self.placeholder = config["unavailable.value.placeholder"].clone();
        let address = self.servers.postgres.rsplit_once('@').unwrap().1.split('/').next().unwrap().to_owned();
        let (host, port) = address.split_once(':').unwrap();
        let own = [
            ("database.hostname", host.to_owned()),
            ("database.port", port.to_owned()),
            ("database.user", "postgres".to_owned()),
            ("database.password", "x".to_owned()),
            ("database.dbname", self.name.clone()),
            ("slot.name", self.name.clone()),
            ("publication.name", self.name.clone()),
            ("topic.prefix", format!("s{}", self.name)),
            ("transforms.route.replacement", format!("{}.$3", self.name)),
        ];
        config.extend(own.map(|(key, value)| (key.to_owned(), value)));
        for side in ["key", "value"] {
            let key = format!("{side}.converter.schema.registry.url");
            if let Some(url) = config.get_mut(&key) {
                url.clone_from(&self.servers.registry);
            }
        }
        let url = format!("{}/connectors/{}/config", self.servers.connect, self.name);
        let body = serde_json::to_string(&config).unwrap();
        until("the connector to be taken", || {
            let answer = http("PUT", &url, "", &body);
            if let Some((400, why)) = &answer {
                panic!("Connect refuses the connector: {why}");
            }
            matches!(answer, Some((200 | 201, _)))
        });
        let status = format!("{}/connectors/{}/status", self.servers.connect, self.name);
        until("the connector's task", || {
            http("GET", &status, "", "").is_some_and(|(_, text)| text.contains(r#""tasks":[{"id":0,"state":"RUNNING""#))
        });
    }

    /// Returns the command `nova` with the configuration of the test's world.
    pub fn nova(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        command.arg("--data").arg(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env_clear().env("PATH", crate::support::environment("PATH").unwrap_or_default());
        command.env("NOVA_KAFKA_BROKERS", &self.servers.kafka).env("NOVA_KAFKA_GROUP_ID", &self.name);
        command
            .env("NOVA_KAFKA_TOPIC_PREFIX", &self.name)
            .env("NOVA_KAFKA_EVENTS_TOPIC", format!("{}-events", self.name));
        command.env("NOVA_CLICKHOUSE_URL", &self.servers.clickhouse).env("NOVA_CLICKHOUSE_DATABASE", &self.name);
        command.env("NOVA_REGISTRY_URL", &self.servers.registry).env("NOVA_CDC_PLACEHOLDER", &self.placeholder);
        command
            .env("NOVA_LIMITS_ENABLED", "false")
            .env("NOVA_CDC_CONNECT_URL", &self.servers.connect)
            .env("NOVA_CDC_CONNECTOR", &self.name);
        command
    }

    /// Starts the node on a free port. Later starts of the node use the port of the first start.
    pub fn start(&mut self) {
        self.start_as(self.nova());
    }

    /// Starts the node with the configuration of the given command.
    pub fn start_as(&mut self, mut nova: Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let listen = self.node.take().map_or("127.0.0.1:0".to_owned(), |(_, url)| url.replace("http://", ""));
        let mut child = nova.args(["serve", "--listen", &listen]).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(url) = line.trim().strip_prefix("listening on ") else {
            panic!("nova did not start: {}", std::fs::read_to_string(self.dir.path().join("log")).unwrap())
        };
        self.node = Some((child, url.to_owned()));
    }

    pub fn url(&self) -> &str {
        &self.node.as_ref().unwrap().1
    }

    /// Kills nova with `kill -9`, and starts it again.
    pub fn kill(&mut self) {
        let (child, _) = self.node.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.start();
    }

    /// Ends nova with SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        let (child, _) = self.node.as_mut().unwrap();
        crate::support::signal(child, rustix::process::Signal::TERM);
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "{}",
            std::fs::read_to_string(self.dir.path().join("log")).unwrap()
        );
    }

    pub fn token(&self, user: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_nova"))
            .arg("--data")
            .arg(self.dir.path())
            .args(["token", "--sub", user])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Returns the answer to a GET request of a user.
    pub fn get(&self, path: &str, user: &str) -> Option<Value> {
        let headers = format!("Authorization: Bearer {}\r\n", self.token(user));
        let (status, body) = http("GET", &format!("{}{path}", self.url()), &headers, "")?;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Returns the rows of PostgreSQL's tables, as PostgreSQL prints them.
    pub fn source_rows(&self) -> BTreeMap<String, Vec<BTreeMap<String, Value>>> {
        let mut sql = self.sql();
        nova::event::Table::ALL
            .iter()
            .map(|table| {
                let rows = sql.query(&format!("SELECT row_to_json(t)::text FROM {table} t ORDER BY id"), &[]).unwrap();
                let rows = rows.iter().map(|row| serde_json::from_str(row.get::<_, &str>(0)).unwrap()).collect();
                (table.name().to_owned(), rows)
            })
            .collect()
    }

    /// Returns the output of `nova dump` for every table of the stopped node.
    pub fn dumped(&self) -> Vec<Vec<String>> {
        nova::event::Table::ALL
            .iter()
            .map(|table| {
                let output = self.nova().args(["dump", "--table", table.name()]).output().unwrap();
                assert!(output.status.success());
                String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
            })
            .collect()
    }

    /// Returns the rows that ClickHouse answers to a query, each as its values.
    pub fn ask(&self, sql: &str) -> Option<Vec<Vec<String>>> {
        let url = format!("{}/?database={}", self.servers.clickhouse, self.name);
        let (status, body) = http("POST", &url, "", sql)?;
        if status != 200 {
            // The query may fail because the database is not migrated yet.
            return None;
        }
        Some(body.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }
}

/// Drops a test's database, and the slots of this database. The slots are dropped because PostgreSQL allows only a few
/// slots.
pub fn drop_database(server: &str, name: &str) {
    let Ok(mut admin) = Postgres::connect(server, NoTls) else { return };
    for _ in 0..50 {
        let dropped = admin.batch_execute(&format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}'"
        ));
        if dropped.is_ok() {
            break;
        }
        nap(200);
    }
    let _ = admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.node {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("nova's log:\n{}", log.lines().rev().take(40).collect::<Vec<_>>().join("\n"));
        }
        // The connector is deleted because PostgreSQL allows only a few slots.
        let _ = http("DELETE", &format!("{}/connectors/{}", self.servers.connect, self.name), "", "");
        drop_database(&self.servers.postgres, &self.name);
        let _ = http("POST", &self.servers.clickhouse, "", &format!("DROP DATABASE IF EXISTS {}", self.name));
    }
}
