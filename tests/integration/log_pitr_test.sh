#!/usr/bin/env bash
# Log backup and point-in-time recovery on real PostgreSQL: a ledger of transactions is written while log and
# snapshot are taken; restores to times, positions, xids, restore points and the newest record must hold exactly
# what pg_waldump's order of the log says (version 15), or what the server itself said then (the others).
#
#   log_pitr_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 15
#   TIDEMARK_PITR_MOMENTS=20      so many times, positions, xids and points each; default 3
. "$(dirname "$0")/../lib/harness.sh"

WALDUMP="$PG15/pg_waldump"
EXPECT=$(dirname "$0")/waldump_expect.py
MOMENTS=$(seq "${TIDEMARK_PITR_MOMENTS:-3}")

log_status() { tidemark get backup walog -o json | jq -r "$1"; }
# the checkpoint has reached the server's flush position of now
caught_up() {
    local position
    position=$(log_status .status.logCheckpointPosition)
    [ "$(sql postgres -c "SELECT '$position'::pg_lsn >= '$WANTED'::pg_lsn")" = t ]
}
wait_caught_up() {
    WANTED=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    wait_for 30 caught_up
}
ledger_writer() { # SECONDS: four writers, each transaction notes its own xid
    cat >"$T/ledger.sql" <<X
INSERT INTO ledger (xid, filler) VALUES (pg_current_xact_id()::text::bigint, repeat(md5(random()::text), 4));
X
    pgbench -n -c 4 -T "$1" -f "$T/ledger.sql" postgres >"$T/pgbench.log" 2>&1
}
ledger_sum() { # PORT
    PGPORT=$1 sql postgres -c "SELECT count(*) || E'\t' || md5(coalesce(string_agg(xid::text, ',' ORDER BY xid), '')) FROM ledger"
}
restore_and_sum() { # TARGET [options of restore]
    local target=$1 dir=$T/restore/pitr
    shift
    rm -rf "$dir"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$dir" \
        --to "$target" --start --port $((PGPORT + 1)) --set unix_socket_directories="$T/run" \
        --set tidemark.bindir="$(bindir "$MAJOR")" "$@" >"$T/restore.log" 2>&1 || fail "restore to $target: $(cat "$T/restore.log")"
    printf '%s %s\n' "$MAJOR" "$dir" >"$(mark_of "$dir")"
    ledger_sum $((PGPORT + 1))
    grep -q tidemark "$dir/postgresql.auto.conf" && ! grep -q "tidemark recovery" "$dir/postgresql.auto.conf" ||
        fail "something of ours stayed in $dir/postgresql.auto.conf"
    [ ! -e "$dir/recovery.signal" ] || fail "recovery.signal stayed"
    postgres_stop "$MAJOR" "$dir" immediate
}

one_version() {
    MAJOR=$1
    DATA=$T/data
    install -d -o postgres -g postgres "$T/restore" "$T/repo"
    postgres_init "$MAJOR" "$DATA" -k
    printf '%s\n' "wal_keep_size = 4GB" "max_prepared_transactions = 10" "log_timezone = UTC" "timezone = UTC" >>"$DATA/postgresql.conf"
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "CREATE TABLE ledger (id bigserial PRIMARY KEY, xid bigint, at timestamptz DEFAULT clock_timestamp(), filler text)"
    daemons_start "$DATA"

    step "$MAJOR: the log task runs and says to what moment the data is safe"
    tidemark log start walog --cluster test --storage "file://$T/repo" --flush-interval 1s >/dev/null
    tidemark wait backup walog --for=Running --timeout=30s
    ledger_writer 2
    wait_caught_up
    [ "$(log_status '.status.latencySeconds < 10')" = true ] || fail "latency: $(log_status .status.latencySeconds)"

    step "$MAJOR: a snapshot is taken while the log is streamed and the ledger written"
    ledger_writer $((6 + 2 * ${TIDEMARK_PITR_MOMENTS:-3})) &
    local writer=$! start targets=() t0
    start=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
    tidemark wait backup full --for=Complete --timeout=120s
    local commit
    commit=$(tidemark get backup full -o json | jq -r .status.commitTs)
    for n in $MOMENTS; do
        sleep 2
        targets+=("time:$(sql postgres -c "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")")
        targets+=("lsn:$(sql postgres -c "SELECT pg_current_wal_insert_lsn()")")
        sql postgres -c "SELECT pg_create_restore_point('point$n')" >/dev/null
        targets+=("name:point$n")
        targets+=("xid:$(sql postgres -c "BEGIN; INSERT INTO ledger (xid) VALUES (pg_current_xact_id()::text::bigint) RETURNING xid; COMMIT" | head -1)")
    done
    wait "$writer" || fail "pgbench: $(cat "$T/pgbench.log")"
    wait_caught_up

    step "$MAJOR: list and search tell what there is"
    as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" >"$T/list.out"
    grep -q "recoverable\|RECOVERABLE" "$T/list.out" || fail "list: $(cat "$T/list.out")"
    as_postgres "$BUILD/tidemark-agent" search --storage "file://$T/repo" --cluster test --points >"$T/search.out"
    for n in $MOMENTS; do grep -q "point$n" "$T/search.out" || fail "search: $(cat "$T/search.out")"; done

    step "$MAJOR: restores to each of ${#targets[@]} targets"
    if [ "$MAJOR" -eq 15 ]; then
        sql postgres -c "SELECT xid FROM ledger" >"$T/ledger.xids"
        python3 "$EXPECT" "$WALDUMP" "$DATA/pg_wal" "$(first_lsn)" 1 "ledger:$T/ledger.xids" "${targets[@]}" end >"$T/expect.out"
    fi
    for t0 in "${targets[@]}" latest; do
        local got want
        got=$(restore_and_sum "${t0/lsn:/position:}")
        if [ "$MAJOR" -eq 15 ]; then
            want=$(grep -F "${t0/latest/end}	" "$T/expect.out" | cut -f2-)
            [ "$got" = "$want" ] || fail "restored to $t0: '$got' instead of '$want'"
        fi
        printf '   %s: %s\n' "$t0" "$got"
    done
    [ "$got" = "$(ledger_sum "$PGPORT")" ] || fail "latest: '$got' is not what the source holds: '$(ledger_sum "$PGPORT")'"

    step "$MAJOR: one second before now, on an idle database"
    sleep 4
    got=$(restore_and_sum "$(date -u -d '1 second ago' +%FT%T.%6NZ)")
    [ "$got" = "$(ledger_sum "$PGPORT")" ] || fail "one second ago: '$got'"

    step "$MAJOR: moments that cannot be had are refused with those that can"
    refused_restore "2099-01-01T00:00:00Z" "2099-01-01"
    refused_restore "2001-01-01T00:00:00Z" "2001-01-01"
    refused_restore "name:nobody" "nobody"
    refused_restore "xid:4000000000" "4000000000"
    [ -n "$commit" ] || fail "no commitTs"
    daemons_stop
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$DATA" "$T/repo" "$T/restore" "$T/agent" "$T/coordinator"
}
first_lsn() { # of the oldest log file that the source still has
    python3 -c '
import os, sys
name = min(n for n in os.listdir(sys.argv[1]) if len(n) == 24)
print("%X/%X" % (int(name[8:16], 16), int(name[16:], 16) << 24))' "$DATA/pg_wal"
}
refused_restore() { # TARGET TEXT
    expect_fail 3 "$2" as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test \
        --data-dir "$T/restore/never" --to "$1"
    [ ! -e "$T/restore/never" ] || fail "a refused restore left a directory"
}

for majors in "${@:-${TIDEMARK_TEST_MAJORS:-15}}"; do
    for major in $majors; do one_version "$major"; done
done
