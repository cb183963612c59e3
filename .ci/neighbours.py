"""A user's pages while others do their worst: four connections that pipeline /metrics in gzip, 500 heads and 500 bodies that
come byte by byte, 5 000 idle connections, and streams of one IPv6 network of 64 bits that nobody reads. It fails where the
99th percentile of the user's pages is above 25 ms, a page is refused, or nova takes more than 512 MiB.

    neighbours.py NOVA [SECONDS]    SECONDS of measuring (30)

What runs here shares the machine's cores with nova, so the pages of the same user without neighbours are told beside.
"""

import json
import multiprocessing
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PAGE_P99_MS = 25
MEMORY_MIB = 512
PERIOD_S = 0.02
NETWORK = "fd5e:7a11:0:1::"
START_S = 60


def connect(port: int, source: str) -> socket.socket:
    family, target = (socket.AF_INET6, "::1") if ":" in source else (socket.AF_INET, "127.0.0.1")
    made = socket.socket(family)
    made.settimeout(5)
    if source != "::1":
        # IP_FREEBIND: any address of a network that is routed to this machine.
        made.setsockopt(socket.IPPROTO_IP, 15, 1)
        made.bind((source, 0))
    made.connect((target, port))
    return made


def many(port: int, count: int, source, first: bytes) -> list[socket.socket]:
    made = []
    for number in range(count):
        try:
            one = connect(port, source(number))
            one.sendall(first)
            one.setblocking(False)
            made.append(one)
        except OSError:
            pass
    return made


def pipelining(port: int) -> None:
    """Asks without an end, and reads what comes."""
    requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n" * 200
    while True:
        try:
            with connect(port, "127.0.1.1") as one:
                one.setblocking(False)
                while True:
                    readable, writable, _ = select.select([one], [one], [], 1)
                    if writable:
                        one.send(requests)
                    if readable and not one.recv(1 << 20):
                        break
        except OSError:
            time.sleep(0.01)


def slow(port: int) -> None:
    """Heads and bodies of which a byte comes each second; whoever is dropped comes again."""
    head = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: "
    body = b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    here: list[tuple[socket.socket, bytes]] = []
    while True:
        for first in (head, body):
            lacking = 500 - sum(kind is first for _, kind in here)
            here += [(one, first) for one in many(port, lacking, lambda number: f"127.0.3.{1 + number % 4}", first)]
        kept = []
        for one, kind in here:
            try:
                one.send(b"a")
                kept.append((one, kind))
            except OSError:
                one.close()
        here = kept
        time.sleep(1)


def idle(port: int) -> None:
    here: list[socket.socket] = []
    while True:
        here += many(port, 5_000 - len(here), lambda number: f"127.0.2.{1 + number % 200}", b"")
        time.sleep(1)
        kept = []
        for one in here:
            try:
                if one.recv(1) == b"":
                    one.close()
                    continue
            except BlockingIOError:
                pass
            except OSError:
                one.close()
                continue
            kept.append(one)
        here = kept


def deaf(port: int, network: str) -> None:
    source = lambda number: "::1" if network == "::1" else f"{network}{number + 1:x}"
    request = b"GET /api/v1/feed/trending/stream?limit=200 HTTP/1.1\r\nHost: x\r\n\r\n"
    while True:
        here = many(port, 300, source, request)
        time.sleep(5)
        for one in here:
            one.close()


def answer(one: socket.socket) -> int:
    """Reads one answer with a length; its status."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = one.recv(1 << 16)
        if not piece:
            return 0
        text += piece
    head, _, rest = text.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left = int(fields.get(b"content-length", 0)) - len(rest)
    while left > 0:
        left -= len(one.recv(left))
    return int(head.split()[1])


def pages(port: int, token: str, seconds: float) -> tuple[list[float], list[float], Counter]:
    """The times of a user's pages, milliseconds: over a connection that is kept, and, every tenth, over a new one."""
    request = f"GET /api/v1/feed?limit=20 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    took, new, told, kept = [], [], Counter(), connect(port, "127.0.0.1")
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        began = time.perf_counter()
        one = connect(port, "127.0.0.1") if number % 10 == 9 else kept
        one.sendall(request)
        told[answer(one)] += 1
        (took if one is kept else new).append((time.perf_counter() - began) * 1e3)
        if one is not kept:
            one.close()
        number += 1
        time.sleep(max(0.0, PERIOD_S - (time.perf_counter() - began)))
    return sorted(took), sorted(new), told


def shown(name: str, took: list[float]) -> float:
    part = lambda share: took[min(len(took) - 1, int(len(took) * share))]
    print(f"{name}: {len(took)} pages, p50 {part(0.5):.1f} ms, p99 {part(0.99):.1f} ms, most {took[-1]:.1f} ms", flush=True)
    return part(0.99)


def memory_mib(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(what))


def routed() -> str:
    """An IPv6 network of which every address is this machine's; ::1 alone where that may not be set."""
    route = ["ip", "-6", "route", "replace", "local", f"{NETWORK}/64", "dev", "lo"]
    try:
        subprocess.run(route, check=True, capture_output=True)
        return NETWORK
    except (OSError, subprocess.CalledProcessError):
        print("skipped: streams of many addresses: no network may be routed here; they are of ::1")
        return "::1"


def main(nova: str, seconds: str = "30") -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    dir = Path(tempfile.mkdtemp(prefix="nova-neighbours-"))
    # The demo's store is in a directory of its own, and its clock goes on where its data ends.
    whole, data = ["--data", str(dir)], ["--data", str(dir / "demo")]
    subprocess.run([nova, "demo", "--once", *whole], check=True, stdout=subprocess.DEVNULL)
    follows = subprocess.run([nova, "dump", "--table", "follows", *data], check=True, text=True, stdout=subprocess.PIPE).stdout
    reader = Counter(json.loads(line)["follower_id"] for line in follows.splitlines()).most_common(1)[0][0]
    token = subprocess.run([nova, "token", "--sub", reader, *data], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    with socket.socket(socket.AF_INET6) as free:
        free.bind(("::", 0))
        port = free.getsockname()[1]
    log = (dir / "log").open("w")
    node = subprocess.Popen([nova, "demo", *whole, "--listen", f"[::]:{port}"], stdout=log, stderr=log,
                            env=dict(os.environ, NOVA_LOG_LEVEL="error"))
    worst: list[multiprocessing.Process] = []
    try:
        end = time.monotonic() + START_S
        while True:
            try:
                connect(port, "127.0.0.1").close()
                break
            except OSError:
                if time.monotonic() > end or node.poll() is not None:
                    raise SystemExit(f"nova does not listen: {(dir / 'log').read_text()}") from None
                time.sleep(0.1)
        alone, new, _ = pages(port, token, float(seconds))
        shown("alone", alone)
        shown("alone, new connections", new)
        before = memory_mib(node.pid, "VmRSS")
        network = routed()
        jobs = [(pipelining, (port,))] * 4 + [(slow, (port,)), (idle, (port,)), (deaf, (port, network))]
        worst = [multiprocessing.Process(target=job, args=given, daemon=True) for job, given in jobs]
        for one in worst:
            one.start()
        time.sleep(10)
        took, new, told = pages(port, token, float(seconds))
        p99 = shown("with neighbours", took)
        shown("with neighbours, new connections", new)
        most = memory_mib(node.pid, "VmHWM")
        print(f"memory: {before} MiB before, {most} MiB at most; {len(list(Path(f'/proc/{node.pid}/fd').iterdir()))} files are open")
        bad = [why for why, is_bad in [
            (f"p99 above {PAGE_P99_MS} ms", p99 > PAGE_P99_MS), (f"above {MEMORY_MIB} MiB", most > MEMORY_MIB),
            (f"pages were refused: {dict(told)}", set(told) != {200}),
        ] if is_bad]
        if bad:
            raise SystemExit("; ".join(bad))
    finally:
        for one in worst:
            one.terminate()
            one.join()
        node.terminate()
        node.wait(timeout=60)
        log.close()
        shutil.rmtree(dir)


main(*sys.argv[1:])
