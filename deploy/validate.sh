#!/usr/bin/env bash
# This script checks the files of a deployment without starting it:
#   - docker-compose.yml, by each profile, with a real compose implementation
#   - the syntax of JSON and YAML files, and whether the files agree with each other
#   - Prometheus rules and their tests (promtool), the unit (systemd-analyze), the Dockerfile (hadolint), shell scripts
# If a tool is missing, the script prints the tool's name and skips its checks. The exit code is 0 if nothing is wrong, and 1 if the script found and printed something wrong.
#   VALIDATE_FETCH=1   without compose but with a Go toolchain, the script fetches compose-go, the library with which docker
#                      compose reads, merges and checks its files, and lets it load the project; without promtool but
#                      with apt-get, the script takes promtool from Debian's package prometheus without installing the package
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
root=$PWD
failed=0
ok() { printf 'ok       %s\n' "$*"; }
skip() { printf 'skipped  %s\n' "$*"; }
run() { # what, command...
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then ok "$what"; else
        printf 'FAILED   %s\n%s\n' "$what" "$out"
        failed=1
    fi
}
have() { command -v "$1" >/dev/null 2>&1; }

# An empty name in this list means no profile.
profiles=("" clickhouse kafka registry redis observability clickhouse,kafka clickhouse,registry,redis,observability)
compose=()
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif have docker-compose && docker-compose version --short 2>/dev/null | grep -qv '^1\.'; then
    compose=(docker-compose)
elif have podman-compose && have podman; then
    compose=(podman-compose)
fi
if [ ${#compose[@]} -gt 0 ]; then
    for profile in "${profiles[@]}"; do
        run "${compose[*]} config, profile ${profile:-none}" \
            env COMPOSE_PROFILES="$profile" "${compose[@]}" -f docker-compose.yml config
    done
elif [ "${VALIDATE_FETCH:-}" = 1 ] && have go; then
    loader=$(mktemp -d)
    trap 'rm -rf "$loader"' EXIT
    build_loader() {
        cd "$loader" || return 1
        printf 'module loader\ngo 1.25\n' >go.mod
        cat >main.go <<'G'
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions([]string{"docker-compose.yml"}, cli.WithOsEnv, cli.WithDefaultProfiles())
	if err == nil {
		_, err = options.LoadProject(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
G
        GOFLAGS=-mod=mod go get github.com/compose-spec/compose-go/v2@v2.16.2 && GOFLAGS=-mod=mod go build -o loader .
    }
    run "compose-go builds" build_loader
    cd "$root" || exit 1
    for profile in "${profiles[@]}"; do
        run "compose-go, profile ${profile:-none}" env COMPOSE_PROFILES="$profile" "$loader/loader"
    done
else
    skip "compose config: no docker compose, docker-compose 2 or podman-compose (VALIDATE_FETCH=1 uses go instead)"
fi

if have python3; then run "files agree with each other" python3 deploy/validate.py; else skip "validate.py: no python3"; fi
promtool=$(command -v promtool)
if [ -z "$promtool" ] && [ "${VALIDATE_FETCH:-}" = 1 ] && have apt-get && have dpkg; then
    fetched=${XDG_CACHE_HOME:-$HOME/.cache}/nova-validate-prometheus
    promtool=$fetched/usr/bin/promtool
    if ! [ -x "$promtool" ] && mkdir -p "$fetched"; then
        (cd "$fetched" && timeout 120 apt-get download prometheus && dpkg -x prometheus_*.deb .) >/dev/null 2>&1
    fi
    [ -x "$promtool" ] || promtool=
fi
if [ -n "$promtool" ]; then
    run "Prometheus rules" "$promtool" check rules deploy/prometheus/rules.yml
    run "Prometheus rules do what they say" "$promtool" test rules deploy/prometheus/rules_test.yml
else skip "Prometheus rules: no promtool"; fi
if have hadolint; then run "Dockerfile" hadolint Dockerfile; else skip "Dockerfile: no hadolint"; fi
if have systemd-analyze && [ -x /usr/local/bin/nova ]; then
    run "systemd unit" systemd-analyze verify deploy/systemd/nova.service
else skip "systemd unit: no systemd-analyze, or no /usr/local/bin/nova"; fi
for script in deploy/debezium/register.sh deploy/validate.sh; do run "$script" bash -n "$script"; done
if have shellcheck; then run "shellcheck" shellcheck deploy/debezium/register.sh deploy/validate.sh; else skip "shellcheck"; fi
exit $failed
