#!/usr/bin/env bash
# Fuzzes with coverage, on stable Rust: what the compiler counts is read by tests/fuzz/src/coverage.rs.
#   tests/fuzz/run.sh SECONDS [TARGET…]   fuzz each target (all without names) for so long; finds stay in target/
#   tests/fuzz/run.sh keep [TARGET…]      write the smallest inputs that reach all that was reached to the corpus
#   tests/fuzz/run.sh list                name the targets
# Only the workspace's own crates are compiled again, optimised and with their assertions.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:?seconds, keep or list}
shift
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target/fuzz"
cc -O1 -c tests/fuzz/coverage.c -o "$target/fuzz/coverage.o"

# Cargo asks this for each crate of the workspace instead of rustc.
wrapper=$target/fuzz/rustc.sh
cat >"$wrapper" <<END
#!/usr/bin/env bash
case " \$* " in
  *" --crate-name keystead "*|*" --crate-name keystead_sdk "*)
    exec "\$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \\
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Clink-arg=$target/fuzz/coverage.o ;;
  *) exec "\$@" ;;
esac
END
chmod +x "$wrapper"
export RUSTC_WORKSPACE_WRAPPER=$wrapper CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_INCREMENTAL=0 RUST_BACKTRACE=0

# The programs, and the targets that they have: the tests of modules called `fuzz`.
programs() {
  cargo test -p keystead -p keystead-sdk --lib --no-run --message-format=json 2>"$target/fuzz/build.log" |
    grep -o '"executable":"[^"]*"' | cut -d'"' -f4 || { cat "$target/fuzz/build.log" >&2; exit 1; }
}
found=$(programs)
for program in $found; do
  tests=$("$program" --list 'fuzz::' 2>/dev/null | sed -n 's/: test$//p')
  for test in $tests; do
    name=${test##*::}
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    case $what in
      list) echo "$name  $test" ;;
      keep) rm -rf "tests/fuzz/corpus/$name"
            KEYSTEAD_FUZZ_KEEP=$PWD/tests/fuzz/corpus "$program" "$test" --exact --nocapture | grep "^$name:" ;;
      *)    KEYSTEAD_FUZZ_SEED=${KEYSTEAD_FUZZ_SEED:-$(date +%s)} KEYSTEAD_FUZZ_SECONDS=$what nice -n 19 \
              "$program" "$test" --exact --nocapture | grep -v '^running\|^test \|^$' ;;
    esac
  done
done
