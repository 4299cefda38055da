#!/usr/bin/env bash
# A snapshot whose session is lost goes on in another one, against real servers: ranges are read in three sessions, the
# first ends with its backend, the second with the server (immediate stop), while pgbench writes and tables, indexes
# and databases come, go and are rewritten. The restored cluster is judged by PostgreSQL's own tools, a ledger and
# pgbench's sums. Then everything that makes earlier ranges bad is done once, and must be told; and log behind the
# snapshot is replayed, too (both on 15, or the only version that is asked for).
#
#   pg_resume_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 13 15 18
#
# 13 and 16 run without page checksums, 16 with wal_log_hints. On 13, 16 and 18 the first session has ended its
# backup before it was lost.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/snapshot_drive.sh"

# ---- the tests ---------------------------------------------------------------------------------------------------
test_resume() {
    local low high want target=$T/run/restored-$MAJOR
    load "$MAJOR"
    drop_hold
    load_start
    local ended=0
    case $MAJOR in 13 | 16 | 18) ended=1 ;; esac
    drive_start whole 3 400000 "$ended"
    drive_until whole lost-1
    kill_session
    changes_1 "$MAJOR"
    drive_go whole go-1
    drive_until whole lost-2
    changes_2
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    load_end
    load_start
    drive_go whole go-2
    drive_until whole end
    turnover
    low=$(ledger)
    [ "$low" -gt 0 ] || fail "the ledger is empty"
    drive_go whole go-end
    drive_ends whole 0 "committed at *"
    high=$(ledger)
    want=$(digest "$PGPORT")
    load_end
    sed 's/^/   /' "$T/drive-whole.out"
    [ "$(grep -c '^attempt [123]: .* 0 corrupt$' "$T/drive-whole.out")" -eq 3 ] || fail "attempts: $(cat "$T/drive-whole.out")"
    grep '^problem' "$T/drive-whole.out" && fail "problems"

    restore whole "$target"
    judge_files "$target"
    echo "port = $RESTORED_PORT" >>"$target/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$target"
    [ "$(digest "$RESTORED_PORT")" = "$want" ] || fail "tables differ: $(digest "$RESTORED_PORT") instead of $want"
    judge_cluster "$low" "$high"
    postgres_stop "$MAJOR" "$target"
    judge_checksums "$target"
    rm -rf "$target" "$target-space"
}

# ---- log behind a resumed snapshot ------------------------------------------------------------------------------
log_is_there() { # up to what is flushed now
    [ "$(sql postgres -c "SELECT '$(tidemark get backup walog -o json | jq -r .status.logCheckpointPosition)'::pg_lsn >= '$WANTED'::pg_lsn")" = t ]
}
replayed() { # TARGET WANT: a restore to there has so many rows in the ledger
    local dir=$T/restore/later got
    restore later "$dir" --to "$1" --start --port "$RESTORED_PORT" --set unix_socket_directories="$T/run" \
        --set tidemark.bindir="$(bindir "$MAJOR")"
    printf '%s %s\n' "$MAJOR" "$dir" >"$(mark_of "$dir")"
    got=$(PGPORT=$RESTORED_PORT sql postgres -c "SELECT count(*) FROM ledger")
    postgres_stop "$MAJOR" "$dir"
    [ "$got" -eq "$2" ] || fail "restored to $1: $got rows instead of $2"
    judge_checksums "$dir"
    printf '   %s: %s rows\n' "$1" "$got"
}
test_later() {
    step "log behind a resumed snapshot"
    local rows time position
    install -d -o postgres -g postgres "$T/restore"
    daemons_start "$DATA"
    drop_hold
    load_start
    drive_start later 2 2000000
    drive_until later lost-1
    tidemark log start walog --cluster test --storage "file://$T/repo-later" --flush-interval 1s >/dev/null
    tidemark wait backup walog --for=Running --timeout=60s
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    load_end
    load_start
    drive_go later go-1
    drive_until later end
    drive_go later go-end
    drive_ends later 0 "committed at *"
    load_end
    rows=$(ledger)
    time=$(sql postgres -c "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    position=$(sql postgres -c "SELECT pg_current_wal_insert_lsn()")
    for _ in 1 2 3; do sql postgres -f "$T/ledger.sql"; done
    WANTED=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    wait_for 60 log_is_there
    replayed "$time" "$rows"
    replayed "position:$position" "$rows"
    replayed latest $((rows + 3))
    daemons_stop
}

# ---- what makes the earlier ranges bad --------------------------------------------------------------------------
set_and_reload() { sql postgres -c "ALTER SYSTEM SET $1 = '$2'" -c "SELECT pg_reload_conf()" >/dev/null && wait_for 10 setting_is "$1" "$2"; }
setting_is() { [ "$(sql postgres -c "SHOW $1")" = "$2" ]; }
refused() { # NAME PATTERN CMD…: between two sessions CMD runs; then the driver refuses, and says why
    local name=$1 pattern=$2
    shift 2
    drop_hold
    drive_start "$name" 2 20000000
    drive_go "$name" go-end
    drive_until "$name" lost-1
    kill_session
    "$@"
    drive_go "$name" go-1
    drive_ends "$name" 3 "refused: $pattern"
    rm -rf "$T/repo-$name"
}
cannot="instance 'main': the snapshot cannot be resumed:"
images_off_and_on() { set_and_reload full_page_writes off && set_and_reload full_page_writes on; }
log_taken_away() {
    set_and_reload max_slot_wal_keep_size 1MB
    for _ in 1 2 3 4; do sql postgres -c "SELECT pg_logical_emit_message(true, 'x', 'y')" -c "SELECT pg_switch_wal()" >/dev/null; done
    sql postgres -c CHECKPOINT
    set_and_reload max_slot_wal_keep_size 4GB
}
make_space() {
    install -d -o postgres -g postgres "$T/other-space"
    sql postgres -c "CREATE TABLESPACE other LOCATION '$T/other-space'"
}
drop_space() { sql postgres -c "DROP TABLESPACE other"; }
make_and_drop_space() { make_space && drop_space; }
copy_and_change() {
    local how=
    [ "$MAJOR" -lt 15 ] || how="STRATEGY file_copy"
    sql postgres -c "CREATE DATABASE copied TEMPLATE still $how"
    sql still -c "INSERT INTO here VALUES (7)"
    sql postgres -c "DROP DATABASE copied"
}
other_checksums() {
    postgres_stop "$MAJOR" "$DATA"
    as_postgres "$PG15/pg_checksums" "$1" -D "$DATA" >/dev/null
    postgres_start "$MAJOR" "$DATA"
}
set_back() { # a server that is restored to what it was
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$DATA"
    cp -a "$T/old" "$DATA"
    postgres_start "$MAJOR" "$DATA"
}
set_back_and_on() { # … and then writes more than what was stored
    set_back
    sql postgres -c "INSERT INTO ledger SELECT n, 'x' FROM generate_series(10000000, 10200000) n"
}
put_aside() { # immediate: a stop that waits for readers of log waits for one that came back meanwhile
    postgres_stop "$MAJOR" "$DATA" immediate
    rm -rf "$T/old"
    cp -a "$DATA" "$T/old"
    postgres_start "$MAJOR" "$DATA"
    sql postgres -c "INSERT INTO ledger SELECT n, 'y' FROM generate_series(20000000, 20005000) n"
}
refused_third() { # NAME PATTERN CMD…: as refused, but what was put aside between the first two comes back before the third
    local name=$1 pattern=$2
    shift 2
    drop_hold
    drive_start "$name" 3 20000000
    drive_go "$name" go-end
    drive_until "$name" lost-1
    kill_session # a server that stops waits for whoever reads its log
    put_aside
    drive_go "$name" go-1
    drive_until "$name" lost-2
    kill_session
    "$@"
    drive_go "$name" go-2
    drive_ends "$name" 3 "refused: $pattern"
    rm -rf "$T/repo-$name"
}
reset_log() {
    postgres_stop "$MAJOR" "$DATA"
    as_postgres "$PG15/pg_resetwal" -f "$DATA" >/dev/null
    postgres_start "$MAJOR" "$DATA"
}
other_timeline() { # as a failover does it, on the same host
    postgres_stop "$MAJOR" "$DATA"
    as_postgres touch "$DATA/recovery.signal"
    echo "restore_command = 'false'" >>"$DATA/postgresql.auto.conf"
    postgres_start "$MAJOR" "$DATA"
}
test_refusals() {
    step "what makes the earlier ranges bad is told"
    refused images 'full_page_writes was off at [0-9A-F]*/[0-9A-F]*' images_off_and_on
    refused no-images "$cannot full_page_writes is off" set_and_reload full_page_writes off
    set_and_reload full_page_writes on
    refused no-hold "$cannot replication slot '$HOLD', which held the log, is gone" drop_hold
    refused lost-hold "$cannot the server gave up replication slot '$HOLD', which held the log" log_taken_away
    refused new-space "$cannot tablespace [0-9]* at '$T/other-space' was created since the earlier attempt" make_space
    refused old-space "$cannot tablespace [0-9]* at '$T/other-space' was dropped since the earlier attempt" drop_space
    refused brief-space "tablespace [0-9]* at '$T/other-space' was created at [0-9A-F]*/[0-9A-F]*, between the attempts" make_and_drop_space
    refused template "database [0-9]* was copied by files from database [0-9]* at [0-9A-F]*/[0-9A-F]*, which was changed at [0-9A-F]*/[0-9A-F]*" \
        copy_and_change
    if [ "$MAJOR" -eq 15 ]; then
        refused checksums "$cannot page checksums have version 0 now, at the earlier attempt 1 (0 is none)" other_checksums --disable
        refused checksums-on "$cannot page checksums have version 1 now, at the earlier attempt 0 (0 is none)" other_checksums --enable
    fi
    refused_third back "$cannot the server's log ends at [0-9A-F]*/[0-9A-F]*, but is stored up to [0-9A-F]*/[0-9A-F]*: the server was set back" set_back
    refused_third back-and-on "the log since the first start is not of one piece: log at *" set_back_and_on
    refused timeline "$cannot the server is on timeline 2 now, the earlier attempt was on 1" other_timeline
}
test_second_timeline() {
    step "a snapshot of timeline 2 is resumed"
    local target=$T/run/second rows
    drop_hold
    drive_start second 2 20000000
    drive_until second lost-1
    rows=$(ledger)
    postgres_stop "$MAJOR" "$DATA" immediate
    postgres_start "$MAJOR" "$DATA"
    drive_go second go-1
    drive_until second end
    drive_go second go-end
    drive_ends second 0 "committed at *"
    restore second "$target"
    judge_files "$target"
    echo "port = $RESTORED_PORT" >>"$target/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$target"
    PGPORT=$RESTORED_PORT expect_out "$rows" ledger
    postgres_stop "$MAJOR" "$target"
    judge_checksums "$target"
}

majors=()
for major in "${@:-${TIDEMARK_TEST_MAJORS:-13 15 18}}"; do
    for MAJOR in $major; do majors+=("$MAJOR"); done
done
more=${majors[0]}
case " ${majors[*]} " in *" 15 "*) more=15 ;; esac
for MAJOR in "${majors[@]}"; do
    DATA=$T/data-$MAJOR CHECKSUMS=on
    options=(-k)
    case $MAJOR in 13 | 16) options=() CHECKSUMS=off ;; esac
    step "PostgreSQL $MAJOR, checksums $CHECKSUMS"
    postgres_init "$MAJOR" "$DATA" "${options[@]}"
    cat >>"$DATA/postgresql.conf" <<X
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
max_prepared_transactions = 5
max_slot_wal_keep_size = 4GB
autovacuum_naptime = 1s
timezone = UTC
X
    [ "$MAJOR" -ne 16 ] || echo "wal_log_hints = on" >>"$DATA/postgresql.conf"
    postgres_start "$MAJOR" "$DATA"
    test_resume
    if [ "$MAJOR" = "$more" ]; then
        test_later
        test_refusals
        test_second_timeline
    fi
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$T"/repo-* "$T/space-$MAJOR"
done
