#!/usr/bin/env bash
# A snapshot whose session is lost goes on in another one, against real servers: ranges are read in three sessions, the
# first ends with its backend, the second with the server, while pgbench writes and tables, indexes and databases come,
# go and are rewritten, and transactions are prepared at every moment. The restored cluster is judged by PostgreSQL's own
# tools, a ledger and pgbench's sums, and commits what was prepared. Then everything that makes earlier ranges bad is
# done once, and must be told; and log behind the snapshot is replayed, too.
#
#   pg_resume_test.sh             a short scene of two sessions on each version; the long one on 15 and 18; the rest on 15
#   pg_resume_test.sh MAJOR…      the long scene and a snapshot in one session on each; the rest on 15 or the only one
#   PG_RESUME_CHECKSUMS=off       without page checksums, and on 16 with wal_log_hints; 16 always is without
#
# Where versions differ: 14 and 17 are stopped in order when the second session is lost, others at once; 14 and 17 track
# commit timestamps; 17 and 18 summarize log; on 13, 16 and 18 the first session has ended its backup before it was lost;
# state files of prepared transactions are read by the last session on 15, 16 and 18, by the second one on the others, or
# the other way round without checksums.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/snapshot_drive.sh"

# ---- the tests ---------------------------------------------------------------------------------------------------
stop_mode() { case $MAJOR in 14 | 17) echo fast ;; *) echo immediate ;; esac; }
lose_server() { # it comes back with higher limits, which the log says and the files of the first session do not
    sql postgres -c "ALTER SYSTEM SET max_connections = 130" -c "ALTER SYSTEM SET max_prepared_transactions = 30"
    postgres_stop "$MAJOR" "$DATA" "$(stop_mode)"
    postgres_start "$MAJOR" "$DATA"
    load_end
    load_start
}
ends() { # NAME SESSIONS: from its gate "end" on; and what comes of it
    local low high want
    changes_3
    low=$(ledger)
    [ "$low" -gt 0 ] || fail "the ledger is empty"
    drive_go "$1" go-end
    drive_ends "$1" 0 "committed at *"
    high=$(ledger)
    want=$(digest "$PGPORT")
    load_end
    sed 's/^/   /' "$T/drive-$1.out"
    [ "$(grep -c '^attempt [123]: .* 0 corrupt$' "$T/drive-$1.out")" -eq "$2" ] || fail "attempts: $(cat "$T/drive-$1.out")"
    grep '^problem' "$T/drive-$1.out" && fail "problems"
    restore "$1" "$T/run/$1-$MAJOR"
    judge "$T/run/$1-$MAJOR" "$low" "$high" "$want"
}
states_are_read() { # NAME, now
    drive_until "$1" begun
    drive_go "$1" go-begun
}
test_resume() {
    local ended=0 states=2
    older_begin
    drop_hold
    load_start
    case $MAJOR in 13 | 16 | 18) ended=1 ;; esac
    case $MAJOR-$CHECKSUMS in 15-on | 16-on | 18-on | 13-off | 14-off | 17-off) states=3 ;; esac
    drive_start whole 3 400000 "$ended" "$states"
    drive_until whole lost-1
    kill_session
    changes_1 "$MAJOR"
    drive_go whole go-1
    [ "$states" = 3 ] || states_are_read whole
    drive_until whole lost-2
    changes_2
    lose_server
    drive_go whole go-2
    [ "$states" = 2 ] || states_are_read whole
    drive_until whole end
    ends whole 3
}
test_short() { # two sessions, the first is lost with the server
    older_begin
    drop_hold
    load_start
    drive_start short 2 2000000 0 2
    drive_until short lost-1
    changes_1 "$MAJOR"
    changes_2
    lose_server
    drive_go short go-1
    states_are_read short
    drive_until short end
    ends short 2
}
test_plain() { # one session, after all that; an index of an unlogged table is built from before it until all is read
    local gid
    for gid in $(prepared); do sql postgres -c "COMMIT PREPARED '$gid'"; done
    sql postgres -c "DELETE FROM prepared WHERE split_part(gid, ' ', 1) <> 'done'"
    older_begin
    prepare open
    drop_hold
    load_start
    build_begin
    drive_start plain 1 2000000 0 1
    drive_until plain begun
    older_prepare
    for gid in new gone lost; do prepare "$gid"; done
    turnover
    sql postgres -c "ROLLBACK PREPARED 'gone'"
    drive_go plain go-begun
    drive_until plain end
    build_end
    ends plain 1
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
    [ "$CHECKSUMS" = off ] || pages_are_good "$MAJOR" "$dir"
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
    if [ "$MAJOR" -eq 15 ] && [ "$CHECKSUMS" = on ]; then
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
    [ "$CHECKSUMS" = off ] || pages_are_good "$MAJOR" "$target"
}

majors=() long=" 15 18 "
for major in "${@:-${TIDEMARK_TEST_MAJORS:-13 14 15 16 17 18}}"; do
    for MAJOR in $major; do majors+=("$MAJOR"); done
done
[ $# -eq 0 ] || long=" ${majors[*]} "
more=15
[ ${#majors[@]} -gt 1 ] || more=${majors[0]}
for MAJOR in "${majors[@]}"; do
    began=$SECONDS DATA=$T/data-$MAJOR CHECKSUMS=${PG_RESUME_CHECKSUMS:-on}
    [ "$MAJOR" -ne 16 ] || CHECKSUMS=off
    options=(-k)
    if [ "$CHECKSUMS" = off ]; then
        options=()
        [ "$MAJOR" -lt 18 ] || options=(--no-data-checksums)
    fi
    step "PostgreSQL $MAJOR, checksums $CHECKSUMS"
    postgres_init "$MAJOR" "$DATA" "${options[@]}"
    cat >>"$DATA/postgresql.conf" <<X
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
max_prepared_transactions = 20
max_slot_wal_keep_size = 4GB
autovacuum_naptime = 1s
timezone = UTC
X
    [ "$MAJOR" -ne 16 ] || echo "wal_log_hints = on" >>"$DATA/postgresql.conf"
    case $MAJOR in 14 | 17) echo "track_commit_timestamp = on" >>"$DATA/postgresql.conf" ;; esac
    case $MAJOR in 17 | 18) echo "summarize_wal = on" >>"$DATA/postgresql.conf" ;; esac
    postgres_start "$MAJOR" "$DATA"
    case $long in
    *" $MAJOR "*)
        load "$MAJOR"
        test_resume
        if [ $# -gt 0 ] || [ "$MAJOR" -ge 17 ]; then test_plain; fi
        ;;
    *)
        SCALE=1 load "$MAJOR"
        test_short
        ;;
    esac
    echo "   $((SECONDS - began)) s"
    if [ "$MAJOR" = "$more" ]; then
        test_later
        test_refusals
        test_second_timeline
    fi
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$T"/repo-* "$T/space-$MAJOR"
done
