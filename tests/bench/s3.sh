#!/usr/bin/env bash
# Part of make bench: full backup and restore on an object store beside pgBackRest, same data, same store, same run.
#
# The store is a Ceph RGW on loopback with its objects in memory, spoken to by https; both with zstd level 3, 2 workers,
# fast start, page checksums verified, warm cache; who goes first alternates. Then the same with a store that is
# further away. Medians and the best of RUNS; CPU time is user + system of what takes part but the database and the store.
# Prints ratios; decides nothing. Run as root; servers run as postgres. Skipped without Ceph.
#
#   BENCH_SCALE=40 (pgbench scale, 40 = about 0.9 GB)  BENCH_NOISE_MB=200 (of rows that no one can pack)
#   BENCH_RUNS=5  BENCH_FAR_RUNS=3  BENCH_FAR_MS=10 (each way)
#   BENCH_WHO="peer ours"  BENCH_DIR=/var/tmp  BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
tests/scripts/deps.sh --bench
[ "$BUILD" != build ] || make -s all
command -v radosgw ceph-mon ceph-osd ceph >/dev/null || { say "bench: no Ceph RGW here: tests/scripts/deps.sh --check"; exit 0; }

SCALE=${BENCH_SCALE:-40} RUNS=${BENCH_RUNS:-5} FAR_RUNS=${BENCH_FAR_RUNS:-3} FAR_MS=${BENCH_FAR_MS:-10}
NOISE_MB=${BENCH_NOISE_MB:-200}
read -ra WHO <<<"${BENCH_WHO:-peer ours}"
bench_init s3
set -E
trap 'say "bench: $BASH_COMMAND: failed at line $LINENO"' ERR
# what stores.sh asks of a test
# shellcheck disable=SC2034
TOP=$top T=$dir/store PATIENCE_S=120
mkdir "$T"
: >"$T/pids"
fail() { die "$*"; }
skip() { die "$*"; }
# shellcheck source=tests/lib/stores.sh
. tests/lib/stores.sh

say "# data: pgbench scale $SCALE, page checksums on, a quarter of the rows with random text; $NOISE_MB MB random"
postgres_make 'shared_buffers = 512MB' 'max_wal_size = 4GB' 'checkpoint_timeout = 1h' 'wal_level = replica' \
    'max_wal_senders = 4' 'autovacuum = off' 'fsync = off'
rows_make "$SCALE" -c "create table noise as select string_agg(sha512((random()::text || i)::bytea), '') as bytes
    from generate_series(1, $NOISE_MB * 1000000 / 64) i group by i / 16"
DATA_BYTES=$(du -sb --exclude=pg_wal "$dir/data" | cut -f1)
say "data_bytes $DATA_BYTES"

tls_make
# shellcheck disable=SC2119 # none of its options
ceph_start
s3 PUT /bench >/dev/null
STORE_PORT_NEAR=${CEPH_HTTPS##*:} STORE_PORT_FAR=$(free_port)
python3 tests/bench/distance.py "$STORE_PORT_FAR" "$STORE_PORT_NEAR" "$FAR_MS" >"$dir/log/distance.log" 2>&1 &
pids+=($!)
export AWS_SHARED_CREDENTIALS_FILE=$dir/credentials
install -o postgres -g postgres -m 600 /dev/null "$AWS_SHARED_CREDENTIALS_FILE"
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$S3_ACCESS" "$S3_SECRET" >"$AWS_SHARED_CREDENTIALS_FILE"

place() { # near|far
    local port=$STORE_PORT_NEAR
    [ "$1" = near ] || port=$STORE_PORT_FAR
    peer_conf repo1-type=s3 repo1-path=/peer repo1-s3-bucket=bench repo1-s3-endpoint=127.0.0.1 repo1-s3-region=us-east-1 \
        "repo1-s3-key=$S3_ACCESS" "repo1-s3-key-secret=$S3_SECRET" repo1-s3-uri-style=path \
        repo1-storage-host=127.0.0.1 "repo1-storage-port=$port" repo1-storage-verify-tls=n
    STORAGE_BLOCK="s3: {provider: ceph, bucket: bench, prefix: $1, endpoint: 'https://127.0.0.1:$port', caFile: $TLS/ca.pem}"
    STORAGE_OPTIONS=(--storage "s3://bench/$1?provider=ceph&endpoint=https://127.0.0.1:$port&ca-file=$TLS/ca.pem")
}
place near
peer_begin
daemons_start
peaks_start

one() { # ours|peer near|far RUN: backup and restore
    local verified=''
    [ "$1-$3" != ours-1 ] || verified="restore from $2"
    full_round "$1" "$1-$2" "$2-$3" "$verified"
}
runs() { # near|far COUNT
    local run order who
    place "$1"
    for run in $(seq "$2"); do
        order=("${WHO[@]}")
        [ $((run % 2)) = 1 ] || order=("${WHO[@]: -1}" "${WHO[@]:0:${#WHO[@]}-1}")
        for who in "${order[@]}"; do one "$who" "$1" "$run"; done
        say "$1 run $run: backup ms ours $(last "ours-$1-backup.wall") pgbackrest $(last "peer-$1-backup.wall")" \
            "  restore ms ours $(last "ours-$1-restore.wall") pgbackrest $(last "peer-$1-restore.wall")"
    done
}
best() { sort -n | head -n 1; }
per_gb() { awk -v ms="$1" -v bytes="$DATA_BYTES" 'BEGIN {printf "%.2f", ms / 1000 / (bytes / 1e9)}'; }
line() { # near|far backup|restore TARGET
    local series=$1-$2 ours theirs
    [ -s "$dir/log/peer-$series.wall" ] && [ -s "$dir/log/ours-$series.wall" ] || return 0
    ours=$(median <"$dir/log/ours-$series.wall") theirs=$(median <"$dir/log/peer-$series.wall")
    say "$1_$2_wall_ms: ours $ours  pgbackrest $theirs  ratio $(ratio "$ours" "$theirs")${3:+  (target $3)}"
    ours=$(best <"$dir/log/ours-$series.wall") theirs=$(best <"$dir/log/peer-$series.wall")
    say "$1_$2_wall_best_ms: ours $ours  pgbackrest $theirs  ratio $(ratio "$ours" "$theirs")"
    ours=$(median <"$dir/log/ours-$series.cpu") theirs=$(median <"$dir/log/peer-$series.cpu")
    say "$1_$2_cpu_s_per_gb: ours $(per_gb "$ours")  pgbackrest $(per_gb "$theirs")  ratio $(ratio "$ours" "$theirs")"
}
runs near "$RUNS"
runs far "$FAR_RUNS"
line near backup 0.70
line near restore 0.70
line far backup ''
line far restore ''
say "peak_rss_kib: agent $(peak agent)  runner $(peak runner)  restore $(peak restore)  (target 65536 and parts in flight)"
