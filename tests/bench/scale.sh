#!/usr/bin/env bash
# One coordinator with SQLite, 1,000 agents on real sockets and a job of 1,000,000 ranges: how long heartbeats take while
# ranges are leased and done, how long `tidemark get`, how much memory and CPU time the coordinator takes. 1,000 backups that
# are Complete lie beside it.
#
# 50 agents share a process (tests/bench/fleet: the real brain and line of each; sessions and runners are played), one of all
# is beside a primary, the others beside standbys that take part. Ten agents of another cluster are a process that does
# nothing else meanwhile: what they see of the coordinator is not mixed with how busy the others are. Times decide nothing;
# each range has to be accepted and listed exactly once, and the job to be Complete.
#
# On a machine that does other things, too, what is measured is how long processes wait for a processor, and with
# autogroups nice changes nothing about that: `chrt -r 1 tests/bench/scale.sh` puts all of it in front of the others. The
# whole uses about one processor and a half.
#
#   SCALE_AGENTS=1000 SCALE_RANGES=1000000 SCALE_RATE=4000 (ranges a second, of all agents) SCALE_BACKUPS=1000
#   BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$BUILD" != build ] || make -s all
make -s BUILD="$BUILD" "$BUILD/tests/bench/fleet/fleet"
# shellcheck source=tests/lib/fleet.sh
. tests/lib/fleet.sh
AGENTS=${SCALE_AGENTS:-1000} RANGES=${SCALE_RANGES:-1000000} RATE=${SCALE_RATE:-4000} BACKUPS=${SCALE_BACKUPS:-1000}
FEW=10

bench_init scale
FLEET_DIR=$dir/log FLEET_URL=tcp://127.0.0.1:$((10000 + $$ % 20000))
tidemark() { "$BUILD/tidemark" "$@"; }
of_big() { tidemark get backup big -o json | jq -r "$1"; }
connected() { tidemark nodes -o json | jq '[.items[] | select(.connected)] | length'; }
wait_until() { # SECONDS CMD…
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.1
    done
}
all_connected() { [ "$(connected)" -eq "$AGENTS" ]; }
is_complete() { [ "$(of_big .status.phase)" = Complete ]; }
runs() { [ "$(of_big '.status.progress.rangesDone // 0')" -gt 0 ]; }

# wall time of a command in ms, into a file
timed() { # SERIES CMD…
    local started=${EPOCHREALTIME/./} series=$1
    shift
    "$@" >/dev/null
    printf '%s\n' "$(((${EPOCHREALTIME/./} - started) / 100))" >>"$dir/log/$series" # tenths of ms
}
series() { # SERIES: p50 p99 max, of the tenths of ms
    sort -n "$dir/log/$1" | awk '{v[NR] = $1} END {
        printf "p50 %.1f ms, p99 %.1f ms, max %.1f ms (%d)", v[int((NR + 1) / 2)] / 10, v[int(NR * 0.99 + 0.5)] / 10, v[NR] / 10, NR}'
}
coordinator_begin() {
    fleet_keys "$dir/keys" big "$((AGENTS - FEW))"
    fleet_keys "$dir/keys" few "$FEW"
    chown -R postgres "$dir/keys"
    cat >"$dir/coordinator.yaml" <<Y
listen: $FLEET_URL
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $dir/state/coordinator
keys_dir: $dir/keys
max_agents: $AGENTS
Y
    spawn coordinator.log "$BUILD/tidemark-coordinator" -c "$dir/coordinator.yaml"
    COORDINATOR=$SPAWNED
    pids+=("$COORDINATOR")
    wait_until 30 test -S "$TIDEMARK_CONTROL_SOCKET" || die "the coordinator does not come up"
}

# As many at once as one node leads.
backups_make() {
    local at made=0 wave=16
    while [ "$made" -lt "$BACKUPS" ]; do
        for ((at = 0; at < wave && made < BACKUPS; at++, made++)); do
            printf -- '---\n'
            fleet_backup "$(printf 'small-%04d' "$made")" few primary
        done >"$dir/small.yaml"
        tidemark apply -f "$dir/small.yaml" >/dev/null
        wait_until 60 backups_done "$made" || die "small backups"
    done
}
backups_done() { [ "$(tidemark get backup -o json | jq '[.items[] | select(.status.phase == "Complete")] | length')" -eq "$1" ]; }

measure() { # until the job is over
    local at=0
    until is_complete; do
        [ "$SECONDS" -lt "$((RANGES * 10 / RATE + 600))" ] || die "the job does not end: $(of_big '.status | tojson')"
        timed get tidemark get backup big -o json
        [ "$((at++ % 10))" -ne 0 ] || timed list tidemark get backup
        sleep 0.4
    done
}

coordinator_begin
fleet_start few few "$FEW" --ranges 4 --keys "$dir/keys"
started=$SECONDS
backups_make
say "# $BACKUPS backups made in $((SECONDS - started)) s, load of this machine $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) processors"
fleet_start big big "$((AGENTS - FEW))" --ranges "$RANGES" --rate "$RATE" --keys "$dir/keys"
# shellcheck disable=SC2206 # pids
pids+=(${FLEETS[@]})
started=$(now_ms)
wait_until 120 all_connected || die "$(connected) of $AGENTS agents are connected"
say "agents connected: $AGENTS in $(($(now_ms) - started)) ms"
cpu=$(cpu_of "$COORDINATOR")
started=$(now_ms)
fleet_backup big big any | tidemark apply -f - >/dev/null
wait_until 300 runs || die "the job does not begin"
planned=$(now_ms) cpu_planned=$(cpu_of "$COORDINATOR")
# shellcheck disable=SC2068 # pids
kill -USR1 ${FLEETS[@]}
measure
ended=$(now_ms) cpu_ended=$(cpu_of "$COORDINATOR")
peak_kib=$(hwm_of "$COORDINATOR")
wrong=0
for name in few big; do
    fleet_stop "$name" || wrong=1
done

say "plan of $RANGES ranges: $((planned - started)) ms, coordinator $((cpu_planned - cpu)) ms of CPU"
say "ranges: $((RANGES * 1000 / (ended - planned))) a second, coordinator $((cpu_ended - cpu_planned)) ms of CPU in $((ended - planned)) ms: $(((cpu_ended - cpu_planned) * 1000 / RANGES)) us a range"
say "heartbeats of agents beside: $(fleet_heartbeats few)  (asked: p99 100 ms)"
say "heartbeats of agents at work: $(fleet_heartbeats big)"
say "get backup NAME -o json: $(series get)  (asked: 100 ms)"
say "get backup, all of $((BACKUPS + 1)): $(series list)  (asked: 100 ms)"
say "peak of the coordinator: $((peak_kib / 1024)) MiB  (asked: 1024)"
say "state: $(du -sk "$dir/state/coordinator" | cut -f1) KiB"

[ "$wrong" -eq 0 ] || die "$(head -qn 1 "$dir"/log/few-*.log "$dir"/log/big-*.log)"
[ "$(fleet_sum big committed)" -eq 1 ] || die "not one manifest"
[ "$(fleet_sum big accepted)" -eq "$RANGES" ] || die "$(fleet_sum big accepted) ranges were accepted"
say "each of $RANGES ranges accepted once and listed once; the job is Complete"
