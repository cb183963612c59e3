#!/usr/bin/env bash
# The console in a real browser: Debian's Chromium, driven by the tests. axe-core comes from npm where that can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

INSTALL_S=240
FETCH_S=60
if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null ||
        ! { timeout "$INSTALL_S" apt-get update -qq && timeout "$INSTALL_S" apt-get install -y -qq chromium chromium-driver; } >/dev/null 2>&1; then
        echo "skipped: the console in a browser: there is no chromium with chromedriver, and apt-get does not give them here"
        exit 0
    fi
fi
home="$(mktemp -d)"
trap 'rm -rf "$home"' EXIT
if (cd "$home" && timeout "$FETCH_S" npm pack --silent axe-core@4 >/dev/null 2>&1) && tar -C "$home" -xzf "$home"/axe-core-*.tgz; then
    export NOVA_TEST_AXE="$home/package/axe.min.js"
else
    echo "left out: axe-core: npm does not give it"
fi
NOVA_TEST_CHROMIUM="$(command -v chromium)"
export NOVA_TEST_CHROMIUM
cargo test --workspace --locked --test it console:: -- --test-threads=2 --skip console::speed
# The tests of speed and memory run alone, because another browser beside them would take their time.
cargo test --workspace --locked --test it console::speed -- --test-threads=1 --nocapture
