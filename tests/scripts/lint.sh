#!/usr/bin/env bash
# Style and static analysis: clang-format (nothing may change), clang-tidy, cppcheck.
#
#   lint.sh [FILE.c…]      default: everything
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/scripts/deps.sh --test

if [ $# -gt 0 ]; then
    files=("$@") sources=("$@")
else
    mapfile -t files < <(find common proto agent coordinator tests -name '*.[ch]' | sort)
    mapfile -t sources < <(find common proto agent coordinator tests -name '*.c' | sort)
fi
failed=0

echo "clang-format: ${#files[@]} files"
clang-format --dry-run -Werror "${files[@]}" || failed=1

# shellcheck disable=SC2207 # flags are words
packages=($(pkg-config --cflags msgpack libcurl libzstd libsystemd yaml-0.1 sqlite3 libpq jansson libcrypto libxxhash expat))
flags=(-std=gnu17 -I. -D_GNU_SOURCE '-DTM_VERSION="0"' -include common/banned.h "${packages[@]}")
echo "clang-tidy: ${#sources[@]} files"
tidy_one() { clang-tidy --quiet "$1" -- "${flags[@]}" 2>/dev/null; }
pids=() out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n=0
for source in "${sources[@]}"; do
    n=$((n + 1))
    { tidy_one "$source" >"$out/$n" || touch "$out/$n.failed"; } &
    pids+=($!)
    if [ "${#pids[@]}" -ge "$(nproc)" ]; then
        wait "${pids[0]}" || true
        pids=("${pids[@]:1}")
    fi
done
wait
cat "$out"/[0-9]* 2>/dev/null
! ls "$out"/*.failed >/dev/null 2>&1 || failed=1

# memleak, resourceLeak: it does not know the cleanup attribute; uninitvar: nor who fills what
# through a pointer; internalAstError: nor C17's compound literals in every place
echo "cppcheck"
cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 --suppress=missingInclude \
    --suppress=missingIncludeSystem --suppress=memleak --suppress=resourceLeak --suppress=uninitvar --suppress=internalAstError --suppress=preprocessorErrorDirective -j "$(nproc)" -I. -D_GNU_SOURCE "${sources[@]}" || failed=1

[ "$failed" -eq 0 ] && echo "lint: clean"
exit "$failed"
