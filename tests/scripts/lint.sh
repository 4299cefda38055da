#!/usr/bin/env bash
# Style and static analysis: clang-format (nothing may change), clang-tidy, cppcheck, shellcheck. Any finding fails.
#
#   lint.sh [FILE…]      default: everything
#
# clang-tidy takes seven minutes of processor time for everything, so what it has found clean is remembered in build/lint,
# by a hash of all it looks at: the source with its headers, .clang-tidy, the version.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/scripts/deps.sh --test

if [ $# -gt 0 ]; then
    everything=("$@")
else
    mapfile -t everything < <(find common proto agent coordinator tests systemd packaging .ci -type f | sort)
fi
files=() sources=() scripts=()
for file in "${everything[@]}"; do
    case $file in
    *.[ch]) files+=("$file") ;;
    *.sh | .ci/run) scripts+=("$file") ;;
    esac
    case $file in *.c) sources+=("$file") ;; esac
done
failed=0

echo "clang-format: ${#files[@]} files"
[ "${#files[@]}" -eq 0 ] || clang-format --dry-run -Werror "${files[@]}" || failed=1

packages=$(pkg-config --cflags msgpack libcurl libzstd libsystemd yaml-0.1 sqlite3 libpq jansson libcrypto libxxhash expat)
export CLEAN=${BUILD:-build}/lint
mkdir -p "$CLEAN"
echo '#define TM_VERSION "0"' >"$CLEAN/version.h"
export FLAGS="-std=gnu17 -I. -D_GNU_SOURCE -include $CLEAN/version.h -include common/banned.h $packages"
tidy_one() { # SOURCE: says what it finds; status 1
    local found clean=$CLEAN/${1//\//-}.clean seen
    # shellcheck disable=SC2086 # flags are words
    seen=$({ clang-tidy --version && cat .clang-tidy && clang -E -C $FLAGS "$1"; } | sha256sum) || seen=''
    [ -z "$seen" ] || [ "$(cat "$clean" 2>/dev/null)" != "$seen" ] || return 0
    # shellcheck disable=SC2086
    if ! found=$(clang-tidy --quiet "$1" -- $FLAGS 2>&1) || grep -qE '(warning|error): ' <<<"$found"; then
        printf '%s: clang-tidy finds fault\n%s\n' "$1" "$found"
        return 1
    fi
    echo "$seen" >"$clean"
}
export -f tidy_one
echo "clang-tidy: ${#sources[@]} files"
[ "${#sources[@]}" -eq 0 ] || printf '%s\0' "${sources[@]}" |
    nice -n 10 xargs -0 -n 1 -P "$(nproc)" bash -c 'set -o pipefail; tidy_one "$0"' || failed=1

# memleak, resourceLeak: it does not know the cleanup attribute; uninitvar: nor who fills what
# through a pointer; internalAstError: nor C17's compound literals in every place
echo "cppcheck: ${#sources[@]} files"
mkdir -p "$CLEAN/cppcheck"
[ "${#sources[@]}" -eq 0 ] || nice -n 10 cppcheck --quiet --cppcheck-build-dir="$CLEAN/cppcheck" --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 --suppress=missingInclude \
    --suppress=missingIncludeSystem --suppress=memleak --suppress=resourceLeak --suppress=uninitvar --suppress=internalAstError --suppress=preprocessorErrorDirective -j "$(nproc)" -I. -D_GNU_SOURCE "${sources[@]}" || failed=1

# SC2034, SC2120, SC2154: it does not see what a file that is sourced has of the one that sources it
echo "shellcheck: ${#scripts[@]} files"
[ "${#scripts[@]}" -eq 0 ] || nice -n 10 shellcheck --shell=bash --severity=warning --exclude=SC2034,SC2120,SC2154 "${scripts[@]}" || failed=1

[ "$failed" -eq 0 ] && echo "lint: clean"
exit "$failed"
