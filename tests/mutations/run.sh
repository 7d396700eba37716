#!/bin/sh
# Proves that the simulations notice. Each patch in this folder is a deliberate bug; its head says what it breaks and
# which tests must fail, and of which package if not the host's. A copy of the last commit is broken with one of them at a
# time, so nothing here is changed.
#   tests/mutations/run.sh [name...]   some of them; all without names. Ends with 1 when one survives.
# KEYSTEAD_SEEDS says how many seeds each simulation gets (what the tests run by themselves).
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${KEYSTEAD_MUTATIONS_DIR:-$root/target/mutations/tree}
: "${CARGO_TARGET_DIR:=$root/target/mutations/target}"
export CARGO_TARGET_DIR
log=$CARGO_TARGET_DIR/mutation.log
mkdir -p "$CARGO_TARGET_DIR" "$(dirname "$work")"
git -C "$root" worktree add --quiet --force --detach "$work" HEAD || exit 2
trap 'git -C "$root" worktree remove --force "$work"' EXIT
survivors=0
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*.patch | sed 's|.*/||; s|\.patch$||')
for name in "$@"; do
    patch=$here/$name.patch
    tests=$(sed -n 's/^Tests: //p' "$patch")
    package=$(sed -n 's/^Package: //p' "$patch")
    : "${package:=keystead}"
    # The unit tests, or those of one program.
    program=$(sed -n 's/^Program: /--test /p' "$patch")
    : "${program:=--lib}"
    git -C "$work" checkout --quiet --force HEAD && git -C "$work" apply "$patch" || exit 2
    if ! (cd "$work" && cargo test --quiet -p $package $program --no-run) >"$log" 2>&1; then
        echo "$name: does not compile, see $log"
        exit 2
    fi
    # Cargo takes one filter, and the test program any number after the dashes.
    if (cd "$work" && cargo test --quiet -p $package $program -- $tests) >>"$log" 2>&1; then
        survivors=$((survivors + 1))
        echo "$name: SURVIVED"
    else
        caught=$(sed -n 's/^KEYSTEAD_SEED=\([0-9]*\) .*--lib \([^ ]*\) .*/\2 at seed \1/p' "$log")
        inputs=$(sed -n 's/^\([a-z_]*\): input \([0-9]*\) fails:.*/\1 at input \2/p' "$log")
        caught=${caught:-$inputs}
        plain=$(sed -n 's/^    \([a-z_:]*::[a-z_0-9]*\)$/\1/p' "$log" | sort -u)
        echo "$name: caught by" $(echo "${caught:-$plain}" | paste -sd ';' | sed 's/;/; /g')
    fi
done
exit $((survivors > 0))
