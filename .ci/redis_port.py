"""The Redis port beside a real Redis 7: random commands through redis-py must get equal answers.

    redis_port.py NOVA [COMMANDS] [SEED]    COMMANDS to send (100 000), half in RESP2, half in RESP3

Needs redis-py 8 (pip install 'redis>=8'), and NOVA_TEST_REDIS, the address of a Redis whose keys that begin with
"nova-test-" may be deleted. What is compared loosely: members and fields come in any order, times to live may differ by two seconds.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid

COMMANDS = 100_000
BATCH_MAX = 60
SLACK_MS = 2_000
START_S = 60
PREFIX = f"nova-test-{uuid.uuid4().hex[:8]}:"
KEYS = [PREFIX + name for name in "abcdefgh"] + [(PREFIX + "é").encode() + b"\xff\x00"]
VALUES = ["", "x", "007", "-0", "+1", " 1", "1.5", "9223372036854775807", "-9223372036854775808", b"\xff\r\n\0", "v" * 80]
MEMBERS = ["a", "b", "c", "d", "", "ä", "aa", b"\xff"]
SCORES = ["0", "-0", "1", "2", "0.1", "-2.5", "1e300", "-1e300", "inf", "-inf", "nan", "x", "1e5", "+3", ""]
INTEGERS = ["0", "1", "-1", "7", "3", "-2", "9223372036854775807", "-9223372036854775808", "x", "1.0", "", "007"]
BOUNDS = ["0", "1", "-inf", "+inf", "inf", "(1", "(0.1", "(-2.5", "2", "x", "(x", "(inf", "(-inf"]
RANKS = ["0", "1", "2", "-1", "-2", "5", "-9", "9", "x"]
UNORDERED = {"HKEYS", "HVALS", "SMEMBERS", "HGETALL"}


class Chooser(random.Random):
    def some(self, of, most=3):
        return [self.choice(of) for _ in range(self.randint(1, most))]

    def maybe(self, *words):
        return list(words) if self.random() < 0.3 else []

    def times(self):
        return self.choice(["1000000", "2000000", "1500000", "0", "-1", "x", "9223372036854775807", "9000000000000000"])


def command(pick: Chooser) -> list:
    key, value, member = pick.choice(KEYS), pick.choice(VALUES), pick.choice(MEMBERS)
    now = int(time.time())
    at = pick.choice([str(now + 1_000_000), str(now + 2_000_000), str(now - 5), "0", "x"])
    at_ms = pick.choice([str((now + 1_000_000) * 1000), str(now * 1000 - 5), "x"])
    number = pick.choice(VALUES[:9] + ["5"]) if pick.random() < 0.5 else value
    expiry = pick.choice([["EX", pick.times()], ["PX", pick.times()], ["EXAT", at], ["PXAT", at_ms], ["KEEPTTL"], ["EX"]])
    when = pick.choice([["NX"], ["XX"], ["GT"], ["LT"], ["NX", "XX"], ["GT", "LT"], ["XX", "GT"], ["x"]])
    pairs = [part for _ in range(pick.randint(1, 3)) for part in (pick.choice(MEMBERS), pick.choice(VALUES))]
    scored = [part for _ in range(pick.randint(1, 3)) for part in (pick.choice(SCORES), pick.choice(MEMBERS))]
    limit = pick.choice([["LIMIT", pick.choice(RANKS), pick.choice(RANKS)], ["WITHSCORES"], ["LIMIT", "0"], ["x"]])
    table = [
        ["GET", key], ["GET", key], ["SET", key, number], ["SET", key, number],
        ["SET", key, value, *pick.maybe(*expiry), *pick.maybe("GET"), *pick.maybe(*pick.choice([["NX"], ["XX"], ["y"]]))],
        ["SETNX", key, value], ["SETEX", key, pick.times(), value], ["PSETEX", key, pick.times(), value],
        ["GETSET", key, value], ["GETDEL", key], ["GETEX", key, *pick.maybe(*expiry)], ["GETEX", key, "PERSIST"],
        ["MGET", *pick.some(KEYS)], ["MSET", *[part for name in pick.some(KEYS) for part in (name, value)]],
        ["MSET", key, value, key], ["APPEND", key, value], ["STRLEN", key],
        ["GETRANGE", key, pick.choice(RANKS), pick.choice(RANKS)], ["SUBSTR", key, pick.choice(RANKS), "-1"],
        ["INCR", key], ["DECR", key], ["INCRBY", key, pick.choice(INTEGERS)], ["DECRBY", key, pick.choice(INTEGERS)],
        ["DEL", *pick.some(KEYS)], ["UNLINK", *pick.some(KEYS)], ["EXISTS", *pick.some(KEYS)], ["TOUCH", *pick.some(KEYS)],
        ["TYPE", key], ["TTL", key], ["PTTL", key], ["EXPIRETIME", key], ["PEXPIRETIME", key], ["PERSIST", key],
        ["EXPIRE", key, pick.times(), *pick.maybe(*when)], ["PEXPIRE", key, pick.times(), *pick.maybe(*when)],
        ["EXPIREAT", key, at, *pick.maybe(*when)], ["PEXPIREAT", key, at_ms, *pick.maybe(*when)],
        ["HSET", key, *pairs], ["HSET", key, *pairs], ["HSET", key, *pairs, "odd"], ["HMSET", key, *pairs],
        ["HSETNX", key, member, value], ["HGET", key, member], ["HMGET", key, *pick.some(MEMBERS)], ["HGETALL", key],
        ["HKEYS", key], ["HVALS", key], ["HLEN", key], ["HEXISTS", key, member], ["HSTRLEN", key, member],
        ["HDEL", key, *pick.some(MEMBERS)], ["HINCRBY", key, member, pick.choice(INTEGERS)],
        ["SADD", key, *pick.some(MEMBERS)], ["SADD", key, *pick.some(MEMBERS)], ["SREM", key, *pick.some(MEMBERS)],
        ["SMEMBERS", key], ["SISMEMBER", key, member], ["SMISMEMBER", key, *pick.some(MEMBERS)], ["SCARD", key],
        ["ZADD", key, *scored], ["ZADD", key, *scored],
        ["ZADD", key, *pick.maybe(*when), *pick.maybe("CH"), *scored], ["ZADD", key, "INCR", *scored],
        ["ZINCRBY", key, pick.choice(SCORES), member], ["ZREM", key, *pick.some(MEMBERS)], ["ZSCORE", key, member],
        ["ZMSCORE", key, *pick.some(MEMBERS)], ["ZCARD", key], ["ZCOUNT", key, pick.choice(BOUNDS), pick.choice(BOUNDS)],
        ["ZRANK", key, member], ["ZREVRANK", key, member],
        ["ZRANGE", key, pick.choice(RANKS), pick.choice(RANKS), *pick.maybe("REV"), *pick.maybe("WITHSCORES")],
        ["ZRANGE", key, pick.choice(BOUNDS), pick.choice(BOUNDS), "BYSCORE", *pick.maybe("REV"), *pick.maybe(*limit)],
        ["ZREVRANGE", key, pick.choice(RANKS), pick.choice(RANKS), *pick.maybe("WITHSCORES")],
        ["ZRANGEBYSCORE", key, pick.choice(BOUNDS), pick.choice(BOUNDS), *pick.maybe(*limit), *pick.maybe("WITHSCORES")],
        ["ZREVRANGEBYSCORE", key, pick.choice(BOUNDS), pick.choice(BOUNDS), *pick.maybe(*limit)],
        ["ZPOPMIN", key], ["ZPOPMAX", key], ["ZPOPMIN", key, pick.choice(RANKS)], ["ZPOPMAX", key, "2"],
        ["ZREMRANGEBYRANK", key, pick.choice(RANKS), pick.choice(RANKS)],
        ["ZREMRANGEBYSCORE", key, pick.choice(BOUNDS), pick.choice(BOUNDS)],
        ["PING"], ["PING", value], ["ECHO", value], ["SELECT", pick.choice(["0", "99", "x"])], ["NOSUCH", *pick.some(MEMBERS)],
    ]
    chosen = pick.choice(table)
    if pick.random() < 0.02:
        chosen = chosen[: pick.randint(1, len(chosen))]
    if pick.random() < 0.02:
        # Perhaps one too many; a key of the run, as whatever stands there may be one.
        chosen = [chosen[0].lower(), *chosen[1:], pick.choice(KEYS)]
    return chosen


def plain(answer, scores: bool):
    """Errors by their text, scores by their value: Redis 7.0 writes them with more digits than it needs."""
    if isinstance(answer, Exception):
        return f"error: {answer}"
    if isinstance(answer, (list, tuple)):
        return [plain(part, scores) for part in answer]
    if scores and isinstance(answer, bytes):
        try:
            return float(answer)
        except ValueError:
            return answer
    if isinstance(answer, (set, frozenset)):
        return sorted(map(repr, answer))
    if isinstance(answer, dict):
        return sorted((repr(name), repr(value)) for name, value in answer.items())
    return answer


def equal(sent: list, nova, redis) -> bool:
    name = str(sent[0]).upper()
    if name in UNORDERED and isinstance(nova, list) and isinstance(redis, list):
        return sorted(map(repr, nova)) == sorted(map(repr, redis))
    if name in ("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME") and isinstance(nova, int) and isinstance(redis, int):
        slack = SLACK_MS if name.startswith("P") else SLACK_MS // 1000
        return nova == redis or (min(nova, redis) >= 0 and abs(nova - redis) <= slack)
    return nova == redis


def compare(nova, real, commands: int, seed: int) -> None:
    pick, sent = Chooser(seed), 0
    while sent < commands:
        batch = [command(pick) for _ in range(pick.randint(1, BATCH_MAX))]
        answers = []
        for client in (nova, real):
            pipeline = client.pipeline(transaction=False)
            for one in batch:
                pipeline.execute_command(*one)
            answers.append(pipeline.execute(raise_on_error=False))
        for one, ours, theirs in zip(batch, *answers):
            scores = str(one[0]).upper().startswith("Z")
            ours, theirs = plain(ours, scores), plain(theirs, scores)
            if not equal(one, ours, theirs):
                sys.exit(f"seed {seed}, after {sent}: {one}\n nova: {ours!r}\nredis: {theirs!r}")
            sent += 1
        if pick.random() < 0.02:
            found = [sorted(set(client.scan_iter(match=PREFIX + "*", count=pick.randint(1, 50)))) for client in (nova, real)]
            if found[0] != found[1]:
                sys.exit(f"seed {seed}, after {sent}: SCAN finds\n nova: {found[0]}\nredis: {found[1]}")
        if pick.random() < 0.05:
            names = pick.some(KEYS, 9)
            [client.delete(*names) for client in (nova, real)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(binary: str, data: str, http: int, port: int) -> subprocess.Popen:
    environment = {**os.environ, "NOVA_CACHE_LISTEN": f"127.0.0.1:{port}", "NOVA_LOG_LEVEL": "warn"}
    arguments = [binary, "serve", "--data", data, "--listen", f"127.0.0.1:{http}"]
    server = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.05)
    server.kill()
    sys.exit("nova does not listen for Redis clients")


def main() -> None:
    address = os.environ.get("NOVA_TEST_REDIS")
    if not address:
        return print("skipped: NOVA_TEST_REDIS is not set")
    try:
        import redis
    except ImportError:
        return print("skipped: redis-py is not installed")
    binary = sys.argv[1]
    commands = int(sys.argv[2]) if len(sys.argv) > 2 else COMMANDS
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    data, port = tempfile.mkdtemp(), free_port()
    server = started(binary, data, free_port(), port)
    try:
        issue = [binary, "token", "--data", data, "--sub", str(uuid.uuid4()), "--role", "service"]
        token = subprocess.run(issue, check=True, capture_output=True, text=True).stdout.strip()
        begun = time.monotonic()
        for protocol in (2, 3):
            nova = redis.Redis(host="127.0.0.1", port=port, password=token, protocol=protocol)
            real = redis.Redis.from_url(address, protocol=protocol)
            for client in (nova, real):
                # As they come: what redis-py makes of an answer depends on how it was asked.
                for name in {str(one[0]).upper() for one in (command(Chooser(n)) for n in range(5_000))}:
                    client.response_callbacks.pop(name, None)
            compare(nova, real, commands // 2, seed + protocol)
            real.delete(*KEYS)
            nova.delete(*KEYS)
        took = time.monotonic() - begun
        print(f"{commands} random commands got equal answers from nova and from Redis {real.info('server')['redis_version']}, in {took:.0f} s")
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    main()
