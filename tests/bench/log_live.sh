#!/usr/bin/env bash
# make bench: a log task through coordinator and agent, live.
#
#   latency   pgbench at 1,000 commits/s on two cores: latencySeconds looked at twice a second; then idle
#   catch-up  the task is paused, log is written, the task goes on: how fast it is behind nothing again
#   restore   to latest over all that log, from local storage: how long each stage takes, and how often the
#             server is seen waiting for log while it replays (replay_waits.py); all of it lies there before
#             the server starts
#   memory    the highest resident sets of agent, runner and restore
#
# Prints; decides nothing. Run as root.
#
#   BENCH_SECONDS=60  BENCH_WAL_MIB=1024  BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
tests/scripts/deps.sh --bench
[ "$BUILD" != build ] || make -s all

SECONDS_EACH=${BENCH_SECONDS:-60}
WAL_MIB=${BENCH_WAL_MIB:-1024}
RATE=1000
tidemark() { "$BUILD/tidemark" "$@"; }
bench_init log-live
load_of() { cut -d' ' -f1-3 /proc/loadavg; }

postgres_make 'shared_buffers = 512MB' 'max_wal_size = 8GB' 'checkpoint_timeout = 1h' 'max_wal_senders = 8' \
    'wal_level = replica'
log_load_make
daemons_start
peaks_start
tidemark log start wal --cluster bench --storage "file://$dir/repo" >/dev/null
tidemark wait backup wal --for=Running --timeout=60s >/dev/null || die "the log task does not run"
tidemark_backup full

# ---- latency -------------------------------------------------------------------------------------------------
latency() { tidemark get backup wal -o json | jq -r '.status.latencySeconds // "none"'; }
sample() { # NAME: twice a second, for SECONDS_EACH
    local until=$((SECONDS + SECONDS_EACH))
    while [ "$SECONDS" -lt "$until" ]; do
        latency >>"$dir/log/latency-$1"
        sleep 0.5
    done
    say "latency_$1_s: $(grep -v none "$dir/log/latency-$1" | sort -n | awk '{v[NR] = $1}
        END {n = int(NR * 0.99 + 0.999999); printf "median %s  p99 %s  highest %s of %d looks", v[int((NR + 1) / 2)], v[n], v[NR], NR}')" \
        "  (target p99 10)  $(grep -c none "$dir/log/latency-$1" || true) looks without one;  load $(load_of)"
}
pgbench -n -c 8 -j 2 -N -R "$RATE" -T "$((SECONDS_EACH + 5))" >"$dir/log/pgbench-rate.log" 2>&1 &
pgbench_pid=$!
sleep 3
sample busy
wait "$pgbench_pid" || die "pgbench"
say "pgbench: $(grep -E '^tps|latency average' "$dir/log/pgbench-rate.log" | tr '\n' ' ')"
sample idle

# ---- catching up ---------------------------------------------------------------------------------------------
durable() { tidemark get backup wal -o json | jq -r .status.logCheckpointPosition; }
catch_up() {
    tidemark log resume wal >/dev/null
    until [ "$(sql "select '$(durable)'::pg_lsn >= '$1'::pg_lsn")" = t ]; do sleep 0.2; done
}
tidemark log pause wal >/dev/null
tidemark wait backup wal --for=Pause --timeout=60s >/dev/null || die "the task does not pause"
from=$(sql 'select pg_current_wal_lsn()')
log_load "$WAL_MIB"
to=$(sql 'select pg_current_wal_flush_lsn()')
bytes=$(sql "select '$to'::pg_lsn - '$from'::pg_lsn")
clocked catch_up "$to"
say "catch_up: $bytes bytes in $WALL_MS ms: $(awk -v b="$bytes" -v w="$WALL_MS" 'BEGIN {printf "%.0f", b / w / 1000}') MB/s;" \
    " status looked at five times a second  load $(load_of)"

# ---- restore -------------------------------------------------------------------------------------------------
install -d -o postgres -g postgres "$dir/restore/sock"
spawn restore.log "$BUILD/tidemark-agent" restore --storage "file://$dir/repo" --cluster bench \
    --data-dir "$dir/restore/new" --threads 2 --to latest --start --port $((PGPORT + 1)) \
    --set unix_socket_directories="$dir/restore/sock" --set tidemark.bindir="$BIN"
restore_pid=$SPAWNED started=$(now_ms)
watch_peak "$restore_pid" "$dir/log/peak-restore" &
tests/bench/replay_waits.py "$dir/restore/new" 600 >"$dir/log/waits" &
waits_pid=$!
# its stages, as it tells of them: each with the time when it began
stage='' stages=()
while kill -0 "$restore_pid" 2>/dev/null; do
    now=$(sed -n 's/^restore: //p' "$dir/log/restore.log" | tail -n 1)
    [ "$now" = "$stage" ] || stages+=("$(now_ms) $now")
    stage=$now
    sleep 0.02
done
wait "$restore_pid" || die "restore"
total=$(($(now_ms) - started))
say "restore_ms: $total of $(sql "select '$to'::pg_lsn - '0/0'::pg_lsn") bytes of log and what was there before;" \
    "by stage: $(printf '%s\n' "${stages[@]}" "$(now_ms) done" |
        awk 'NR > 1 {printf "%s %d  ", name, $1 - at} {at = $1; name = $2}')  load $(load_of)"
wait "$waits_pid"
read -r looks waits <"$dir/log/waits"
say "replay: $(grep -h 'redo done' "$dir"/restore/new/log/* "$dir"/restore/new/*.log 2>/dev/null | sed 's/.*redo done/redo done/')"
say "replay: of $looks looks at the replaying process $waits found it waiting for log:" \
    "$(awk -v w="$waits" -v l="$looks" 'BEGIN {printf "%.1f", l ? 100 * w / l : 0}') %  (target 5)"
as_postgres pg_ctl -D "$dir/restore/new" -m immediate stop >/dev/null 2>&1 || true

say "peak_rss_kib: agent $(peak agent)  runner $(peak runner)  restore $(peak restore)" \
    "  (target 65536; runner: and four chunks of 16384 in flight)"
