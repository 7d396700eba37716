#!/bin/sh
# Fuzzes the HTTP surface with schemathesis, from the OpenAPI document of a deployed app. Opt-in: needs the command
# `schemathesis` (pip install schemathesis), and takes minutes. CI runs tests/hostile/surface.rs instead.
#   tests/fuzz-http.sh [GUEST_FOLDER] [MORE SCHEMATHESIS OPTIONS]
set -eu
cd "$(dirname "$0")/.."
command -v schemathesis >/dev/null || { echo "schemathesis is not installed: pip install schemathesis" >&2; exit 2; }
guest=${1:-tests/guests/hostile}
[ $# -gt 0 ] && shift
cargo build -p keystead
keystead=${CARGO_TARGET_DIR:-target}/debug/keystead
work=$(mktemp -d)
"$keystead" serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --data "$work/data" >"$work/out" 2>"$work/log" &
host=$!
trap 'kill "$host" 2>/dev/null; wait "$host" 2>/dev/null || true; rm -rf "$work"' EXIT INT TERM
until grep -q '^keystead ready' "$work/out"; do
    kill -0 "$host" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
ingress=$(sed -n 's/^keystead ready ingress=\([^ ]*\) .*/\1/p' "$work/out")
admin=$(sed -n 's/^keystead ready .*admin=\([^ ]*\).*/\1/p' "$work/out")
component=$("$keystead" build --json "$guest" | sed -n 's/.*"component":"\([^"]*\)".*/\1/p')
# A handler may loop on purpose; it has a tenth of a second to.
curl -fsS -X PUT --data-binary "@$component" "$admin/admin/v1/apps/app?config=%7B%22deadline_ms%22:100%7D" >/dev/null
# What a handler does to itself is a 500 by contract, so the check is that every status and body is as the document says.
status=0
(cd "$work" && exec schemathesis run "$ingress/v1/openapi/app" --url "$ingress" --max-examples 50 \
    --checks status_code_conformance,content_type_conformance,response_schema_conformance "$@") || status=$?
if grep -q 'panicked' "$work/log"; then
    echo "the host panicked:" >&2
    grep 'panicked' "$work/log" >&2
    status=1
fi
exit "$status"
