"""1 000 tests of the Python example with one nova; with --servers: how soon a server is ready, how long a reset of 10 000
rows and a simulated day take, and what 16 servers that work at the same time take in memory: more than 1 GB is a failure
with the rows of the example.
NOVA_BIN is the program."""

import concurrent.futures
import pathlib
import statistics
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "deploy/test-clients/python"))

import test_example  # noqa: E402
from nova_test import Nova  # noqa: E402

SERVERS = 16
MEMORY_MAX_MIB = 1_000_000_000 / (1 << 20)


def thousand():
    suite = unittest.TestSuite()
    loader = unittest.TestLoader()
    for _ in range(200):
        suite.addTests(loader.loadTestsFromTestCase(test_example.HomeTest))
    result = unittest.TextTestRunner(verbosity=0).run(suite)
    if not result.wasSuccessful() or result.testsRun != 1_000:
        sys.exit(1)


def world():
    def user(number):
        return f"00000001-0000-4000-8000-{number:012}"

    return {
        "users": [{"id": user(number)} for number in range(2_000)],
        "posts": [{"id": f"00000002-0000-4000-8000-{n:012}", "user_id": user(n % 2_000)} for n in range(3_000)],
        "follows": [
            {"follower_id": user(n % 2_000), "following_id": user((n * 7 + 1 + n // 2_000) % 2_000)}
            for n in range(5_000)
        ],
    }


def took_ms(work):
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def own_mib(nova):
    """What the process has in memory, with its share of what several have (PSS)."""
    rollup = pathlib.Path(f"/proc/{nova._process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def told(name, values):
    values = sorted(values)
    print(f"{name}: median {statistics.median(values):.1f} ms, longest {values[-1]:.1f} ms of {len(values)}")


def servers():
    starts = []
    for _ in range(20):
        began = time.perf_counter()
        with Nova():
            starts.append((time.perf_counter() - began) * 1e3)
    told("ready", starts)
    with Nova() as nova:
        rows = world()
        nova.rows(**rows)
        nova.snapshot("rows")
        told("reset to 10 000 rows, with its request", [took_ms(lambda: nova.reset("rows")) for _ in range(200)])
        told("of it in the server", [nova.reset("rows")["took_ms"] for _ in range(200)])
        days = []
        for _ in range(20):
            nova.reset("rows")
            days.append(took_ms(lambda: nova.advance(hours=24)))
        told("24 simulated hours over 10 000 rows", days)
    for what, filled in (("the rows of the tests", test_example.WORLD), ("10 000 rows", rows)):
        taken_mib = together_mib(filled)
        print(f"{SERVERS} servers with {what} each, after 20 resets: {taken_mib:.0f} MiB")
        # The bar is for tests like those of the example; the other figure is for information.
        if filled is test_example.WORLD and taken_mib > MEMORY_MAX_MIB:
            sys.exit(f"{SERVERS} servers take more than {MEMORY_MAX_MIB:.0f} MiB, which is 1 GB")


def together_mib(rows):
    """What servers take that are filled and reset at the same time."""

    def used(nova):
        nova.rows(**rows)
        nova.snapshot("rows")
        for _ in range(20):
            nova.reset("rows")

    together = []
    try:
        together.extend(Nova() for _ in range(SERVERS))
        with concurrent.futures.ThreadPoolExecutor(SERVERS) as pool:
            # Its results are read, so that what failed in a thread fails here.
            list(pool.map(used, together))
        return sum(map(own_mib, together))
    finally:
        for nova in together:
            nova.close()


if __name__ == "__main__":
    servers() if "--servers" in sys.argv[1:] else thousand()
