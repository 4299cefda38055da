#!/usr/bin/env bash
# What a point-in-time restore finds out before it writes: log of the task that would make a tablespace over the
# source's own, and a chunk whose bytes are damaged. The source keeps every row, and nothing is written.
. "$(dirname "$0")/../lib/harness.sh"

MAJOR=15
DATA=$T/data
position() { sql postgres -c "SELECT pg_current_wal_flush_lsn()"; }
stored() { # POSITION: it is in storage
    [ "$(sql postgres -c "SELECT '$(tidemark get backup wal -o json | jq -r .status.logCheckpointPosition)'::pg_lsn >= '$1'::pg_lsn")" = t ]
}
restore() { # TO [options]
    local to=$1
    shift
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$T/restore/new" \
        --to "$to" --set unix_socket_directories="$T/run" --set tidemark.bindir="$(bindir "$MAJOR")" "$@"
}
last_but_one() { # chunk of the log
    find "$T/repo" -path '*/log/*/chunk/*' -type f ! -name '.*' | sort | tail -n 2 | head -n 1
}

install -d -o postgres -g postgres "$T/restore" "$T/repo" "$T/spaces" "$T/spaces/late"
postgres_init "$MAJOR" "$DATA" -k
postgres_start "$MAJOR" "$DATA"
daemons_start "$DATA"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 500ms >/dev/null
tidemark wait backup wal --for=Running --timeout=30s
tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
tidemark wait backup full --for=Complete --timeout=60s
sql postgres -c "CREATE TABLE before AS SELECT generate_series(1, 1000) AS id"
wait_for 30 stored "$(position)"
BEFORE=$(position)

step "log that makes a tablespace is refused where the source has it, whatever chunk it is in"
sql postgres -c "CREATE TABLESPACE late LOCATION '$T/spaces/late'" -c "CREATE TABLE later (id int) TABLESPACE late" \
    -c "INSERT INTO later SELECT generate_series(1, 500)" -c "ALTER SYSTEM SET max_connections = 150"
sql postgres -c "INSERT INTO before VALUES (0)"
wait_for 30 stored "$(position)"
expect_fail 1 "at '$T/spaces/late', which exists on this host and is not empty: replay could destroy it" restore latest
[ ! -e "$T/restore/new" ] || fail "a refused restore wrote something"
[ "$(sql postgres -c "SELECT count(*) FROM later")" = 500 ] || fail "the source lost rows"

step "up to a record before it, nothing is in the way"
restore "position:$BEFORE" --start --port $((PGPORT + 1))
printf '%s %s\n' "$MAJOR" "$T/restore/new" >"$(mark_of "$T/restore/new")"
[ "$(PGPORT=$((PGPORT + 1)) sql postgres -c "SELECT count(*) FROM before")" = 1000 ] || fail "rows before"
postgres_stop "$MAJOR" "$T/restore/new" immediate
rm -rf "$T/restore/new"

step "where its place is free, the log may make it; limits that it raised are kept"
postgres_stop "$MAJOR" "$DATA" fast
postgres_start "$MAJOR" "$DATA" # max_connections is written to the log
sql postgres -c "INSERT INTO before VALUES (-1)"
wait_for 30 stored "$(position)"
daemons_stop
postgres_stop "$MAJOR" "$DATA" fast
mv "$T/spaces/late" "$T/away"
restore latest --start --port $((PGPORT + 1))
printf '%s %s\n' "$MAJOR" "$T/restore/new" >"$(mark_of "$T/restore/new")"
[ "$(PGPORT=$((PGPORT + 1)) sql postgres -c "SELECT count(*) FROM later")" = 500 ] || fail "rows of the tablespace"
[ "$(PGPORT=$((PGPORT + 1)) sql postgres -c "SELECT count(*) FROM before")" = 1002 ] || fail "rows"
[ "$(PGPORT=$((PGPORT + 1)) sql postgres -c "SHOW max_connections")" = 150 ] || fail "max_connections"
postgres_stop "$MAJOR" "$T/restore/new" immediate
rm -rf "$T/restore/new" "$T/spaces/late"

step "a damaged chunk is named before anything is written; before it, restores go on working"
CHUNK=$(last_but_one)
printf '\377' | dd of="$CHUNK" bs=1 seek=130 conv=notrunc status=none
expect_fail 1 "${CHUNK#"$T"/repo/}': frame 0: stored bytes do not match their hash" restore latest
[ ! -e "$T/restore/new" ] || fail "a refused restore wrote something"
restore "position:$BEFORE" --dry-run
