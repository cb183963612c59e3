//! The nova process as shells, containers and service managers see it: refused starts, addresses, signals, limits.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::api::client::Client;
use crate::support::{program, signal};

fn nova(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns a nova command with a limit on open files, which the `ulimit` of a shell sets.
fn limited(limit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_nova")]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A process that ends when its test ends, even if the test fails.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> Running {
        Running(Some(command.spawn().unwrap()))
    }

    fn output(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // The process may already have ended without the signal.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the address on which a process listens, as the process prints it.
fn listening(child: &mut Child) -> SocketAddr {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("listening on http://") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before it listened");
    }
    let address = line.trim().trim_start_matches("listening on http://");
    // The rest of the output is read, because unread output would fill the pipe and block the process.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    address.split(';').next().unwrap().parse().unwrap()
}

fn data(dir: &tempfile::TempDir) -> String {
    dir.path().join("data").to_str().unwrap().to_owned()
}

#[test]
fn an_address_in_use_is_found_before_anything_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    for command in ["serve", "demo"] {
        let output = nova(&["--data", &data(&dir), command, "--listen", &address]).output().unwrap();
        let told = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&address) && told.contains("--listen"), "{told}");
        assert!(output.stdout.is_empty() && !Path::new(&data(&dir)).exists(), "{command} left something");
    }
    // No machine has an address in 192.0.2.0/24, which RFC 5737 reserves for documentation.
    let foreign = "192.0.2.1:9100";
    for (setting, name) in [
        ("NOVA_HTTP_LISTEN", "http.listen"),
        ("NOVA_HTTP_ADMIN_LISTEN", "http.admin_listen"),
        ("NOVA_CACHE_LISTEN", "cache.listen"),
    ] {
        for addr in [address.as_str(), foreign] {
            let mut check = nova(&["--data", &data(&dir), "check"]);
            let output = check.env("NOVA_HTTP_LISTEN", "127.0.0.1:0").env(setting, addr).output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            let named = format!("address: {name}: cannot listen on {addr}");
            assert!(output.status.code() == Some(1) && told.contains(&named), "{told}");
        }
    }
}

#[test]
fn two_listeners_at_one_place_are_told_with_64_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (listen, all) = (free.to_string(), format!(":{}", free.port()));
    for (setting, name) in [("NOVA_HTTP_ADMIN_LISTEN", "http.admin_listen"), ("NOVA_CACHE_LISTEN", "cache.listen")] {
        for other in [&listen, &all] {
            let mut serve = nova(&["--data", &data(&dir), "serve", "--listen", &listen]);
            let output = serve.env(setting, other).output().unwrap();
            let told = errors(&output);
            assert_eq!(output.status.code(), Some(64), "{told}");
            assert!(told.contains(&format!("{name}: ")) && told.contains("http.listen"), "{told}");
            assert!(told.contains("another port") && told.contains(&listen), "{told}");
            assert!(output.stdout.is_empty() && !Path::new(&data(&dir)).exists(), "something is left");
            let mut check = nova(&["--data", &data(&dir), "check"]);
            let output = check.env("NOVA_HTTP_LISTEN", &listen).env(setting, other).output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(told.contains(&format!("start-refused: {name}: ")) && told.contains("another port"), "{told}");
        }
    }
}

/// An earlier version of nova accepted an empty key file, and then nobody could sign a token.
#[test]
fn a_file_of_keys_that_is_empty_is_told_with_64_and_by_check() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (variable, name) in
        [("NOVA_AUTH_JWKS_FILE", "auth.jwks_file"), ("NOVA_AUTH_HS256_SECRET_FILE", "auth.hs256_secret_file")]
    {
        let env = [(variable, file.to_str().unwrap()), ("NOVA_AUTH_ISSUER", "*"), ("NOVA_AUTH_AUDIENCE", "*")];
        let output = nova(&["--data", &data(&dir), "serve", "--listen", "127.0.0.1:0"]).envs(env).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{}", errors(&output));
        assert!(errors(&output).contains(name) && !Path::new(&data(&dir)).exists(), "{}", errors(&output));
        let check = nova(&["--data", &data(&dir), "check"]).envs(env).output().unwrap();
        let told = String::from_utf8_lossy(&check.stdout);
        assert!(check.status.code() == Some(1) && told.contains(&format!("start-refused: {name}: ")), "{told}");
    }
}

#[test]
fn a_write_beyond_the_limit_of_a_files_size_is_told_as_one_on_a_full_disk_is() {
    let dir = tempfile::tempdir().unwrap();
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["replay", "-"]] {
        let output = limited("-f 8", &[&["--data", &data(&dir)], command].concat()).output().unwrap();
        let told = errors(&output);
        assert_eq!((output.status.code(), output.status.signal()), (Some(1), None), "{told}");
        assert!(told.contains("nova.redb") && told.contains("File too large"), "{told}");
    }
}

#[test]
fn health_finds_the_node_of_the_store_and_else_the_one_that_the_configuration_names() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    // The certificate does not name this machine, and no authority that this machine knows has signed the certificate.
    let made = rcgen::generate_simple_self_signed(vec!["nova.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let tls = [("NOVA_HTTP_TLS_CERT", cert.to_str().unwrap()), ("NOVA_HTTP_TLS_KEY", key.to_str().unwrap())];
    let (place, other) = (dir.path().join("data"), dir.path().join("other"));
    let node = program::Serving::start(&place, &tls);
    // The configuration contains neither the port nor the scheme of the node.
    let found = program::nova(&place, &["health"]);
    assert!(found.status.success() && program::out(&found).contains("\"status\":\"ready\""), "{found:?}");
    let listen = node.addr.to_string();
    let configured = program::command(&other, &["health"]).envs(tls).env("NOVA_HTTP_LISTEN", &listen).output().unwrap();
    assert!(configured.status.success(), "{configured:?}");
    let every = format!(":{}", node.addr.port());
    let everywhere = program::command(&other, &["health"]).envs(tls).env("NOVA_HTTP_LISTEN", &every).output().unwrap();
    assert!(everywhere.status.success(), "{everywhere:?}");
    // If `--url` has the address of the node, the certificate is checked as usual.
    let named = program::nova(&other, &["health", "--url", &format!("https://{listen}")]);
    assert!(!named.status.success() && errors(&named).contains("certificate"), "{named:?}");
    node.end();
    let plain = program::Serving::start(&place, &[]);
    for args in [&["health"][..], &["health", "--url", &plain.addr.to_string()]] {
        assert!(program::nova(&place, args).status.success(), "{args:?}");
    }
}

#[test]
fn every_wrong_file_is_told_at_once_with_64_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = [
        ("NOVA_HTTP_TLS_CERT", "/nowhere/cert.pem"),
        ("NOVA_HTTP_TLS_KEY", "/nowhere/key.pem"),
        ("NOVA_AUTH_JWKS_FILE", "/nowhere/keys.json"),
        ("NOVA_CLICKHOUSE_CA_FILE", "/nowhere/ca.pem"),
    ];
    let output = nova(&["--data", &data(&dir), "serve", "--listen", "127.0.0.1:0"]).envs(wrong).output().unwrap();
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(64), "{told}");
    for part in ["http.tls_cert", "auth.jwks_file", "clickhouse.ca_file"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert!(output.stdout.is_empty() && !Path::new(&data(&dir)).exists());
    let check = nova(&["--data", &data(&dir), "--json", "check"]).envs(wrong).output().unwrap();
    let found = String::from_utf8_lossy(&check.stdout).matches("start-refused").count();
    assert_eq!((check.status.code(), found), (Some(1), 3), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn variables_of_others_are_told_once_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let links = [("NOVA_PORT", "tcp://10.0.0.1:80"), ("NOVA_HTTP_SERVICE_HOST", "10.0.0.1"), ("NOVA_GUARD", "web")];
    let mut command = nova(&["--data", &data(&dir), "serve", "--listen", "localhost:0"]);
    command.envs(links);
    let mut child = Running::start(command);
    assert!(listening(&mut child).ip().is_loopback());
    signal(&child, Signal::HUP);
    let output = child.output();
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(0), "SIGHUP ends it in order: {told}");
    for (name, _) in links {
        assert_eq!(told.matches(name).count(), 1, "{name}: {told}");
    }
    assert!(told.contains("started") && told.contains("stopped by a signal"), "{told}");
}

#[test]
fn standard_input_and_pipes_are_replayed() {
    let capture = crate::support::fixture("envelope.jsonl");
    let text = std::fs::read(&capture).unwrap();
    let totals = |output: &Output| {
        assert!(output.status.success(), "{}", errors(output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["totals"].clone()
    };
    let run = |files: &[&str], stdin: Stdio| {
        let dir = tempfile::tempdir().unwrap();
        let data = data(&dir);
        let arguments = [&["--data", &data, "--json", "replay", "--truncate", "apply"], files].concat();
        let mut command = nova(&arguments);
        command.stdin(stdin);
        (Running::start(command), dir)
    };
    let (child, _dir) = run(&[capture.to_str().unwrap()], Stdio::null());
    let whole = totals(&child.output());
    assert!(whole["consumed"].as_u64().unwrap() > 0);
    let (mut child, _dir) = run(&["-"], Stdio::piped());
    child.stdin.take().unwrap().write_all(&text).unwrap();
    assert_eq!(totals(&child.output()), whole);
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let (child, _dir) = run(&[fifo.to_str().unwrap()], Stdio::null());
    std::fs::write(&fifo, &text).unwrap();
    assert_eq!(totals(&child.output()), whole);
}

#[test]
fn a_signal_ends_a_command_that_works() {
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let child = Running::start(nova(&["--data", &data(&place), "replay", fifo.to_str().unwrap()]));
    // The process has started when it opens the pipe for reading.
    let _writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    signal(&child, Signal::TERM);
    let status = child.output().status;
    assert_eq!((status.code(), status.signal()), (Some(143), None));
}

#[test]
fn the_service_manager_is_told_when_it_is_ready_that_it_lives_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = nova(&["--data", &data(&dir), "serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut child = Running::start(command);
    let told = |wanted: &str| {
        let mut bytes = [0; 4_096];
        loop {
            let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    told("READY=1");
    let address = listening(&mut child);
    assert_eq!(Client::connect(address).get("/health/live", "").status, 200);
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    signal(&child, Signal::TERM);
    told("STOPPING=1");
    assert!(child.output().status.success());
}

#[test]
fn the_limit_of_open_files_is_raised_and_serve_says_where_it_listens_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let command = limited("-S -n 64", &["--json", "--data", &data(&dir), "serve", "--listen", "127.0.0.1:0"]);
    let mut child = Running::start(command);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["pid"], child.id());
    let address: SocketAddr = told["listening"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    let open: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let metrics = Client::connect(address).get("/metrics", "");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let most = text.lines().find_map(|line| line.strip_prefix("process_max_fds ")).unwrap();
    assert!(most.parse::<f64>().unwrap() > 64.0, "{most}");
    drop(open);
    signal(&child, Signal::TERM);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success() && !told.contains("Too many open files"), "{told}");
}

#[test]
fn clients_that_take_every_place_leave_health_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = limited("-n 256", &["--data", &data(&dir), "serve", "--listen", "127.0.0.1:0"]);
    command.env("NOVA_HTTP_ADMIN_LISTEN", "127.0.0.1:0").env("NOVA_LIMITS_ENABLED", "false");
    command.stderr(Stdio::null());
    let mut child = Running::start(command);
    let api = listening(&mut child);
    let admin = std::fs::read_to_string(dir.path().join("data/listening.json")).unwrap();
    let admin: serde_json::Value = serde_json::from_str(&admin).unwrap();
    let admin: SocketAddr = admin["url"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    assert_ne!(api, admin);
    let crowd: Vec<_> = (0..300).filter_map(|_| std::net::TcpStream::connect(api).ok()).collect();
    assert!(crowd.len() > 64);
    for _ in 0..8 {
        assert_eq!(Client::connect(admin).get("/health/live", "").status, 200);
    }
    // The clients of one address get only a part of the connections, however many they are, so a client with a
    // different address can connect.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let other = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        socket.connect(api).await.unwrap().into_std().unwrap()
    });
    other.set_nonblocking(false).unwrap();
    assert_eq!(Client(other).get("/health/live", "").status, 200);
}
