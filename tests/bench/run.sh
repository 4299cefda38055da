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
rows_make "$SCALE"
say "data_bytes $(du -sb --exclude=pg_wal "$dir/data" | cut -f1)"

peer_conf "repo1-path=$dir/peer"
peer_begin
daemons_start
peaks_start

one() { # ours|peer RUN: backup and restore
    local verified=''
    [ "$1-$2" != "ours-$RUNS" ] || verified='last restore'
    full_round "$1" "$1" "run-$2" "$verified"
}
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
peer_bytes=$(pgbackrest_bench info --output=json | jq -r '.[0].backup[-1].info.repository.size')
say "stored_bytes: ours $ours_bytes  pgbackrest $peer_bytes  theirs/ours $(ratio "$peer_bytes" "$ours_bytes")  (target 0.95)"
say "peak_rss_kib: agent $(peak agent)  runner $(peak runner)  restore $(peak restore)  (target 65536)"
