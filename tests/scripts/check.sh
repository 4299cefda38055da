#!/usr/bin/env bash
# All tests. The last line says "N passed, N failed" (", N skipped"); exit status 1 when one failed.
#
#   check.sh [--sanitize address,undefined|thread] [--fault] [PATTERN…]
#
# Builds into build/ (or build/asan, build/tsan), then runs: layer law, headers, unit tests, fuzz corpora, the
# simulation with SIM_SEEDS (2,000) seeds, and every executable tests/integration/*_test.sh; each with a deadline and
# a line of its own. The longest are started first, by lengths.txt, so that the end does not wait for one that began
# late. Two more at a time than there are processors, and as many again while processors have nothing to do, as
# many tests wait most of the time; CHECK_JOBS says how many instead. With sanitizers: the same without the first two.
# Integration tests work in memory (/dev/shm) where there is plenty: databases are made and dropped all the time, and
# ext4 without a journal spent a third of all processor time on finding inodes. TIDEMARK_TEST_DIR says where else.
# PATTERN (a shell pattern on the name, such as 'unit/common/*') runs only what matches. Output of each test:
# <build>/log/<name>.log; shown when it fails.
# --fault runs tests/fault/*_test.sh instead: longer, with faults injected into real processes.
# A test that exits 77 is skipped, and its last line says why.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C.UTF-8

sanitize='' fault='' patterns=()
while [ $# -gt 0 ]; do
    case $1 in
    --sanitize) sanitize=$2; shift 2 ;;
    --fault) fault=1; shift ;;
    -*) echo "check.sh: unknown option '$1'" >&2; exit 2 ;;
    *) patterns+=("$1"); shift ;;
    esac
done
case $sanitize in
'') sub='' ;;
thread) sub=/tsan ;;
*) sub=/asan ;;
esac
build=${BUILD:-build}$sub
case $build in /*) ;; *) build=$PWD/$build ;; esac
logs=$build/log
seeds=${SIM_SEEDS:-2000}
least=${CHECK_JOBS:-$(($(nproc) + 2))} most=${CHECK_JOBS:-$((4 * $(nproc) + 2))}
unit_deadline=300 sim_deadline=900 integration_deadline=1200 fault_deadline=${FAULT_DEADLINE:-3600}

export TIDEMARK_BUILD=$build TIDEMARK_SANITIZED=$sanitize
export LSAN_OPTIONS=suppressions=$PWD/tests/lib/lsan.supp:print_suppressions=0
# exitcode: no status that a test may expect of something that is to fail; an allocation that cannot be fails as it
# does without a sanitizer, as tests ask for one
export ASAN_OPTIONS=detect_leaks=1:exitcode=99:allocator_may_return_null=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=99:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:exitcode=99

started=$SECONDS
free_kib() { awk '/^MemAvailable:/ {print $2}' /proc/meminfo; }
in_memory() { # 12 GiB of memory, 8 of them for files, which may be programs
    [ "$(free_kib)" -ge $((12 << 20)) ] && grep -q '^[^ ]* /dev/shm tmpfs ' /proc/mounts &&
        ! grep '^[^ ]* /dev/shm tmpfs ' /proc/mounts | grep -w noexec >/dev/null &&
        [ "$(df --output=avail /dev/shm | tail -n 1)" -ge $((8 << 20)) ]
}
if [ -z "${TIDEMARK_TEST_DIR:-}" ] && [ -z "$fault" ] && in_memory; then
    TIDEMARK_TEST_DIR=/dev/shm
fi
export TIDEMARK_TEST_DIR=${TIDEMARK_TEST_DIR:-/var/tmp}

tests/scripts/deps.sh --check ${fault:+--fault} || echo "going on with what is here"
building=$SECONDS
echo "building in ${build#"$PWD"/}"
mkdir -p "$build"
make -s -j"$(nproc)" BUILD="$build" SANITIZE="$sanitize" tests-build >"$build/build.log" 2>&1 || {
    grep -vE '^  (CC|LD|AR) ' "$build/build.log" | tail -n 60
    echo "the build failed"
    echo "0 passed, 1 failed"
    exit 1
}
testing=$SECONDS
rm -rf "$logs"
mkdir -p "$logs"

# ---- what there is to run: name, deadline, command
names=() deadlines=() commands=()
add() { # NAME DEADLINE COMMAND
    local pattern
    if [ "${#patterns[@]}" -gt 0 ]; then
        for pattern in "${patterns[@]}"; do
            # shellcheck disable=SC2053 # the right side is a pattern
            [[ $1 != $pattern ]] || { names+=("$1") deadlines+=("$2") commands+=("$3"); return; }
        done
        return
    fi
    names+=("$1") deadlines+=("$2") commands+=("$3")
}
scripts_of() { find "$1" -name '*_test.sh' -perm -u+x 2>/dev/null | sort; }
all_tests() {
    if [ -z "$sanitize" ]; then
        add layers 60 "tests/scripts/check-layers.sh"
        add units 60 "tests/scripts/check-units.sh"
        add headers 300 "make -s BUILD='$build' check-headers"
    fi
    while IFS= read -r source; do
        name=${source#tests/} name=${name%_test.c}
        add "$name" $unit_deadline "'$build/${source%.c}'"
    done < <(find tests/unit -name '*_test.c' | sort)
    while IFS= read -r source; do
        name=${source#tests/} name=${name%_fuzz.c}
        add "$name" $unit_deadline "'$build/${source%.c}'"
    done < <(find tests/fuzz -name '*_fuzz.c' | sort)
    [ ! -x "$build/tests/sim/sim" ] || add sim $sim_deadline "'$build/tests/sim/sim' --seeds $seeds"
    while IFS= read -r script; do
        name=${script#tests/} name=${name%_test.sh}
        add "$name" $integration_deadline "$script"
    done < <(scripts_of tests/integration)
}
if [ -z "$fault" ]; then
    all_tests
else
    while IFS= read -r script; do
        name=${script#tests/} name=${name%_test.sh}
        add "$name" $fault_deadline "$script"
    done < <(scripts_of tests/fault)
fi

for pattern in ${patterns[@]+"${patterns[@]}"}; do
    for name in ${names[@]+"${names[@]}"}; do
        # shellcheck disable=SC2053 # the right side is a pattern
        [[ $name != $pattern ]] || continue 2
    done
    echo "no test is called '$pattern'"
    echo "0 passed, 1 failed"
    exit 1
done

# ---- one test, in a process of its own; its verdict is left in $logs
seconds_since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN {printf "%.1f", b - a}'; }
told_by() { # LOG: its end, and before it the step and the verdict, which the logs of servers may have pushed away
    { grep '^== ' "$1" | tail -n 1; grep '^FAIL: ' "$1" | cut -c1-2000; tail -n 40 "$1"; } || true
}
run_one() { # NUMBER NAME DEADLINE COMMAND
    local begin status=0 log verdict note=''
    begin=$(date +%s.%N)
    log=$logs/${2//\//-}.log
    # timeout makes a process group of its own, so that a deadline or Ctrl-C ends everything the test has started
    timeout --kill-after=20 "$3" bash -c "exec $4" >"$log" 2>&1 </dev/null &
    # shellcheck disable=SC2064 # this very process
    trap "kill $! 2>/dev/null; wait; exit 143" TERM
    wait $! || status=$?
    case $status in
    0) verdict=passed ;;
    77) verdict=skipped note=" ($(tail -n 1 "$log" | sed 's/^skipped: //'))" ;;
    124 | 137) verdict=failed note=" (not done after $3 s)" ;;
    *) verdict=failed note=" (status $status)" ;;
    esac
    echo "$verdict" >"$logs/.verdict.$1"
    if [ "$verdict" = failed ]; then
        printf 'FAIL  %6ss  %s%s\n%s\n' "$(seconds_since "$begin")" "$2" "$note" "$(told_by "$log" | sed 's/^/      | /')"
    else
        local word=ok
        [ "$verdict" = passed ] || word=skip
        printf '%-4s  %6ss  %s%s\n' "$word" "$(seconds_since "$begin")" "$2" "$note"
    fi
}

give_up() {
    trap - INT TERM
    # shellcheck disable=SC2046 # pids are words
    kill $(jobs -p) 2>/dev/null
    wait
    echo "stopped"
    exit 130
}
trap give_up INT TERM

# ---- when: above the least, one more a second at most, and only when a quarter of the last second was idle, and there
# are 4 GiB of memory
in_order() { # numbers of the tests, the longest first; integration tests that lengths.txt does not know among the middle ones
    local n
    for n in "${!names[@]}"; do printf '%s %s\n' "$n" "${names[$n]}"; done |
        awk 'NR == FNR {if ($1 !~ /^#/) length_s[$2] = $1; next}
            {print ($2 in length_s ? length_s[$2] : $2 ~ /^integration/ ? 40 : 0), $1}' tests/scripts/lengths.txt - |
        sort -k1,1nr -k2,2n | cut -d' ' -f2
}
running=0 room='' tick='' idle_before=0 total_before=0
look_for_room() {
    local user nice system idle rest total
    read -r _ user nice system idle rest </proc/stat
    total=$((user + nice + system + idle + ${rest// / + }))
    room=''
    [ $((4 * (idle - idle_before))) -lt $((total - total_before)) ] || [ "$(free_kib)" -lt $((4 << 20)) ] || room=1
    idle_before=$idle total_before=$total
}
# One has ended, or a second has passed.
something_happens() {
    local ended=''
    if [ -z "$tick" ]; then
        sleep 1 &
        tick=$!
    fi
    wait -n -p ended || true
    if [ "$ended" = "$tick" ]; then
        tick=''
        look_for_room
    else
        running=$((running - 1))
    fi
}
mapfile -t order < <(in_order)
[ "${#order[@]}" -eq "${#names[@]}" ] || { echo "the order of the tests is lost"; exit 1; }
for n in ${order[@]+"${order[@]}"}; do
    while [ "$running" -ge "$most" ] || { [ "$running" -ge "$least" ] && [ -z "$room" ]; }; do something_happens; done
    [ "$running" -lt "$least" ] || room=''
    run_one "$n" "${names[$n]}" "${deadlines[$n]}" "${commands[$n]}" &
    running=$((running + 1))
done
wait

count() { cat "$logs"/.verdict.* 2>/dev/null | grep -c "^$1\$" || true; }
passed=$(count passed) failed=$(count failed) skipped=$(count skipped)
missing=$((${#names[@]} - passed - failed - skipped)) # a test whose runner itself died
failed=$((failed + missing))
echo "took $((SECONDS - started)) s: $((building - started)) to install, $((testing - building)) to build, $((SECONDS - testing)) to test"
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
