"""Units of Valkey's own suite against the Redis port, as information: no test of it fails the build.

    valkey.py NOVA DIR [UNIT...]    NOVA is the program, or a port of this machine whose keys are deleted; DIR is a
                                    checkout of github.com/valkey-io/valkey

Needs tclsh (apt install tcl). A test that did not pass is counted as `lacks` where it asked for a command, or a form of one,
that the server does not have. What needs a server's inside (DEBUG, replicas, files), many databases or a minute is skipped,
and a block of tests counts as one then. Prints the table of docs/cache.md, and the tests that failed.
"""

import collections
import json
import pathlib
import shutil
import subprocess
import sys

UNITS = [
    "unit/type/string", "unit/type/incr", "unit/type/hash", "unit/type/set", "unit/type/zset", "unit/expire", "unit/keyspace",
    "unit/scan", "unit/multi", "unit/protocol",
]
HOW = ["passed", "failed", "lacks", "skipped"]
UNIT_MAX_S = 300
DRIVER = pathlib.Path(__file__).with_suffix(".tcl").resolve()


def run(port: str, checkout: str, unit: str) -> list[list[str]]:
    """A line a test, and one that says where the unit ended if it did not reach its end."""
    command = ["tclsh", str(DRIVER), "127.0.0.1", port, unit]
    try:
        ended = subprocess.run(command, cwd=checkout, capture_output=True, timeout=UNIT_MAX_S)
        out, why = ended.stdout, ended.stderr.decode(errors="replace").strip().splitlines()[:1]
    except subprocess.TimeoutExpired as late:
        out, why = late.stdout or b"", [f"not done within {UNIT_MAX_S} s"]
    lines = [line.split("\t") for line in out.decode(errors="replace").splitlines() if line.count("\t") == 2]
    if not lines or lines[-1][0] != "done":
        last = lines[-1][1] if lines else "the beginning"
        lines.append(["failed", f"the unit ends after: {last}", " ".join(why)])
    return [line for line in lines if line[0] != "done"]


def told(port: str, checkout: str, units: list[str]) -> None:
    lacking, failed = collections.Counter(), []
    print("| unit | " + " | ".join(HOW) + " |")
    print("|---|" + "---|" * len(HOW))
    for unit in units:
        lines = run(port, checkout, unit)
        counts = collections.Counter(how for how, _, _ in lines)
        print(f"| `{unit}` | " + " | ".join(str(counts[how]) for how in HOW) + " |", flush=True)
        for how, name, why in lines:
            if how == "failed":
                failed.append(f"{unit}: {name}: {why[:300]}")
            elif how == "lacks":
                lacking.update(why.split("; "))
    needed = ", ".join(f"{name} ({count})" for name, count in lacking.most_common())
    print(f"\nlacking, and how many tests need it: {needed or 'nothing'}\n")
    print("\n".join(failed) or "no test failed")


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not shutil.which("tclsh"):
        return print("skipped: there is no tclsh")
    server, checkout, units = sys.argv[1], sys.argv[2], sys.argv[3:] or UNITS
    if server.isdigit():
        return told(server, checkout, units)
    # Its clock goes by itself: the tests wait for keys to end.
    command = [server, "test", "--die-with-parent", "--clock", "real"]
    nova = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        told(json.loads(nova.stdout.readline())["redis"].rpartition(":")[2], checkout, units)
    finally:
        nova.terminate()
        nova.wait(30)


if __name__ == "__main__":
    main()
