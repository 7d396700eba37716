#!/usr/bin/env bash
# Builds the examples in other languages than Rust and runs tests/languages.rs, which replays their READMEs against
# a host of their own. Needs npm, Python 3 and, for their packages, the network. Arguments go to cargo: --release.
set -euo pipefail
cd "$(dirname "$0")/.."

needs() {
  local what=$1
  shift
  "$@" >/dev/null 2>&1 || { echo "tests/languages.sh: $what" >&2; exit 1; }
}
javascript='examples/counter-js needs Node.js 20 or newer with npm'
needs "$javascript" node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'
needs "$javascript" npm --version
needs 'examples/counter-py needs Python 3.9 or newer with venv and pip' \
  python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))'

# Each step is named with its time, in seconds.
step() {
  local name=$1 since=$EPOCHREALTIME
  shift
  "$@"
  awk -v name="$name" -v since="$since" -v now="$EPOCHREALTIME" 'BEGIN { printf "%s: %.1f s\n", name, now - since }'
}

rm -f examples/counter-js/counter.wasm examples/counter-py/counter.wasm
(
  cd examples/counter-js
  step 'counter-js: npm ci' npm ci --no-audit --no-fund --loglevel=error
  step 'counter-js: build' npm run build --silent
)
(
  cd examples/counter-py
  step 'counter-py: venv' python3 -m venv --clear .venv
  step 'counter-py: pip install' .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  step 'counter-py: build' .venv/bin/componentize-py --quiet -d ../../wit -w app componentize counter -o counter.wasm
)
cargo test --package keystead --test languages "$@" -- --nocapture --test-threads=1
