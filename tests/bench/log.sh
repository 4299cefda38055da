#!/usr/bin/env bash
# make bench: how fast log gets into storage, beside others, over the very same log in one run.
#
#   files        the log task catching up from the server's files (tests/bench/log_pack)
#   stream       the log task fed in the pieces of a wal sender
#   pgbackrest   archive-push, asynchronous, zstd 3, process-max 2: called once a segment as the server does
#   receivewal   pg_receivewal --compress=lz4, and gzip: streams from the server
#   zstd         cat | zstd -3 -T2 to a file: no checksums, no index, no fsync
#
# The log is of pgbench transactions, each of which also stores 128 random bytes, over rows of which a quarter
# has random text, with a checkpoint (and so page images) in between. All write to the same file system, read from a warm cache; who goes first changes
# from run to run; medians of RUNS, and the best run of each, which other work on the machine disturbed least. CPU time is user + system of every process that takes part but the server,
# which costs receivewal less than it should. Prints ratios; decides nothing. Run as root.
#
#   BENCH_WAL_MIB=768  BENCH_RUNS=3  BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
tests/scripts/deps.sh --bench
[ "$BUILD" != build ] || make -s all
make -s BUILD="$BUILD" "$BUILD/tests/bench/log_pack"

WAL_MIB=${BENCH_WAL_MIB:-768}
RUNS=${BENCH_RUNS:-3}
SERIES='files stream pgbackrest receivewal-lz4 receivewal-gzip zstd'
bench_init log

postgres_make 'shared_buffers = 512MB' 'max_wal_size = 8GB' 'checkpoint_timeout = 1h' 'max_wal_senders = 4' \
    'autovacuum = off' 'fsync = off' 'synchronous_commit = off' "wal_keep_size = $((WAL_MIB * 2 + 1024))MB"
log_load_make
psql -Xqc "select pg_switch_wal()" -c "select pg_create_physical_replication_slot('bench', true)" >/dev/null
from=$(sql "select pg_walfile_name(pg_current_wal_lsn())")
log_load "$WAL_MIB"
psql -Xqc "select pg_switch_wal()" >/dev/null
to=$(sql "select pg_walfile_name(pg_current_wal_lsn())") end=$(sql "select pg_current_wal_lsn()")

install -d -o postgres -g postgres "$dir/wal" "$dir/out"
for segment in "$dir"/data/pg_wal/0*; do
    [[ ${segment##*/} < $from || ! ${segment##*/} < $to ]] || cp "$segment" "$dir/wal/"
done
chown -R postgres:postgres "$dir/wal"
bytes=$(cat "$dir"/wal/* | wc -c)
say "# log: $bytes bytes, $(cd "$dir/wal" && printf '%s\n' * | wc -l) segments; load of the machine $(cut -d' ' -f1-3 /proc/loadavg)"

# what pgBackRest needs of a server: its control file, and segments that wait to be archived
peer_make() {
    rm -rf "$dir/peer"
    install -d -o postgres -g postgres "$dir/peer" "$dir/peer/pg" "$dir/peer/pg/global" "$dir/peer/pg/pg_wal" \
        "$dir/peer/pg/pg_wal/archive_status" "$dir/peer/repo" "$dir/peer/spool"
    cp "$dir/data/global/pg_control" "$dir/peer/pg/global/"
    cp "$dir/data/PG_VERSION" "$dir/peer/pg/"
    local segment
    for segment in "$dir"/wal/*; do
        ln "$segment" "$dir/peer/pg/pg_wal/"
        : >"$dir/peer/pg/pg_wal/archive_status/${segment##*/}.ready"
    done
    chown -R postgres:postgres "$dir/peer"
    as_postgres pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench --no-online stanza-create >/dev/null ||
        die "pgbackrest stanza-create"
}
cat >"$dir/pgbackrest.conf" <<Y
[global]
repo1-path=$dir/peer/repo
compress-type=zst
compress-level=3
process-max=2
archive-async=y
spool-path=$dir/peer/spool
log-path=$dir/log
lock-path=$dir/log
log-level-console=warn
[bench]
pg1-path=$dir/peer/pg
Y
cat >"$dir/push.sh" <<Y
cd "$dir/peer/pg/pg_wal" || exit
for segment in 0*; do
    pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench archive-push "\$PWD/\$segment" || exit
    mv "archive_status/\$segment.ready" "archive_status/\$segment.done"
done
Y

one() { # SERIES: keeps its times
    local out=$dir/out/$1 slot=run
    rm -rf "$dir/out" "$dir/peer"
    install -d -o postgres -g postgres "$dir/out"
    cat "$dir"/wal/* >/dev/null
    case $1 in
    files | stream) set -- "$1" "$BUILD/tests/bench/log_pack" "$dir/wal" "$out" "$1" 2 3 ;;
    pgbackrest)
        peer_make
        set -- "$1" bash "$dir/push.sh"
        ;;
    receivewal-*)
        install -d -o postgres -g postgres "$out"
        sql "select pg_copy_physical_replication_slot('bench', '$slot')" >/dev/null
        set -- "$1" pg_receivewal -S "$slot" -D "$out" -E "$end" --no-loop --compress="${1#*-}"
        ;;
    zstd) set -- "$1" sh -c "cat $dir/wal/* | zstd -q -3 -T2 >$out" ;;
    esac
    local series=$1
    shift
    sync
    tests/bench/clock.py "$dir/log/time" \
        setpriv --reuid=postgres --regid=postgres --init-groups "$@" >"$dir/log/$series.log" 2>&1 || die "$series"
    cut -d' ' -f1 "$dir/log/time" >>"$dir/log/$series.wall"
    cut -d' ' -f2 "$dir/log/time" >>"$dir/log/$series.cpu"
    [ "$series" != pgbackrest ] || out=$dir/peer/repo
    du -sb "$out" | cut -f1 >"$dir/log/$series.stored"
    [[ $series != receivewal-* ]] || sql "select pg_drop_replication_slot('$slot')" >/dev/null
}
order=$SERIES
for run in $(seq "$RUNS"); do
    for series in $order; do one "$series"; done
    order="${order#* } ${order%% *}"
    say "run $run wall ms: $(for series in $SERIES; do printf '%s %s  ' "$series" "$(tail -n 1 "$dir/log/$series.wall")"; done)"
done

wall() { median <"$dir/log/$1.wall"; }
cpu() { median <"$dir/log/$1.cpu"; }
for series in $SERIES; do
    say "$series: $(awk -v b="$bytes" -v w="$(wall "$series")" 'BEGIN {printf "%.0f", b / w / 1000}') MB/s," \
        "$(awk -v b="$bytes" -v c="$(cpu "$series")" 'BEGIN {printf "%.2f", c * 1e6 / b}') CPU s/GB," \
        "$(cat "$dir/log/$series.stored") stored"
done
best() { sort -n "$dir/log/$1.wall" | head -n 1; }
for mode in files stream; do
    say "$mode speed / zstd's: $(ratio "$(wall zstd)" "$(wall "$mode")")  (target 0.80)" \
        "  / pgbackrest's: $(ratio "$(wall pgbackrest)" "$(wall "$mode")")  (target 1.50)" \
        "  CPU / pgbackrest's: $(ratio "$(cpu "$mode")" "$(cpu pgbackrest)")  (target 0.60)"
    say "$mode best speed / zstd's best: $(ratio "$(best zstd)" "$(best "$mode")")" \
        "  / pgbackrest's best: $(ratio "$(best pgbackrest)" "$(best "$mode")")"
done
say "# load of the machine $(cut -d' ' -f1-3 /proc/loadavg)"
