# shellcheck shell=bash
# shellcheck disable=SC2034 # what is measured is for the scripts that source this
# Sourced by the benchmarks: one throw-away PostgreSQL 15, coordinator and agent below $dir.
#
#   bench_init NAME · postgres_make CONF… · rows_make SCALE · daemons_start · tidemark_backup · tidemark_restore
#   peer_conf LINE… · peer_begin · peer CMD… · full_round WHO SERIES NAME
#   clocked CMD… · peaks_start · peak WHO
#
# Run as root; servers and daemons run as postgres. Everything started here ends with the script.
#
#   BENCH_DIR=/var/tmp (where data and backups go)   BUILD=build (binaries; made when it is build/)
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top" || exit
BUILD=${BUILD:-build}
BIN=/usr/lib/postgresql/15/bin
export LC_ALL=C.UTF-8 PATH="$BIN:$PATH"

say() { printf '%s\n' "$*"; }
die() {
    printf 'bench: %s\n' "$*" >&2
    tail -n 20 "$dir"/log/*.log >&2 2>/dev/null || true
    exit 1
}
now_ms() { printf '%s' "$((${EPOCHREALTIME/./} / 1000))"; }
median() { sort -n | awk '{v[NR]=$1} END {print (NR % 2) ? v[(NR+1)/2] : int((v[NR/2]+v[NR/2+1])/2)}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
spawn() { # LOG CMD…: as postgres, in the background, its pid in $SPAWNED
    local log=$1
    shift
    # not through the function: $! must be what setpriv becomes, not a shell around it
    setpriv --reuid=postgres --regid=postgres --init-groups "$@" >"$dir/log/$log" 2>&1 &
    SPAWNED=$!
}

pids=() daemons=()
bench_finish() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    if declare -F ceph_stop >/dev/null; then ceph_stop; fi
    [ ! -e "$dir/store/.store-ports" ] || xargs rm -f <"$dir/store/.store-ports"
    as_postgres pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    wait 2>/dev/null || true
    rm -rf "$dir"
    exit "$status"
}
bench_init() {
    dir=$(mktemp -d "${BENCH_DIR:-/var/tmp}/tidemark-$1.XXXXXX")
    trap bench_finish EXIT
    trap 'exit 130' INT TERM
    chmod 755 "$dir"
    install -d -o postgres -g postgres "$dir/sock" "$dir/log" "$dir/repo" "$dir/restore" "$dir/peer" \
        "$dir/state" "$dir/state/coordinator" "$dir/state/agent"
    # where backups go: a block of a spec, and the same as options of the program that restores
    STORAGE_BLOCK="local: {path: $dir/repo}" STORAGE_OPTIONS=(--storage "file://$dir/repo")
    # the pid keeps runs that happen side by side apart
    export PGHOST=$dir/sock PGPORT=$((20000 + $$ % 20000)) PGUSER=postgres PGDATABASE=postgres
    export TIDEMARK_CONTROL_SOCKET=$dir/sock/control.sock
}

postgres_make() { # [LINE OF postgresql.conf…]: page checksums on, started
    install -d -o postgres -g postgres -m 700 "$dir/data"
    as_postgres initdb -k -A trust -D "$dir/data" >/dev/null
    printf '%s\n' "port = $PGPORT" "listen_addresses = ''" "unix_socket_directories = '$dir/sock'" \
        "$@" >>"$dir/data/postgresql.conf"
    as_postgres pg_ctl -D "$dir/data" -l "$dir/log/postgres.log" -w -t 120 start >/dev/null ||
        die "PostgreSQL does not start"
}

sql() { psql -XqAt -c "$1"; }
rows_make() { # SCALE [OPTION OF psql…]: pgbench's tables, a quarter of the rows with random text
    as_postgres pgbench -i -q -s "$1" >/dev/null 2>&1 || die "pgbench -i"
    psql -Xqc "update pgbench_accounts set filler = md5(random()::text) || md5(random()::text) where aid % 4 = 0" \
        "${@:2}" -c "vacuum analyze" -c checkpoint
}
# ---- log: pgbench transactions that each store 128 random bytes too; a quarter of the rows has random text
log_load_make() { # [SCALE]
    rows_make "${1:-20}" -c 'create table noise (bytes bytea)'
    cat >"$dir/load.sql" <<Y
\set aid random(1, 100000 * ${1:-20})
\set bid random(1, ${1:-20})
\set tid random(1, 10 * ${1:-20})
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
INSERT INTO noise SELECT sha512((random()::text || :aid)::bytea) || sha512((random()::text || :tid)::bytea);
END;
Y
}
log_load() { # MIB: so much log, page images after a checkpoint and small records by turns
    local start
    start=$(sql 'select pg_current_wal_lsn()')
    while [ "$(sql "select pg_current_wal_lsn() - '$start' < $1 * 1048576::numeric")" = t ]; do
        pgbench -n -c 4 -j 2 -t 4000 -f "$dir/load.sql" >"$dir/log/pgbench.log" 2>&1 || die pgbench
        psql -Xqc checkpoint
    done
}

daemons_start() {
    local port=$((10000 + $$ % 20000)) # below what outgoing connections are given
    cat >"$dir/coordinator.yaml" <<Y
listen: tcp://127.0.0.1:$port
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $dir/state/coordinator
Y
    cat >"$dir/agent.yaml" <<Y
coordinators: [tcp://127.0.0.1:$port]
cluster: bench
node: db-a
state_dir: $dir/state/agent
instances:
  - tenant: main
    engine: postgres
    data_dir: $dir/data
    conninfo: "host=$dir/sock port=$PGPORT user=postgres dbname=postgres"
restore_roots: [$dir/restore]
Y
    spawn coordinator.log "$BUILD/tidemark-coordinator" -c "$dir/coordinator.yaml"
    daemons=("$SPAWNED")
    for _ in $(seq 100); do [ -S "$TIDEMARK_CONTROL_SOCKET" ] && break; sleep 0.1; done
    spawn agent.log "$BUILD/tidemark-agent" -c "$dir/agent.yaml"
    AGENT_PID=$SPAWNED
    daemons+=("$AGENT_PID")
    pids+=("${daemons[@]}")
    for _ in $(seq 100); do
        "$BUILD/tidemark" nodes 2>/dev/null | grep -q primary && return 0
        sleep 0.1
    done
    die "the agent does not come up"
}

tidemark_backup() { # NAME: full backup through coordinator and agent, waited for
    cat >"$dir/backup.yaml" <<Y
apiVersion: tidemark/v1
kind: Backup
metadata: {name: $1}
spec:
  br: {cluster: bench, concurrency: 2}
  compression: zstd:3
  $STORAGE_BLOCK
Y
    "$BUILD/tidemark" apply -f "$dir/backup.yaml" >/dev/null
    "$BUILD/tidemark" wait backup "$1" --for=Complete --timeout=900s >/dev/null || die "backup $1"
}
tidemark_restore() { # DIRECTORY: with neither daemon; its peak memory in log/peak-restore
    spawn restore.log "$BUILD/tidemark-agent" restore "${STORAGE_OPTIONS[@]}" \
        --cluster bench --data-dir "$1" --threads 2
    watch_peak "$SPAWNED" "$dir/log/peak-restore" &
    wait "$SPAWNED" || die "restore to $1"
    wait $!
}

# ---- pgBackRest over the same data: zstd level 3, 2 workers, fast start, page checksums verified
peer_conf() { # LINE…: where its repository is
    printf '%s\n' '[global]' "$@" >"$dir/pgbackrest.conf"
    cat >>"$dir/pgbackrest.conf" <<Y
repo1-retention-full=1
expire-auto=n
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
pg1-port=$PGPORT
pg1-socket-path=$dir/sock
Y
}
pgbackrest_bench() { as_postgres pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench "$@"; }
peer() { pgbackrest_bench "$@" >/dev/null; }
peer_begin() { peer stanza-create || die "pgbackrest stanza-create"; }

# ---- a full backup and its restore, measured
all_bytes() { find "$dir/data/base" -type f -exec cat {} + 2>/dev/null || true; } # cache files come and go
# what a step needs beforehand: source in the page cache, nothing left to be written
settle() {
    all_bytes >/dev/null
    sync
}
note() { # SERIES: keeps what `clocked` measured
    printf '%s\n' "$WALL_MS" >>"$dir/log/$1.wall"
    printf '%s\n' "$CPU_MS" >>"$dir/log/$1.cpu"
}
last() { tail -n 1 "$dir/log/$1" 2>/dev/null || printf '?'; }
full_round() { # ours|peer SERIES NAME [TEXT]: into SERIES-backup and SERIES-restore; TEXT: verified, too, and said
    local who=$1 series=$2 name=$3 target=$dir/restore/$1
    settle
    case $who in
    ours) clocked tidemark_backup "$name" ;;
    peer) clocked peer --type=full backup ;;
    esac
    note "$series-backup"
    [ "$who" = ours ] || peer expire # the backup of the run before: ours does not delete in its time either
    # both restore into a directory that is not there yet or empty
    [ "$who" = ours ] || install -d -o postgres -g postgres -m 700 "$target"
    sync
    case $who in
    ours) clocked tidemark_restore "$target" ;;
    peer) clocked peer --pg1-path="$target" restore ;;
    esac
    note "$series-restore"
    if [ -n "${4-}" ]; then
        pg_verifybackup "$target" >/dev/null && say "$4: pg_verifybackup passes"
    fi
    rm -rf "$target"
}

# ---- measuring ------------------------------------------------------------------------------------------------
# CPU time in ms that a process and its ended children have used so far
cpu_of() {
    local stat fields
    read -r stat <"/proc/$1/stat"
    read -ra fields <<<"${stat##*) }" # from the third on
    printf '%s' "$(((fields[11] + fields[12] + fields[13] + fields[14]) * 10))"
}
daemons_cpu() {
    local pid sum=0
    for pid in "${daemons[@]}"; do sum=$((sum + $(cpu_of "$pid"))); done
    printf '%s' "$sum"
}
# clocked CMD…: runs it; wall time in $WALL_MS, CPU time of it and of the daemons in $CPU_MS
clocked() {
    local cpu started
    cpu=$(($(cpu_of $$) + $(daemons_cpu)))
    started=$(now_ms)
    "$@"
    WALL_MS=$(($(now_ms) - started))
    sleep 0.3 # a runner is counted once the agent has reaped it
    CPU_MS=$(($(cpu_of $$) + $(daemons_cpu) - cpu))
}

# Highest resident set so far, in KiB: agent in log/peak-agent, any runner of it in log/peak-runner. A
# process keeps its own peak, so looking five times a second misses only what is gone within that.
hwm_of() {
    local key kib rest
    while read -r key kib rest; do
        [ "$key" = VmHWM: ] && printf '%s' "$kib" && return
    done <"/proc/$1/status"
} 2>/dev/null
keep_peak() { # PID FILE
    local kib old=0
    kib=$(hwm_of "$1") || return 0 # it has just ended
    [ ! -s "$2" ] || read -r old <"$2"
    [ "${kib:-0}" -le "$old" ] || printf '%s\n' "$kib" >"$2"
}
watch_peak() { # PID FILE: as long as it lives
    while kill -0 "$1" 2>/dev/null; do
        keep_peak "$1" "$2"
        sleep 0.1
    done
}
peaks_start() {
    (
        while :; do
            keep_peak "$AGENT_PID" "$dir/log/peak-agent"
            while read -r child; do
                keep_peak "$child" "$dir/log/peak-runner"
            done < <(pgrep -P "$AGENT_PID")
            sleep 0.2
        done
    ) &
    pids+=($!)
}
peak() { cat "$dir/log/peak-$1" 2>/dev/null || printf '?'; } # agent|runner|restore
