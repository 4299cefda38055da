#!/usr/bin/env bash
# make bench: full backup and restore beside pgBackRest, same data, same run, same machine.
#
# Both with fsync, page checksums verified, zstd level 3, 2 workers, fast start, warm cache, alternating
# runs, median of RUNS. Prints ratios; decides nothing. Run as root; servers run as postgres.
#
#   BENCH_SCALE=100 (pgbench scale, 100 = about 1.5 GB)  BENCH_RUNS=5  BENCH_DIR=/var/tmp
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
tests/scripts/deps.sh --bench
make -s all

SCALE=${BENCH_SCALE:-100}
RUNS=${BENCH_RUNS:-5}
BIN=/usr/lib/postgresql/15/bin
export PATH="$BIN:$PATH"
dir=$(mktemp -d "${BENCH_DIR:-/var/tmp}/tidemark-bench.XXXXXX")
chmod 755 "$dir"
as_postgres() { runuser -u postgres -- env PATH="$PATH" "$@"; }

pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    as_postgres pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

say() { printf '%s\n' "$*"; }
now_ms() { date +%s%3N; }
median() { sort -n | awk '{v[NR]=$1} END {print (NR % 2) ? v[(NR+1)/2] : int((v[NR/2]+v[NR/2+1])/2)}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }

say "# data: pgbench scale $SCALE, page checksums on, a quarter of the rows with random text"
install -d -o postgres -g postgres "$dir/data" "$dir/peer" "$dir/ours" "$dir/restore" "$dir/sock" "$dir/log"
as_postgres initdb -k -A trust -D "$dir/data" >/dev/null
cat >>"$dir/data/postgresql.conf" <<X
port = 54870
listen_addresses = ''
unix_socket_directories = '$dir/sock'
shared_buffers = 1GB
max_wal_size = 4GB
checkpoint_timeout = 1h
wal_level = replica
X
as_postgres pg_ctl -D "$dir/data" -l "$dir/log/postgres.log" -w start >/dev/null
export PGHOST=$dir/sock PGPORT=54870 PGUSER=postgres PGDATABASE=postgres
as_postgres pgbench -i -q -s "$SCALE" >/dev/null 2>&1
as_postgres psql -qc "update pgbench_accounts set filler = md5(random()::text) || md5(random()::text) where aid % 4 = 0" -c "vacuum analyze" -c checkpoint
data_bytes=$(du -sb --exclude=pg_wal "$dir/data" | cut -f1)
say "data_bytes $data_bytes"

cat >"$dir/pgbackrest.conf" <<X
[global]
repo1-path=$dir/peer
repo1-retention-full=1
compress-type=zst
compress-level=3
process-max=2
start-fast=y
archive-check=n
checksum-page=y
log-path=$dir/log
lock-path=$dir/log
spool-path=$dir/log
log-level-console=warn
[bench]
pg1-path=$dir/data
pg1-port=54870
pg1-socket-path=$dir/sock
X
peer() { as_postgres pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench "$@"; }
peer --no-online stanza-create >/dev/null 2>&1 || peer stanza-create

cat >"$dir/coordinator.yaml" <<X
listen: tcp://127.0.0.1:54871
control_socket: $dir/sock/control.sock
state_dir: $dir/ours/coordinator
X
cat >"$dir/agent.yaml" <<X
coordinators: [tcp://127.0.0.1:54871]
cluster: bench
node: db-a
state_dir: $dir/ours/agent
instances:
  - tenant: main
    engine: postgres
    data_dir: $dir/data
    conninfo: "host=$dir/sock port=54870 user=postgres dbname=postgres"
restore_roots: [$dir/restore]
X
install -d -o postgres -g postgres "$dir/ours/coordinator" "$dir/ours/agent" "$dir/ours/repo"
runuser -u postgres -- "$top/build/tidemark-coordinator" -c "$dir/coordinator.yaml" 2>"$dir/log/coordinator.log" &
pids+=($!)
for _ in $(seq 100); do [ -S "$dir/sock/control.sock" ] && break; sleep 0.05; done
runuser -u postgres -- "$top/build/tidemark-agent" -c "$dir/agent.yaml" 2>"$dir/log/agent.log" &
pids+=($!)
export TIDEMARK_CONTROL_SOCKET=$dir/sock/control.sock
for _ in $(seq 100); do build/tidemark nodes 2>/dev/null | grep -q primary && break; sleep 0.1; done

# the highest resident set of any tidemark-agent process (agent and runners), in KiB
sample_memory() {
    local peak=0 kib
    while :; do
        for status in $(grep -l '^Name:.*tidemark-agent' /proc/[0-9]*/status 2>/dev/null); do
            kib=$(awk '/^VmHWM/ {print $2}' "$status" 2>/dev/null || echo 0)
            [ "${kib:-0}" -gt "$peak" ] && peak=$kib && echo "$peak" >"$dir/log/peak"
        done
        sleep 0.05
    done
}
sample_memory &
pids+=($!)

warm() { find "$dir/data/base" -type f -exec cat {} + >/dev/null; }
ours_ms=() peer_ms=() ours_restore=() peer_restore=()
for run in $(seq "$RUNS"); do
    warm; sync
    t=$(now_ms); peer --type=full backup >/dev/null; peer_ms+=($(($(now_ms) - t)))
    warm; sync
    cat >"$dir/backup.yaml" <<X
apiVersion: tidemark/v1
kind: Backup
metadata: {name: run-$run}
spec:
  br: {cluster: bench, concurrency: 2}
  compression: zstd:3
  local: {path: $dir/ours/repo}
X
    t=$(now_ms)
    build/tidemark apply -f "$dir/backup.yaml" >/dev/null
    build/tidemark wait backup "run-$run" --for=Complete --timeout=600s >/dev/null
    ours_ms+=($(($(now_ms) - t)))

    rm -rf "$dir/restore"/*; install -d -o postgres -g postgres -m 700 "$dir/restore/peer"; sync
    t=$(now_ms); peer --pg1-path="$dir/restore/peer" restore >/dev/null; peer_restore+=($(($(now_ms) - t)))
    rm -rf "$dir/restore"/*; sync
    t=$(now_ms)
    runuser -u postgres -- "$top/build/tidemark-agent" restore --storage "file://$dir/ours/repo" \
        --cluster bench --data-dir "$dir/restore/ours" --threads 2 >/dev/null
    ours_restore+=($(($(now_ms) - t)))
    if [ "$run" = "$RUNS" ]; then
        as_postgres pg_verifybackup "$dir/restore/ours" >/dev/null && say "last restore: pg_verifybackup passes"
    fi
    rm -rf "$dir/restore"/*
    say "run $run: backup ms ours ${ours_ms[-1]} pgbackrest ${peer_ms[-1]}   restore ms ours ${ours_restore[-1]} pgbackrest ${peer_restore[-1]}"
    [ "$run" = "$RUNS" ] || { peer --type=full expire >/dev/null 2>&1 || true; }
done

last=$(build/tidemark get backup "run-$RUNS" -o json)
ours_bytes=$(jq -r .status.backupSize <<<"$last")
peer_bytes=$(peer info --output=json | jq -r '.[0].backup[-1].info.repository.size')
t=$(now_ms); find "$dir/data/base" -type f -exec cat {} + | zstd -q -3 -T2 >/dev/null; zstd_ms=$(($(now_ms) - t))
ob=$(printf '%s\n' "${ours_ms[@]}" | median); pb=$(printf '%s\n' "${peer_ms[@]}" | median)
orr=$(printf '%s\n' "${ours_restore[@]}" | median); pr=$(printf '%s\n' "${peer_restore[@]}" | median)
say "bare_zstd_3_T2_ms $zstd_ms"
say "backup_ms    ours $ob  pgbackrest $pb  ratio $(ratio "$ob" "$pb")  (target 0.60)"
say "restore_ms   ours $orr  pgbackrest $pr  ratio $(ratio "$orr" "$pr")  (target 0.80)"
say "stored_bytes ours $ours_bytes  pgbackrest $peer_bytes  compression ours/theirs $(ratio "$peer_bytes" "$ours_bytes")  (target 0.95)"
say "peak_rss_kib ours $(cat "$dir/log/peak" 2>/dev/null || echo '?')  (target 65536)"
