"""Twenty incidents, made on real nodes. Each fires exactly its alert, `nova status` and the console's overview name it with its
command, and what is repaired as the status or docs/operations.md says is well again.

    incidents.py NOVA PROMTOOL [NAME…]     a built nova, and promtool; the incidents with these names, or all

An incident's series are scraped twice, and promtool follows them for an hour by the rules of deploy/prometheus/rules.yml: gauges
stand as the first scrape had them and for the last minutes as the second had them, counters go at the rate between the scrapes.
"""

import http.server
import json
import os
import re
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE.parent / "deploy/prometheus/rules.yml"
START_S = 60
# Between the two scrapes of a node.
APART_S = 2
# The longest wait for what an incident does, and for its end.
WAIT_S = 60
# The longest wait until the overview of the console has an incident.
OVERVIEW_S = 5
# Minutes at which promtool looks, and before that since when a gauge stands as the second scrape has it: all alerts wait for less.
LOOK_M = 60
SINCE_M = 20
LIKE = "30000000-0000-4000-8000-{:012x}"


class Failed(Exception):
    """An incident that is not told, or not repaired."""


def until(what: str, ask, seconds: float = WAIT_S):
    """What `ask` answers once that is true."""
    end, answer = time.monotonic() + seconds, None
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.2)
    raise Failed(f"not within {seconds} s: {what}; last: {answer!r}")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """`nova serve` over a directory."""

    def __init__(self, nova: str, dir: Path, **settings: str):
        self.nova, self.data = nova, dir / "data"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NOVA_")} | settings
        self.env |= {"NOVA_HTTP_LISTEN": "127.0.0.1:0", "NOVA_LOG_LEVEL": "error"}
        self.log = (dir / "log").open("a+")
        self.process: subprocess.Popen | None = None

    def run(self, *args: str, code: int | None = 0) -> str:
        command = [self.nova, "--data", str(self.data), *args]
        done = subprocess.run(command, env=self.env, text=True, timeout=WAIT_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if code is not None and done.returncode != code:
            raise Failed(f"nova {shlex.join(args)}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def typed(self, line: str) -> str:
        """Runs a command as it was printed."""
        words = shlex.split(line)
        if words[0] != "nova":
            raise Failed(f"this is no command of nova: {line}")
        return self.run(*words[1:])

    def start(self) -> "Node":
        note = self.data / "listening.json"
        note.unlink(missing_ok=True)
        self.process = subprocess.Popen([self.nova, "--data", str(self.data), "serve"], env=self.env, stdout=self.log, stderr=self.log)

        def listens():
            if self.process.poll() is not None:
                raise Failed(f"nova ended: {self.told()}")
            try:
                return json.loads(note.read_text())["url"]
            except (OSError, ValueError):
                return None

        self.url = until("nova listens", listens, START_S)
        return self

    def told(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()[-2_000:]

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def post(self, path: str, body: object) -> str:
        token = self.run("token", "--role", "admin", "--sub", "00000000-0000-4000-8000-000000000001").strip()
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(self.url + path, json.dumps(body).encode(), head)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.read().decode()

    def ready(self) -> dict:
        return json.loads(self.get("/health/ready"))

    def metric(self, series: str) -> float | None:
        return samples(self.get("/metrics")).get(series)

    def status(self) -> str:
        return self.run("status", code=None)

    def findings(self) -> list[dict]:
        return json.loads(self.get("/api/v1/overview")).get("findings", [])

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=WAIT_S)


class Server:
    """Answers HTTP as `answer(path, body)` says: a status and a body."""

    def __init__(self, answer, port: int = 0):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                length = int(self.headers.get("Content-Length") or 0)
                code, body = answer(self.path, self.rfile.read(length))
                self.send_response(code)
                if code >= 400:
                    self.send_header("X-ClickHouse-Exception-Code", "241")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def samples(text: str) -> dict[str, float]:
    """By series, with nova's `job` renamed as Prometheus does."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[re.sub(r"([{,])job=", r"\1exported_job=", series.removesuffix("{}"))] = float(value)
    return found


def now_ms() -> int:
    return int(time.time() * 1_000)


def like(offset: int, lsn: int, value: str | None = None) -> dict:
    """A like in Debezium's envelope."""
    at, id = 1_795_640_000_000, LIKE.format(offset)
    row = {"id": id, "user_id": LIKE.format(1), "post_id": LIKE.format(2), "created_at": at * 1_000}
    source = {"connector": "postgresql", "name": "nova", "ts_ms": at, "snapshot": "false", "db": "nova", "schema": "public",
              "table": "likes", "txId": 1, "lsn": lsn, "xmin": None}
    change = {"before": None, "after": row, "source": source, "op": "c", "ts_ms": at}
    return {"topic": "cdc.likes", "partition": 0, "offset": offset, "timestamp_ms": at, "key": json.dumps({"id": id}),
            "value": json.dumps(change) if value is None else value}


def capture(dir: Path, records: list[dict]) -> str:
    path = dir / "capture.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def truncate(offset: int) -> dict:
    value = json.loads(like(offset, 9_000)["value"]) | {"after": None, "op": "t"}
    return like(offset, 9_000, json.dumps(value)) | {"key": None}


def command_in(text: str, begin: str) -> str:
    """The first command that a text prints and that begins so."""
    found = re.search(re.escape(begin) + r"[^;,|()\n`]*", text)
    if not found:
        raise Failed(f"no command {begin!r} in:\n{text}")
    return found.group().strip().rstrip(".")


class Incident:
    """One node with something wrong. `alerts` are those that fire, no other."""

    def __init__(self, run: "Run", name: str):
        self.run, self.name = run, name
        self.dir = Path(tempfile.mkdtemp(prefix=f"nova-{name}-", dir=run.dir))
        self.node: Node | None = None
        self.server: Server | None = None

    def start(self, **settings: str) -> Node:
        self.node = Node(self.run.nova, self.dir, **settings)
        return self.node.start()

    def shown(self, word: str, command: str | None) -> dict:
        """The finding with the word, which the overview has within five seconds, and which has the command."""

        def found():
            return next((one for one in self.node.findings() if word in one["reason"]), None)

        finding = until(f"the overview says {word!r}", found, OVERVIEW_S)
        if command and not any(one.startswith(command) for one in finding["commands"]):
            raise Failed(f"the overview does not say {command!r}: {finding}")
        return finding

    def away(self) -> None:
        """No overview answers. An open page says so by itself: tests/it/console has the test."""
        try:
            self.node.get("/api/v1/overview")
        except OSError:
            return
        raise Failed("the overview of a node that has ended answers")

    def fires(self, *alerts: str, named: str, command: str | None, shown: str | None = None, by: tuple[str, ...] = ("status",)) -> str:
        """Scrapes twice; what the command line says, which names the incident. The overview has the word `shown` (`named` if
        there is none) with the same command, and a reason of the overview is one of /health/ready."""
        word = shown or named
        finding, reasons = self.shown(word, command), self.node.ready()["reasons"]
        if (finding["state"] == "stops") != any(word in reason for reason in reasons):
            raise Failed(f"the overview and /health/ready differ: {finding}, {reasons}")
        before = samples(self.node.get("/metrics"))
        time.sleep(APART_S)
        self.run.expect(self.name, before, samples(self.node.get("/metrics")), alerts)
        status = self.node.run(*by, code=None)
        if named not in status:
            raise Failed(f"nova {by[0]} does not say {named!r}:\n{status}")
        if command and by == ("status",) and f"$ {command}" not in status:
            raise Failed(f"nova status does not print the command {command!r}:\n{status}")
        return status

    def end(self) -> None:
        if self.node:
            self.node.stop(signal.SIGKILL)
        if self.server:
            self.server.close()


def ready(node: Node) -> None:
    until("ready", lambda: node.ready().get("ready") or node.ready().get("status") == "ready" or not node.ready()["reasons"])


def process_killed(it: Incident) -> None:
    node = it.start()
    node.stop(signal.SIGKILL)
    it.run.expect(it.name, {}, {}, ["NovaDown"], up=0)
    it.away()
    status = node.status()
    if "nova serve" not in status and "cannot be asked" not in status and "no node" not in status:
        raise Failed(f"nova status does not say that no node runs:\n{status}")
    ready(node.start())


def replayed(it: Incident, records: list[dict]) -> Node:
    """A node over a store that a capture was read into."""
    node = it.node = Node(it.run.nova, it.dir)
    node.run("replay", capture(it.dir, records), code=None)
    return node.start()


def table_truncated(it: Incident) -> None:
    node = replayed(it, [like(1, 1_000), truncate(2)])
    status = it.fires("NovaPartitionsHeld", named="truncate", command="nova cdc resume likes --truncate apply")
    node.typed(command_in(status, "nova cdc resume likes --truncate apply"))
    ready(node)


def lsn_regressed(it: Incident) -> None:
    records = [like(n, 1_000_000 + n) for n in range(1, 4)]
    node = replayed(it, records + [like(1, 10) | {"offset": 9}])
    status = it.fires("NovaPartitionsHeld", named="lsn_regression", command="nova cdc epoch bump likes")
    node.typed(command_in(status, "nova cdc epoch bump likes"))
    ready(node)


def dead_letter(it: Incident) -> None:
    node = replayed(it, [like(1, 1_000), like(2, 1_001, '{"no": "row"')])
    status = it.fires("NovaDeadLetters", named="nova dlq", command="nova dlq list", shown="dead letters that wait")
    node.typed(command_in(status, "nova dlq"))
    node.run("dlq", "discard", "0", "--reason", "an incident of CI")
    until("no dead letter", lambda: node.metric("nova_dlq_depth") == 0)


def dead_letters_grow(it: Incident) -> None:
    node = it.start()
    before = samples(node.get("/metrics"))
    for post in (1, 2):
        # The same ids with other contents: the second ones are put aside.
        for begin in (0, 75):
            events = [{"event_id": LIKE.format(1_000 + n), "post_id": LIKE.format(post), "action": "view", "event_time": now_ms()}
                      for n in range(begin, begin + 75)]
            node.post("/api/v1/events", {"events": events})
    until("letters", lambda: node.metric("nova_dlq_depth") == 150)
    it.shown("dead letters that wait: 150", "nova dlq list")
    it.run.expect(it.name, before, samples(node.get("/metrics")), ["NovaDeadLetters", "NovaDeadLettersGrow"], since_m=6)
    status = node.status()
    node.typed(command_in(status, "nova dlq list"))
    letters = json.loads(node.run("--json", "dlq", "list", "--limit", "1000"))
    node.run("dlq", "discard", str(letters[0]["id"]), "--reason", "an incident of CI")
    until("one less", lambda: node.metric("nova_dlq_depth") == 149)


def clickhouse_away(it: Incident) -> None:
    port = free_port()
    node = it.start(NOVA_CLICKHOUSE_URL=f"http://127.0.0.1:{port}")
    node.post("/api/v1/rows", {"users": [{"id": LIKE.format(7), "username": "u"}]})
    until("the breaker opens", lambda: node.metric('circuit_breaker_state{target="clickhouse"}'))
    it.fires("NovaBreakerOpen", named="clickhouse", command="nova check", shown="clickhouse: it does not answer")
    it.server = Server(lambda path, body: (200, b""), port)
    until("the breaker closes", lambda: node.metric('circuit_breaker_state{target="clickhouse"}') == 0)


def clickhouse_refuses(it: Incident) -> None:
    """It answers, and every answer is an error: a role without rights, a database that is gone."""
    told = {"now": (500, b"Code: 497. DB::Exception: nova: Not enough privileges")}
    it.server = Server(lambda path, body: told["now"])
    node = it.start(NOVA_CLICKHOUSE_URL=it.server.url)
    finding = 'nova_clickhouse_findings{code="not-prepared"}'
    until("the finding", lambda: node.metric(finding))
    status = it.fires("NovaClickHouseFindings", named="nothing is delivered yet", command="nova check")
    said = node.run(*command_in(status, "nova check").split()[1:], code=None)
    if "Not enough privileges" not in said:
        raise Failed(f"nova check does not say what ClickHouse answers:\n{said}")
    told["now"] = (200, b"")
    until("the finding is gone", lambda: not node.metric(finding))


def connector(it: Incident, answer, named: str, begin: str | None) -> None:
    told = {"now": answer}
    it.server = Server(lambda path, body: told["now"])
    node = it.start(NOVA_KAFKA_BROKERS=f"127.0.0.1:{free_port()}", NOVA_CDC_CONNECT_URL=it.server.url, NOVA_CDC_CONNECTOR="nova")
    until("the connector was asked", lambda: node.metric("nova_connector_up") == 0)
    status = it.fires("NovaConnectorDown", "NovaKafkaAway", named=named, command="curl -X" if begin else None, shown="connector: ")
    if begin and begin not in status:
        raise Failed(f"no command {begin!r} in:\n{status}")
    told_there = it.shown(named, None)
    if begin and not any(begin in one for one in told_there["commands"]):
        raise Failed(f"no command {begin!r} in {told_there}")
    told["now"] = state("RUNNING")
    until("the connector runs", lambda: node.metric("nova_connector_up") == 1)


def state(of: str, trace: str = "") -> tuple[int, bytes]:
    tasks = [] if of == "STOPPED" else [{"id": 0, "state": of, "worker_id": "a:8083", "trace": trace}]
    body = {"name": "nova", "connector": {"state": "RUNNING" if of == "FAILED" else of, "worker_id": "a:8083"}, "tasks": tasks}
    return 200, json.dumps(body | {"type": "source"}).encode()


def connector_paused(it: Incident) -> None:
    connector(it, state("PAUSED"), "is PAUSED", "/connectors/nova/resume")


def connector_stopped(it: Incident) -> None:
    connector(it, state("STOPPED"), "is STOPPED", "/connectors/nova/resume")


def connector_failed(it: Incident) -> None:
    connector(it, state("FAILED", "Caused by: permission denied"), "permission denied", "restart")


def connector_missing(it: Incident) -> None:
    connector(it, (404, b'{"error_code":404,"message":"none"}'), "Connect has no connector nova", None)


def kafka_away(it: Incident) -> None:
    it.start(NOVA_KAFKA_BROKERS=f"127.0.0.1:{free_port()}")
    it.fires("NovaKafkaAway", named="no broker of kafka.brokers is connected", command="nova check")


def keys_away(it: Incident) -> None:
    port = free_port()
    node = it.start(NOVA_AUTH_JWKS_URL=f"http://127.0.0.1:{port}/jwks", NOVA_AUTH_ISSUER="https://issuer", NOVA_AUTH_AUDIENCE="nova")
    until("the breaker opens", lambda: node.metric('circuit_breaker_state{target="jwks"}'))
    # There is no token yet with which the status could be asked for.
    it.shown("jwks: auth.jwks_url does not answer", "nova check")
    it.fires("NovaBreakerOpen", named="no key set yet", command=None, by=("health", "--url", node.url))


def backed_up(it: Incident) -> tuple[Node, Path]:
    node, copy = it.start(), it.dir / "copy.redb"
    node.run("backup", str(copy))
    return node, copy


def backup_old(it: Incident) -> None:
    node, copy = backed_up(it)
    note = node.data / "backup.json"
    told = json.loads(note.read_text())
    times = {key: value - 40 * 3_600_000 for key, value in told.items() if key.endswith("_ms") and isinstance(value, int)}
    if not times:
        raise Failed(f"backup.json has no time: {told}")
    note.write_text(json.dumps(told | times))
    it.fires("NovaBackupOld", named="backup", command="nova backup FILE", shown="backup: the latest one is 40 hours old")
    node.run("backup", str(it.dir / "again.redb"))
    until("the backup is young", lambda: (node.metric("nova_backup_age_seconds") or 1e9) < 60)


def backup_damaged(it: Incident) -> None:
    node, copy = backed_up(it)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:])
    node.run("backup", str(copy), "--verify", code=1)
    it.fires("NovaBackupDamaged", named="backup", command="nova backup FILE", shown="backup: a file is not the backup")
    node.run("backup", str(it.dir / "again.redb"))
    until("no damaged backup", lambda: node.metric("nova_backup_verify_failed") == 0)


def store_damaged(it: Incident) -> None:
    node, copy = backed_up(it)
    node.stop()
    store = node.data / "nova.redb"
    bytes_ = bytearray(store.read_bytes())
    for at in range(4_096, len(bytes_), 4_096):
        bytes_[at + 100] ^= 1
    store.write_bytes(bytes_)
    told = node.run("serve", code=1)
    it.run.expect(it.name, {}, {}, ["NovaDown"], up=0)
    it.away()
    if "damaged" not in told:
        raise Failed(f"nova serve does not say that the store is damaged:\n{told}")
    node.run("restore", str(copy), "--replace")
    ready(node.start())


def redis_away(it: Incident) -> None:
    port = free_port()
    node = it.start(NOVA_CACHE_REDIS_URL=f"redis://127.0.0.1:{port}")
    until("the breaker opens", lambda: node.metric('circuit_breaker_state{target="redis"}'))
    it.fires("NovaBreakerOpen", named="redis", command="nova check", shown="redis: cache.redis_url does not answer")


class Refusing(socketserver.BaseRequestHandler):
    """A Redis whose password was changed: each line, and with it each command, gets the same error."""

    def handle(self):
        while self.request.recv(65_536):
            self.request.sendall(b"-NOAUTH Authentication required.\r\n")


def redis_refuses(it: Incident) -> None:
    it.server = server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing)
    server.daemon_threads, server.close = True, server.shutdown
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node = it.start(NOVA_CACHE_REDIS_URL=f"redis://127.0.0.1:{server.server_address[1]}")
    until("the breaker opens", lambda: node.metric('circuit_breaker_state{target="redis"}'))
    it.fires("NovaBreakerOpen", named="redis", command="nova check", shown="redis: cache.redis_url does not answer")


def postgres_away(it: Incident) -> None:
    node = it.start(NOVA_POSTGRES_URL=f"postgres://nova@127.0.0.1:{free_port()}/nova?sslmode=disable", NOVA_POSTGRES_SSL_MODE="disable")
    until("the first attempt failed", lambda: node.metric("nova_pg_up") == 0)
    status = it.fires("NovaPostgresAway", named="pg-unreachable", command="nova postgres status")
    if "nova postgres" not in status and "psql" not in status and "127.0.0.1" not in status:
        raise Failed(f"nova status does not say where the server was looked for:\n{status}")


def disk_low(it: Incident) -> None:
    """Needs the right to mount."""
    mounted = it.dir / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500m", "none", str(mounted)], capture_output=True, text=True)
    if made.returncode != 0:
        print(f"skipped: {it.name}: no file system may be mounted here: {made.stderr.strip()}")
        return
    try:
        (it.dir / "data").symlink_to(mounted)
        node = it.start(NOVA_LIMITS_DISK_MIN_MIB="1000")
        filler = mounted / "others"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 700 << 20)
        until("ready says it", lambda: any("disk" in reason for reason in node.ready()["reasons"]))
        # No command of nova makes room.
        it.fires("NovaDiskLow", named="disk", command=None, shown="are free on the store's disk")
        filler.unlink()
        until("ready again", lambda: not node.ready()["reasons"])
        node.stop()
    finally:
        it.end()
        subprocess.run(["umount", "-l", str(mounted)], check=True)


INCIDENTS = [
    process_killed, table_truncated, lsn_regressed, dead_letter, dead_letters_grow, clickhouse_away, clickhouse_refuses,
    connector_paused, connector_stopped, connector_failed, connector_missing, kafka_away, keys_away, backup_old, backup_damaged,
    store_damaged, redis_away, redis_refuses, postgres_away, disk_low,
]


class Run:
    def __init__(self, nova: str, promtool: str, dir: Path):
        self.nova, self.promtool, self.dir = nova, promtool, dir
        self.tests: list[dict] = []

    def expect(self, name: str, before: dict, after: dict, alerts, up: int = 1, since_m: int = SINCE_M) -> None:
        """A test of promtool: from these scrapes on exactly these alerts fire."""
        series = [{"series": 'up{job="nova", instance="a"}', "values": f"{up}x{LOOK_M * 4}"}]
        since = since_m * 4
        for key, value in after.items():
            counts = re.match(r"[^{]*_(total|count|sum|bucket)(\{|$)", key)
            slope = (value - before.get(key, value)) / APART_S * 15 if counts else 0
            labels = key[:-1] + ', instance="a"}' if key.endswith("}") else key + '{instance="a"}'
            if value == value and abs(value) != float("inf"):
                earlier = "" if counts else f"{before.get(key, value):f}x{LOOK_M * 4 - since} "
                points = since if earlier else LOOK_M * 4
                series.append({"series": labels, "values": f"{earlier}{value:f}+{max(slope, 0):f}x{points}"})
        fired = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
        expr = 'group by (alertname) (ALERTS{alertstate="firing"})'
        test = {"expr": expr, "eval_time": f"{LOOK_M}m", "exp_samples": fired}
        self.tests.append({"name": name, "interval": "15s", "input_series": series, "promql_expr_test": [test]})

    def judged(self) -> None:
        path = self.dir / "rules_test.yml"
        # JSON is YAML.
        told = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": self.tests}
        path.write_text(json.dumps(told))
        done = subprocess.run([self.promtool, "test", "rules", str(path)], text=True, capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"alerts:\n{done.stdout}{done.stderr}")


def main(nova: str, promtool: str, *names: str) -> None:
    failed = []
    with tempfile.TemporaryDirectory(prefix="nova-incidents-") as dir:
        run = Run(nova, promtool, Path(dir))
        for make in [make for make in INCIDENTS if not names or make.__name__ in names]:
            it, began = Incident(run, make.__name__), time.monotonic()
            try:
                make(it)
                print(f"ok       {it.name} ({time.monotonic() - began:.1f} s)", flush=True)
            except (Failed, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
                print(f"FAILED   {it.name}: {error}\n{it.node.told() if it.node else ''}", flush=True)
                failed.append(it.name)
            finally:
                it.end()
        run.judged()
    if failed:
        raise SystemExit(f"not told or not repaired: {', '.join(failed)}")
    print(f"{len(run.tests)} incidents fire exactly their alerts")


if __name__ == "__main__":
    main(*sys.argv[1:])
