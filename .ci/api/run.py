"""Uses /openapi.json of a running nova as its users do: clients are made from it for TypeScript and Python, compiled and
used; schemathesis asks every operation what the document allows and what it does not.

    run.py NOVA     a built nova

A step whose tools cannot be fetched says why and is skipped; every other failure ends with 1.
"""

import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Tools stay here from run to run.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nova-ci-api"
FUZZ_S = 120
# The same questions in each run; NOVA_CI_FUZZ_SEED asks others.
FUZZ_SEED = os.environ.get("NOVA_CI_FUZZ_SEED", "4711")
AUTHORS = 5
POSTS = 40
START_S = 60
FETCH_S = 300
STEP_S = 300
# A stream has no end, and whoever revokes tokens with the identifiers that nova gives revokes the run's own: both are asked
# alone, the stream through a relay that cuts it behind its first event, revocations with a token of their own.
ALONE = ["streamTrending", "revokeTokens"]
ALONE_S = 15
# Streams whose events schemathesis takes for the text that holds them: the tests of the console read them.
ENDLESS = ["streamOverview"]


# Of one connection (RFC 9110 §7.6.1), and the length, which the relay writes itself.
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Missing(Exception):
    """A tool that cannot be fetched."""


def run(*command: object, cwd: Path | None = None, seconds: int = STEP_S) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, timeout=seconds, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def fetched(*command: object, cwd: Path) -> None:
    try:
        run(*command, cwd=cwd, seconds=FETCH_S)
    except (OSError, SystemExit, subprocess.TimeoutExpired) as error:
        raise Missing(str(error).strip()[-600:]) from None


def python_tools() -> Path:
    """The folder of the programs of requirements.txt."""
    home, wanted = CACHE / "python", (HERE / "requirements.txt").read_text()
    noted = home / "requirements.txt"
    if not noted.exists() or noted.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        fetched(sys.executable, "-m", "venv", home, cwd=HERE)
        fetched(home / "bin/pip", "install", "-q", "-r", HERE / "requirements.txt", cwd=HERE)
        noted.write_text(wanted)
    return home / "bin"


def node_tools() -> Path:
    """A folder with the node_modules of package.json."""
    home, wanted = CACHE / "node", (HERE / "package.json").read_text()
    noted = home / "fetched.json"
    if not noted.exists() or noted.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "package.json").write_text(wanted)
        fetched("npm", "install", "--silent", "--no-audit", "--no-fund", cwd=home)
        noted.write_text(wanted)
    return home


def identifier(kind: int, number: int) -> str:
    return f"{kind}0000000-0000-4000-8000-{number:012x}"


def world() -> list[str]:
    """Records of a reader, of authors whom the reader follows, and of their posts of the last hours."""
    now = time.time()
    instant = lambda ago: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - ago))
    rows: list[tuple[str, dict]] = []
    for user in range(AUTHORS + 1):
        rows.append(("users", {
            "id": identifier(0, user), "username": f"user_{user}", "email_verified": True, "is_active": True,
            "created_at": instant(90_000), "updated_at": instant(90_000), "deleted_at": None,
        }))
    for author in range(1, AUTHORS + 1):
        rows.append(("follows", {
            "id": identifier(3, author), "follower_id": identifier(0, 0), "following_id": identifier(0, author),
            "created_at": int((now - 80_000) * 1e6),
        }))
    for post in range(POSTS):
        made = instant(60 * (post + 1))
        rows.append(("posts", {
            "id": identifier(2, post), "user_id": identifier(0, 1 + post % AUTHORS), "caption": f"post {post}",
            "image_key": "k", "image_sizes": None, "status": "published", "created_at": made, "updated_at": made,
            "soft_delete": None,
        }))
    offsets: dict[str, int] = {}
    records = []
    for lsn, (table, row) in enumerate(rows, 1):
        offset = offsets[table] = offsets.get(table, -1) + 1
        source = {"lsn": lsn, "ts_ms": int(now * 1e3), "ts_us": int(now * 1e6), "table": table, "snapshot": "false"}
        value = {"before": None, "after": row, "source": source, "op": "c", "ts_ms": int(now * 1e3)}
        records.append(json.dumps({
            "topic": f"cdc.{table}", "partition": 0, "offset": offset, "timestamp_ms": int(now * 1e3),
            "key": json.dumps({"id": row["id"]}), "value": json.dumps(value),
        }))
    return records


class Relay:
    """Hands requests on, and ends a stream of events behind its first event."""

    def __init__(self, to: str) -> None:
        target = to.removeprefix("http://")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                onward = http.client.HTTPConnection(target, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                onward.request(self.command, self.path, self.rfile.read(length) or None, headers)
                answer = onward.getresponse()
                body = b""
                if answer.headers.get_content_type() == "text/event-stream":
                    while not body.endswith(b"\n\n"):
                        body += answer.readline()
                else:
                    body = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
                onward.close()

            do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_TRACE = do_QUERY = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()


class Node:
    """A nova that serves a small world."""

    def __init__(self, nova: str) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="nova-api-"))
        self.nova, self.data = nova, ["--data", str(self.dir / "store")]
        data = self.data
        capture = self.dir / "world.jsonl"
        capture.write_text("\n".join(world()) + "\n")
        run(nova, "replay", capture, *data)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        # What is asked here is more than any one caller is granted.
        environment = dict(os.environ, NOVA_LIMITS_ENABLED="false", NOVA_LOG_LEVEL="warn")
        self.log = (self.dir / "log").open("w")
        self.process = subprocess.Popen(
            [nova, "serve", *data, "--listen", address], env=environment, stdout=self.log, stderr=self.log
        )
        end = time.monotonic() + START_S
        while not self.ready():
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(f"nova does not serve: {(self.dir / 'log').read_text()}")
            time.sleep(0.1)
        reader = identifier(0, 0)
        self.token = run(nova, "token", "--sub", reader, *data).strip()
        self.admin = run(nova, "token", "--sub", reader, "--role", "admin", *data).strip()

    def ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.url}/health/ready", timeout=5).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
        shutil.rmtree(self.dir)


def typescript(node: Node, made: Path) -> None:
    home = node_tools()
    made.mkdir()
    for name in ["node_modules", "package.json"]:
        (made / name).symlink_to(home / name)
    shutil.copy(HERE / "use.ts", made)
    programs = made / "node_modules/.bin"
    run(programs / "openapi-typescript", f"{node.url}/openapi.json", "-o", "schema.d.ts", cwd=made)
    options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node", "--skipLibCheck", "--outDir", "out"]
    run(programs / "tsc", *options, "use.ts", cwd=made)
    print(run("node", "out/use.js", node.url, node.token, cwd=made), end="")


def python(node: Node, made: Path) -> None:
    programs = python_tools()
    made.mkdir()
    shutil.copy(HERE / "use.py", made)
    # The generator knows no JSON lines; to a client they are text.
    (made / "made.yml").write_text("post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n")
    told = run(
        programs / "openapi-python-client", "generate", "--url", f"{node.url}/openapi.json", "--meta", "none",
        "--output-path", "nova_client", "--config", "made.yml", "--fail-on-warning", cwd=made,
    )
    if "arning" in told:
        raise SystemExit(told)
    run(programs / "mypy", "nova_client", cwd=made)
    run(programs / "mypy", "--strict", "--follow-imports=silent", "use.py", cwd=made)
    print(run(programs / "python", "use.py", node.url, node.token, cwd=made), end="")


def fuzz(node: Node, made: Path) -> None:
    programs = python_tools()
    made.mkdir()

    def ask(url: str, token: str, seconds: int, *which: str) -> None:
        told = run(
            programs / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{url}/openapi.json",
            "--url", url, "-H", f"Authorization: Bearer {token}", "--max-time", seconds, "--seed", FUZZ_SEED, "--no-shrink",
            "--warnings", "off", *which, cwd=made, seconds=seconds + STEP_S,
        )
        if not node.ready():
            raise SystemExit("nova does not serve any more")
        print("\n".join(line for line in told.splitlines() if "generated" in line or "Tested:" in line))

    ask(node.url, node.admin, FUZZ_S, *(part for name in [*ALONE, *ENDLESS] for part in ("--exclude-operation-id", name)))
    relay = Relay(node.url)
    try:
        # The schema is of the whole body, which is a text; schemathesis holds each event to it.
        unchecked = ("--exclude-checks", "response_schema_conformance")
        ask(relay.url, node.token, ALONE_S, "--include-operation-id", "streamTrending", *unchecked)
    finally:
        relay.stop()
    own = run(node.nova, "token", "--sub", uuid.uuid4(), "--role", "admin", *node.data).strip()
    ask(node.url, own, ALONE_S, "--include-operation-id", "revokeTokens")


def main(nova: str) -> None:
    steps = {"TypeScript client": typescript, "Python client": python, "schemathesis": fuzz}
    made = Path(tempfile.mkdtemp(prefix="nova-clients-"))
    try:
        for name, step in steps.items():
            node = Node(nova)
            try:
                step(node, made / name.split()[0])
            except Missing as reason:
                print(f"skipped: {name}: {reason}")
            finally:
                node.stop()
    finally:
        shutil.rmtree(made)


# Whoever ends this ends what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
main(*sys.argv[1:])
