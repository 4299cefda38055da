#!/usr/bin/env bash
# A database of very many empty relations: backup through coordinator and agent, restore without them.
#
# The files are made by hand, as empty tables are: numeric names that no catalog uses. Prints wall times and
# the highest resident sets of agent, runner and restore. Run as root.
#
#   MANY_FILES=1000000   BENCH_DIR=/var/tmp   BUILD=build
set -euo pipefail
# shellcheck source=tests/bench/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$BUILD" != build ] || make -s all

FILES=${MANY_FILES:-1000000}
bench_init many
postgres_make 'fsync = off' 'max_wal_senders = 4'
psql -Xqc 'create database many'
oid=$(psql -XAtqc "select oid from pg_database where datname = 'many'")
say "# $FILES empty relation files in base/$oid"
(cd "$dir/data/base/$oid" && seq 1000000 $((999999 + FILES)) | as_postgres xargs touch)
daemons_start
peaks_start
clocked tidemark_backup many
say "backup_ms: wall $WALL_MS  cpu $CPU_MS"
clocked tidemark_restore "$dir/restore/new"
say "restore_ms: wall $WALL_MS  cpu $CPU_MS"
expected=$(find "$dir/data/base/$oid" -type f ! -name 'pg_internal.init*' | wc -l)
restored=$(find "$dir/restore/new/base/$oid" -type f | wc -l)
[ "$expected" = "$restored" ] || die "$restored files restored of $expected"
say "files: $restored restored of $expected"
say "peak_rss_kib: agent $(peak agent)  runner $(peak runner)  restore $(peak restore)  (target 65536)"
