#!/usr/bin/env bash
# make demo: the main job on a real, throw-away PostgreSQL, told as it goes.
#
# Needs root on a fresh Debian 12 (or another system whose packages deps.sh knows). Everything lives in one
# temporary directory and on loopback, and is gone afterwards, also after Ctrl-C. DEMO_SCALE sets the size.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf '\n\033[1m» %s\033[0m\n' "$*"; }
run() { printf '  $ %s\n' "$*" >&2; "$@"; }

[ "$(id -u)" = 0 ] || { echo "make demo: run it as root (it starts PostgreSQL as the user postgres)" >&2; exit 1; }
say "Installing what is missing from the distribution"
tests/scripts/deps.sh --demo
say "Building Tidemark"
make -s all

. tests/lib/harness.sh
SCALE=${DEMO_SCALE:-20}

say "Starting a throw-away PostgreSQL 15 with page checksums and loading pgbench data (scale $SCALE)"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
sql postgres -c "create database shop"
pgbench -i -q -s "$SCALE" shop >/dev/null 2>&1
sql postgres -c checkpoint
echo "  database size: $(sql shop -c "select pg_size_pretty(pg_database_size('shop'))")"

say "Starting a coordinator and an agent on loopback"
daemons_start "$T/source"
run tidemark nodes

say "A log backup: everything committed is in storage seconds later"
run tidemark log start shop-log --cluster test --storage "file://$T/repo" --flush-interval 1s

say "Customers keep buying: pgbench writes from now on"
writer_start shop
sleep 1

say "A full backup, while they buy"
run tidemark backup demo --cluster test --storage "file://$T/repo"
run tidemark get backup
sleep 4

say "Disaster: somebody drops the accounts"
before=$(sql shop -c "select count(*) from pgbench_history")
moment=$(sql shop -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
sql shop -c "drop table pgbench_accounts cascade" >/dev/null
dropped=$(sql shop -c "select pg_current_wal_flush_lsn()")
end_process "$WRITER_PID" # if its customers have not left already: there is nothing to buy any more
echo "  at $moment there were $before sales; then DROP TABLE pgbench_accounts"

say "To what moment is the data safe?"
log_is_stored() {
    [ "$(sql postgres -c "select '$(tidemark get backup shop-log -o json | jq -r .status.logCheckpointPosition)'::pg_lsn >= '$dropped'")" = t ]
}
wait_for 30 log_is_stored
run tidemark log status

say "The host is lost, too: daemons and database are gone, only the storage is left"
daemons_stop
postgres_stop 15 "$T/source" immediate
rm -rf "$T/source"
install -d -o postgres -g postgres "$T/restore"
run as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo"

say "Recovering to the moment before the drop, from storage alone"
run as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test --to "$moment" \
    --data-dir "$T/restore/data"
say "PostgreSQL's own judgement of every file, before the server starts"
run as_postgres "$PG15/pg_verifybackup" "$T/restore/data"

say "Starting the recovered database and counting"
postgres_start 15 "$T/restore/data"
accounts=$(sql shop -c "select count(*) from pgbench_accounts")
sales=$(sql shop -c "select count(*) from pgbench_history")
books=$(sql shop -c "select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history)
    and (select sum(tbalance) from pgbench_tellers) = (select coalesce(sum(delta), 0) from pgbench_history)")
echo "  accounts: $accounts (wanted $((SCALE * 100000)))"
echo "  sales: $sales, at least the $before that were counted before the drop"
echo "  do the books balance? $books"
[ "$accounts" = "$((SCALE * 100000))" ] && [ "$books" = t ] && [ "$sales" -ge "$before" ] || fail "the recovered shop is not right"
postgres_stop 15 "$T/restore/data"

say "It works: the shop is back, to the last sale before the drop. Cleaning up."
