#!/usr/bin/env bash
# The clients of `nova test` in deploy/test-clients, each by its example. BIN is the program: .ci/test-clients.sh BIN
# With --thousand behind it: 1 000 tests with a reset each in every language, the start, resets of 10 000 rows, and 16 servers
# at once, measured; they must stay below 1 GB together. BIN is a release build then, and Rust's are built like it.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="$(realpath "${1:?usage: .ci/test-clients.sh BIN [--thousand]}")"
export NOVA_BIN="$bin" PYTHONDONTWRITEBYTECODE=1
thousand="${2:-}"
rounds=1
[ -z "$thousand" ] || rounds=250
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

has() { command -v "$1" >/dev/null; }
timed() {
    local name="$1" began
    shift
    began="$(date +%s%N)"
    "$@" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
    echo "$name: ${thousand:+1000 tests }passed in $(( ($(date +%s%N) - began) / 1000000 )) ms"
}

if has python3; then
    if [ -n "$thousand" ]; then
        timed python python3 .ci/thousand.py
    else
        (cd deploy/test-clients/python && timed python python3 -m unittest -q test_example)
    fi
else
    echo "skipped: the Python client: there is no python3"
fi

if has go; then
    cp deploy/test-clients/go/* "$work"
    (cd "$work" && go vet ./... && go test -c -o go.test . && timed go ./go.test -test.count "$rounds")
else
    echo "skipped: the Go client: there is no go"
fi

if has node && has npm && (( $(node -p 'process.versions.node.split(".")[0]') >= 20 )); then
    mkdir "$work/ts"
    cp deploy/test-clients/typescript/*.ts .ci/api/package.json "$work/ts"
    # The compiler, and the types of Node's modules; the client itself needs neither.
    if (cd "$work/ts" && npm install --silent --no-audit --no-fund typescript@5.9.3 @types/node@26.6.6 >/dev/null 2>&1); then
        (cd "$work/ts" && npx tsc --strict --target es2022 --module nodenext --types node ./*.ts &&
            NOVA_TEST_ROUNDS="$rounds" timed typescript node --test example.test.js)
    else
        echo "skipped: the TypeScript client: npm has no network"
    fi
else
    echo "skipped: the TypeScript client: there is no node from 20 on with npm"
fi

if [ -n "$thousand" ]; then
    cargo build --release --locked --example thousand_tests
    timed rust target/release/examples/thousand_tests
    python3 .ci/thousand.py --servers
fi
