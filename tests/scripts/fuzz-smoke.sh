#!/usr/bin/env bash
# Fuzzes every target of tests/fuzz for a short while, with address and undefined-behaviour sanitizers.
#
#   fuzz-smoke.sh [TARGET…]       default: all       FUZZ_SECONDS=20 each
#
# Starts from tests/corpus/<target>/ and leaves what it found new in build/fuzz/corpus/<target>/; an input that crashes
# is kept as build/fuzz/crash-<target>-…, shown, and fails the run. Worthwhile finds go to tests/corpus by hand.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-20}
tests/scripts/deps.sh --test

build=${BUILD:-build}/fuzz
# shellcheck disable=SC2054 # a comma between sanitizers
flags=(CC=clang BUILD="$build" SANITIZE=address,undefined OPT=-O1 CFLAGS=-fsanitize=fuzzer-no-link
    LDFLAGS=-fsanitize=fuzzer FUZZ_MAIN=)
make -s -j"$(nproc)" "${flags[@]}" fuzz-build

export LSAN_OPTIONS=suppressions=tests/lib/lsan.supp:print_suppressions=0
passed=0 failed=0
while IFS= read -r target; do
    name=$(basename "$target" _fuzz)
    if [ $# -gt 0 ] && ! printf '%s\n' "$@" | grep -qx "$name"; then continue; fi
    new=$build/corpus/$name seed=tests/corpus/$name log=$build/$name.log
    mkdir -p "$new"
    dirs=("$new")
    [ ! -d "$seed" ] || dirs+=("$seed")
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$build/crash-$name-" "${dirs[@]}" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "ok    $name: ${runs:-?} inputs in ${seconds}s"
        passed=$((passed + 1))
    else
        echo "FAIL  $name"
        tail -n 40 "$log"
        failed=$((failed + 1))
    fi
done < <(find "$build/tests/fuzz" -type f -name '*_fuzz' | sort)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
