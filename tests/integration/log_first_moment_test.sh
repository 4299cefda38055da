#!/usr/bin/env bash
# The first moment of what can be restored: a backup that is taken while four writers commit holds commits that are later
# than its own moment, commitTs. A restore to exactly the `from` that is told, and to one microsecond more, must hold what
# pg_waldump's order of the log says; so on an idle database. Moments between commitTs and `from` are refused, where no
# older backup leads to them, and commitTs itself is the backup as it is.
#
#   log_first_moment_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"

EXPECT=$(dirname "$0")/waldump_expect.py
command -v python3 >/dev/null || skip "there is no python3"
NEXT_PORT=$((PGPORT + 1))

list() { as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" -o json; }
told() { list | jq -r ".recoverable[0].$1"; }
sum() { # PORT
    PGPORT=$1 sql postgres -c "SELECT count(*) || E'\t' || md5(coalesce(string_agg(xid::text, ',' ORDER BY xid), '')) FROM ledger"
}
restore() { as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$1" --to "$2" "${@:3}"; }
restored_to() { # TIME: what it holds
    local dir=$T/restore/first
    rm -rf "$dir"
    restore "$dir" "$1" --start --port "$NEXT_PORT" --set unix_socket_directories="$T/run" --set tidemark.bindir="$(bindir "$MAJOR")" \
        >"$T/restore.log" 2>&1 || fail "restore to $1: $(cat "$T/restore.log")"
    printf '%s %s\n' "$MAJOR" "$dir" >"$(mark_of "$dir")"
    sum "$NEXT_PORT"
    postgres_stop "$MAJOR" "$dir" immediate
}
after() { # TIME MICROSECONDS
    python3 -c '
import sys
from datetime import datetime, timedelta
form = "%Y-%m-%dT%H:%M:%S.%fZ"
print((datetime.strptime(sys.argv[1], form) + timedelta(microseconds=int(sys.argv[2]))).strftime(form))' "$1" "$2"
}
reaches() { [[ $(told to) > "$1" ]]; }
refused() { # TIME
    expect_fail 3 "lies before the first moment that can be had: $FIRST" restore "$T/restore/never" "$1" --dry-run
}
# how many transactions of the ledger lie before the position, and have a later time
late() { # POSITION TIME
    python3 - "$EXPECT" "$PG15/pg_waldump" "$DATA/pg_wal" "$START" "$1" "$2" "$T/ledger.xids" <<'X'
import importlib.util
import sys
spec = importlib.util.spec_from_file_location("expect", sys.argv[1])
expect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(expect)
known = {int(line) for line in open(sys.argv[7])}
found = list(expect.records(sys.argv[2], sys.argv[3], sys.argv[4], 1))
assert len(found) > 100
print(sum(1 for what, at, xid, time, _ in found if xid in known and what == "COMMIT" and at < expect.lsn(sys.argv[5])
          and time > expect.moment(sys.argv[6])))
X
}

busy() {
    local writer commit at want
    cat >"$T/ledger.sql" <<X
INSERT INTO ledger (xid) VALUES (pg_current_xact_id()::text::bigint);
X
    START=$(sql postgres -c "SELECT pg_current_wal_insert_lsn()")
    pgbench -n -c 8 -j 2 -T 6 -f "$T/ledger.sql" postgres >"$T/pgbench.log" 2>&1 &
    writer=$!
    sleep 1
    tidemark backup busy --cluster test --storage "file://$T/repo" >/dev/null
    tidemark wait backup busy --for=Complete --timeout=60s
    wait "$writer" || fail "pgbench: $(cat "$T/pgbench.log")"
    commit=$(tidemark get backup busy -o json | jq -r .status.commitTs)
    at=$(tidemark get backup busy -o json | jq -r .status.position)
    FIRST=$(told from)
    [[ $FIRST > "$commit" ]] || fail "the first moment $FIRST is not behind $commit"
    wait_for 30 reaches "$(after "$FIRST" 1)"
    sql postgres -c "SELECT xid FROM ledger" >"$T/ledger.xids"
    expect_out 0 late "$at" "$FIRST"
    printf '   %s commits of the backup are later than its own moment\n' "$(late "$at" "$commit")"
    python3 "$EXPECT" "$PG15/pg_waldump" "$DATA/pg_wal" "$START" 1 "ledger:$T/ledger.xids" "time:$FIRST" "time:$(after "$FIRST" 1)" >"$T/expect.out"
    for moment in "$FIRST" "$(after "$FIRST" 1)"; do
        want=$(grep -F "time:$moment	" "$T/expect.out" | cut -f2-)
        expect_out "$want" restored_to "$moment"
    done
    refused "$(after "$commit" 1)"
    refused "$(after "$FIRST" -1)"
    expect_fail 0 "" restore "$T/restore/never" "$commit" --dry-run
    restore "$T/restore/never" "$commit" --dry-run | finds -F "$at" || fail "commitTs is not the backup's own moment"
}

idle() {
    find "$T/repo" -type d -name backup -exec rm -rf {} +
    sleep 2
    tidemark backup quiet --cluster test --storage "file://$T/repo" >/dev/null
    tidemark wait backup quiet --for=Complete --timeout=60s
    wait_for 30 reaches "$(tidemark get backup quiet -o json | jq -r .status.commitTs)"
    FIRST=$(told from)
    wait_for 30 reaches "$(after "$FIRST" 1)"
    for moment in "$FIRST" "$(after "$FIRST" 1)"; do
        expect_out "$(sum "$PGPORT")" restored_to "$moment"
    done
}

# shellcheck disable=SC2068 # majors are words
for MAJOR in ${@:-15}; do
    DATA=$T/data
    install -d -o postgres -g postgres "$T/restore" "$T/repo"
    postgres_init "$MAJOR" "$DATA"
    printf '%s\n' "wal_keep_size = 4GB" "autovacuum = off" "timezone = UTC" >>"$DATA/postgresql.conf"
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "CREATE TABLE ledger (xid bigint)"
    daemons_start "$DATA"
    tidemark log start walog --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark wait backup walog --for=Running --timeout=30s
    step "PostgreSQL $MAJOR: a backup beside writers"
    busy
    step "PostgreSQL $MAJOR: a backup of an idle database"
    idle
    daemons_stop
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$DATA" "$T/repo" "$T/restore" "$T/agent" "$T/coordinator"
done
