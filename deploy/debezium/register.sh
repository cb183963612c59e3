#!/bin/sh
# Gives Connect the connector of $CONNECTOR.json (beside this file) under the name nova, starts what of it is paused, stopped
# or failed, and waits until its task runs.
#   CONNECT_URL   Connect's REST address, default http://127.0.0.1:29083
#   CONNECTOR     nova (default), nova-avro or nova-flat
#   NAME          the connector's name, default nova
# Exit 0: it runs. Exit 1: Connect refused it, or its task failed or did not run in time; the reason is printed.
set -eu
url=${CONNECT_URL:-http://127.0.0.1:29083} name=${NAME:-nova}
file=$(dirname "$0")/${CONNECTOR:-nova}.json
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
tries=60 pause_s=2

put() { # Connect's status code; 000 where there is none
    curl -s -o "$answer" -w '%{http_code}' --max-time 30 -X PUT -H 'Content-Type: application/json' \
        --data-binary "@$file" "$url/connectors/$name/config" || true
}

left=$tries
while :; do
    code=$(put)
    case $code in
    200 | 201) break ;;
    # Not up yet, starting, or moving connectors about.
    000 | 404 | 409 | 5*) ;;
    *)
        echo "connector $name: Connect refuses $file with $code:" >&2
        cat "$answer" >&2
        exit 1
        ;;
    esac
    left=$((left - 1))
    if [ "$left" = 0 ]; then
        echo "connector $name: Connect at $url did not take it in $((tries * pause_s)) s, the last answer was $code" >&2
        cat "$answer" >&2
        exit 1
    fi
    sleep "$pause_s"
done

# An unchanged configuration starts no failed task again, and a connector that somebody paused or stopped stays so.
curl -sf -o /dev/null --max-time 30 -X PUT "$url/connectors/$name/resume" || true
curl -sf -o /dev/null --max-time 30 -X POST "$url/connectors/$name/restart?includeTasks=true&onlyFailed=true" || true

# Right after a change the status may still be that of the task before: only a state that stays counts.
left=$tries running=0 failed=0
while [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep "$pause_s"
    curl -sf -o "$answer" --max-time 30 "$url/connectors/$name/status" || continue
    case $(sed 's/.*"tasks"://' "$answer") in
    *'"state":"FAILED"'*) failed=$((failed + 1)) running=0 ;;
    *'"state":"RUNNING"'*) running=$((running + 1)) failed=0 ;;
    esac
    if [ "$running" = 2 ]; then
        echo "connector $name runs with $file"
        exit 0
    elif [ "$failed" = 5 ]; then
        break
    fi
done
echo "connector $name: its task does not run:" >&2
cat "$answer" >&2
exit 1
