#!/usr/bin/env bash
# make bench: full backup and restore beside pgBackRest, same data, same run, same machine.
#
# Both with fsync, page checksums verified, zstd level 3, 2 workers, fast start, warm cache; who goes first
# alternates from run to run; medians of RUNS. CPU time is user + system of every process that takes part but
# the database. Prints ratios; decides nothing. Run as root; servers run as postgres.
#
#   BENCH_SCALE=60 (pgbench scale, 60 = about 1.3 GB)  BENCH_RUNS=5  BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
tests/scripts/deps.sh --bench
[ "$BUILD" != build ] || make -s all

SCALE=${BENCH_SCALE:-60}
RUNS=${BENCH_RUNS:-5}
bench_init bench

say "# data: pgbench scale $SCALE, page checksums on, a quarter of the rows with random text"
postgres_make 'shared_buffers = 1GB' 'max_wal_size = 4GB' 'checkpoint_timeout = 1h' 'wal_level = replica' \
    'max_wal_senders = 4' 'autovacuum = off' 'fsync = off'
as_postgres pgbench -i -q -s "$SCALE" >/dev/null 2>&1 || die "pgbench -i"
psql -Xqc "update pgbench_accounts set filler = md5(random()::text) || md5(random()::text) where aid % 4 = 0" \
    -c "vacuum analyze" -c checkpoint
say "data_bytes $(du -sb --exclude=pg_wal "$dir/data" | cut -f1)"

cat >"$dir/pgbackrest.conf" <<Y
[global]
repo1-path=$dir/peer
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
peer() { as_postgres pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench "$@" >/dev/null; }
peer stanza-create || die "pgbackrest stanza-create"
daemons_start
peaks_start

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
one() { # ours|peer RUN: backup and restore
    local who=$1 run=$2 target=$dir/restore/$1
    settle
    case $who in
    ours) clocked tidemark_backup "run-$run" ;;
    peer) clocked peer --type=full backup ;;
    esac
    note "$who-backup"
    [ "$who" = ours ] || peer expire # the backup of the run before: ours does not delete in its time either
    # both restore into a directory that is not there yet or empty
    [ "$who" = ours ] || install -d -o postgres -g postgres -m 700 "$target"
    sync
    case $who in
    ours) clocked tidemark_restore "$target" ;;
    peer) clocked peer --pg1-path="$target" restore ;;
    esac
    note "$who-restore"
    if [ "$who" = ours ] && [ "$run" = "$RUNS" ]; then
        pg_verifybackup "$target" >/dev/null && say "last restore: pg_verifybackup passes"
    fi
    rm -rf "$target"
}
last() { tail -n 1 "$dir/log/$1"; }
for run in $(seq "$RUNS"); do
    if [ $((run % 2)) = 1 ]; then one peer "$run"; one ours "$run"; else one ours "$run"; one peer "$run"; fi
    say "run $run: backup ms ours $(last ours-backup.wall) pgbackrest $(last peer-backup.wall)" \
        "  restore ms ours $(last ours-restore.wall) pgbackrest $(last peer-restore.wall)"
done

zstd_ms=() bytes=$(all_bytes | wc -c)
for _ in 1 2 3; do
    t=$(now_ms)
    all_bytes | zstd -q -3 -T2 | wc -c >"$dir/log/zstd"
    zstd_ms+=($(($(now_ms) - t)))
done
say "bare zstd -3 -T2: $(printf '%s\n' "${zstd_ms[@]}" | median) ms for $bytes bytes, $(cat "$dir/log/zstd") stored"
line() { # SERIES UNIT TARGET
    local ours theirs
    ours=$(median <"$dir/log/ours-$1.$2")
    theirs=$(median <"$dir/log/peer-$1.$2")
    say "$1_$2_ms: ours $ours  pgbackrest $theirs  ratio $(ratio "$ours" "$theirs")${3:+  (target $3)}"
}
line backup wall 0.60
line backup cpu ''
line restore wall 0.80
line restore cpu ''
ours_bytes=$("$BUILD/tidemark" get backup "run-$RUNS" -o json | jq -r .status.backupSize)
peer_bytes=$(as_postgres pgbackrest --config="$dir/pgbackrest.conf" --stanza=bench info --output=json |
    jq -r '.[0].backup[-1].info.repository.size')
say "stored_bytes: ours $ours_bytes  pgbackrest $peer_bytes  theirs/ours $(ratio "$peer_bytes" "$ours_bytes")  (target 0.95)"
say "peak_rss_kib: agent $(peak agent)  runner $(peak runner)  restore $(peak restore)  (target 65536)"
