#!/bin/sh
# This script registers the connector of $CONNECTOR.json (beside this file) at Connect under the name nova, starts the connector or its
# task if it is paused, stopped or failed, and waits until the task runs. The script reads these variables:
#   CONNECT_URL   Connect's REST address, default http://127.0.0.1:29083
#   CONNECTOR     nova (default), nova-avro or nova-flat
#   NAME          the connector's name, default nova
# The exit code is 0 when the task runs. The exit code is 1 if Connect refused the connector, or if the task failed or did not run in time, and the script prints the reason.
set -eu
url=${CONNECT_URL:-http://127.0.0.1:29083} name=${NAME:-nova}
file=$(dirname "$0")/${CONNECTOR:-nova}.json
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
tries=60 pause_s=2

put() { # prints Connect's status code, or 000 if Connect does not answer
    curl -s -o "$answer" -w '%{http_code}' --max-time 30 -X PUT -H 'Content-Type: application/json' \
        --data-binary "@$file" "$url/connectors/$name/config" || true
}

left=$tries
while :; do
    code=$(put)
    case $code in
    200 | 201) break ;;
    # Connect does not answer yet, starts, or moves connectors to other workers.
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

# When the configuration does not change, Connect does not start a failed task again, and a connector that somebody paused or stopped stays paused or stopped.
curl -sf -o /dev/null --max-time 30 -X PUT "$url/connectors/$name/resume" || true
curl -sf -o /dev/null --max-time 30 -X POST "$url/connectors/$name/restart?includeTasks=true&onlyFailed=true" || true

# Right after a change the status may still be the status of the earlier task, so the script accepts only a state that stays the same.
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
