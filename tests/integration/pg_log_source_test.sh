#!/usr/bin/env bash
# What the PostgreSQL engine offers to a log task, against real servers: describe with its refusals, timeline histories,
# holds with every way to lose one, log from files and from streams, on a primary, a standby, and after a promotion.
#
#   pg_log_source_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 13 15 18
. "$(dirname "$0")/../lib/harness.sh"

DRIVE=$BUILD/tests/unit/agent/engine/postgres/log_drive_test
[ -x "$DRIVE" ] || skip "$DRIVE is not built"
install -m 755 "$DRIVE" "$T/drive"
STANDBY_PORT=$((PGPORT + 1))
primary() { as_postgres "$T/drive" "$DATA" "host=$T/run port=$PGPORT user=postgres dbname=postgres" "$@"; }
standby() { as_postgres "$T/drive" "$STANDBY" "host=$T/run port=$STANDBY_PORT user=postgres dbname=postgres" "$@"; }
num() { printf '%d' $((0x${1%/*} << 32 | 0x${1#*/})); }
lsn() { printf '%X/%X' $(($1 >> 32)) $(($1 & 0xFFFFFFFF)); }
expect_error() { expect_fail 1 "$@"; }
restart_lsn() { sql postgres -c "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '$1'"; }
segment() { sql postgres -c "SELECT pg_logical_emit_message(false, 'x', repeat('y', 1000))" -c "SELECT pg_switch_wal()" >/dev/null; }
reload() { sql postgres -c "ALTER SYSTEM SET $1" && reload_conf; }

test_describe() {
    local id version flushed
    id=$(sql postgres -c "SELECT system_identifier FROM pg_control_system()")
    version=$(sql postgres -c "SELECT current_setting('server_version_num')::int / 10000 || '.' || current_setting('server_version_num')::int % 10000")
    sql postgres -c "SELECT pg_switch_wal()" >/dev/null
    flushed=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    expect_out "primary $id $version 1 1048576 $flushed - 0/0 0" primary describe
    expect_out '' primary history 1
    expect_error "cannot read the history of timeline 7: the server has no such file (not found)" primary history 7
    expect_error "'x' is not a timeline" primary history x
}

test_rights() {
    local said plain
    sql postgres -c "CREATE ROLE logger LOGIN"
    plain="host=$T/run port=$PGPORT user=logger dbname=postgres"
    as_logger() { as_postgres "$T/drive" "$DATA" "$plain" "$@"; }
    expect_error "role logger lacks rights for a log backup; run as a superuser: GRANT pg_read_all_settings TO logger; ALTER ROLE logger REPLICATION; (permission denied)" \
        as_logger describe
    expect_error "hold 'h': cannot hold the log: role logger may not make replication slots; run as a superuser: ALTER ROLE logger REPLICATION; (permission denied)" \
        as_logger 'open!' h
    said=$(as_logger describe) || true
    said=${said#*superuser:}
    sql postgres -c "${said% (permission denied)}"
    as_logger describe >/dev/null || fail "what the message says is not enough: $(as_logger describe)"
    expect_out made as_logger 'open!' h
    as_logger look h | finds '^primary 1 held .* sum clock$' || fail "$(as_logger look h)"
    segment
    as_logger touch h "$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")" >/dev/null
    expect_out ok as_logger drop h
    sql postgres -c "DROP OWNED BY logger" -c "DROP ROLE logger"
}

test_exhausted() {
    local slots senders
    slots=$(sql postgres -c "SELECT current_setting('max_replication_slots')")
    sql postgres -c "SELECT count(pg_create_physical_replication_slot('s' || n)) FROM generate_series(1, $slots) n" >/dev/null
    expect_error "all replication slots are in use ($slots of max_replication_slots $slots)" primary describe
    expect_error "hold 'h': cannot hold the log (max_replication_slots is $slots)" primary 'open!' h
    sql postgres -c "SELECT count(pg_drop_replication_slot('s' || n)) FROM generate_series(1, $slots) n" >/dev/null
    senders=$(sql postgres -c "SELECT current_setting('max_wal_senders')")
    local pids=() n
    for ((n = 0; n < senders; n++)); do
        # idle wal senders: a replication connection each
        (exec "$PG15/psql" "dbname=postgres replication=true" -XAtq -c "IDENTIFY_SYSTEM" -c '\! sleep 30' >/dev/null 2>&1) &
        pids+=($!)
        echo "$!" >>"$T/pids"
    done
    wait_for 10 sh -c "[ \$('$PG15/psql' -XAtq -d postgres -c 'SELECT count(*) FROM pg_stat_replication') = $senders ] || [ \$('$PG15/psql' -XAtq -d postgres -c \"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'\") = $senders ]"
    expect_error "no wal sender is free, raise max_wal_senders: cannot connect to PostgreSQL: " primary describe
    expect_error "(currently $senders)" primary describe
    sql postgres -c "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walsender'" >/dev/null
    for n in "${pids[@]}"; do kill "$n" 2>/dev/null || true; wait "$n" 2>/dev/null || true; done
}

test_hold() {
    local from to lsn
    expect_error "instance 'main': hold 'h': there is no replication slot of that name (not found)" primary open h
    expect_out made primary 'open!' h
    expect_out found primary 'open!' h
    expect_out found primary open h
    expect_out "physical f t" sql postgres -c "SELECT slot_type, temporary, restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'h'" -F ' '
    from=$(restart_lsn h)
    case $(primary look h) in
    "primary 1 held $from "*" sum clock
max_slot_wal_keep_size is -1: while log cannot be stored, the server keeps all of it, until its disk is full") ;;
    *) fail "look: $(primary look h)" ;;
    esac
    reload "synchronous_commit = off"
    expect_out "max_slot_wal_keep_size is -1: while log cannot be stored, the server keeps all of it, until its disk is full; synchronous_commit is off: what was acknowledged in the last moments before the checkpoint may not be stored yet" \
        sh -c "runuser -u postgres -- '$T/drive' '$DATA' 'host=$T/run port=$PGPORT user=postgres dbname=postgres' look h | tail -n 1"
    reload "synchronous_commit = on"
    reload "max_slot_wal_keep_size = '10GB'"
    expect_out '' sh -c "runuser -u postgres -- '$T/drive' '$DATA' 'host=$T/run port=$PGPORT user=postgres dbname=postgres' look h | tail -n 1"
    if [ "$MAJOR" -ge 18 ]; then
        reload "idle_replication_slot_timeout = '2h'"
        expect_out "idle_replication_slot_timeout is 2h: the server gives up a hold that does not move for so long, as in a pause; set it to 0" \
            sh -c "runuser -u postgres -- '$T/drive' '$DATA' 'host=$T/run port=$PGPORT user=postgres dbname=postgres' look h | tail -n 1"
        reload "idle_replication_slot_timeout = 0"
    fi

    # forwards only, to the byte, never beyond what is flushed
    segment
    segment
    lsn=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    to=$(lsn $(($(num "$lsn") - 1)))
    expect_out "$to" primary touch h "$to"
    expect_out "$to" sql postgres -c "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'h'"
    expect_out "$to" primary touch h "$from"
    expect_out "$lsn" primary touch h FF/0

    # the connection is lost: one call fails, the next connects again
    primary lost h >"$T/lost.out" || fail "$(cat "$T/lost.out")"
    grep -q "^error: instance 'main': hold 'h': .*(unavailable, may pass)$" "$T/lost.out" || fail "$(cat "$T/lost.out")"
    [ "$(grep -c '^primary 1 held ' "$T/lost.out")" -eq 2 ] || fail "$(cat "$T/lost.out")"

    # the server takes the log away
    reload "max_slot_wal_keep_size = '1MB'"
    for _ in 1 2 3 4 5 6; do segment; done
    sql postgres -c CHECKPOINT
    primary look h | finds -E "^primary 1 lost (0/0|$lsn) " || fail "lost: $(primary look h)"
    expect_error "hold 'h': the server gave up the replication slot (max_slot_wal_keep_size is 1MB) (unavailable, may pass)" primary touch h FF/0
    reload "max_slot_wal_keep_size = -1"
    expect_out ok primary drop h
    expect_error "there is no replication slot of that name" primary drop h
}

places() { primary list "$@" | awk '{print $1, $2, ($4 == "" ? ($3 > 1000000) : $4 $3)}'; } # PREFIX MAX: 1 = much is kept
test_list() {
    local one from
    expect_out '' primary list tidemark_b_ 16
    for one in tidemark_b_2 tidemark_b_1 tidemark_c_1; do primary 'open!' $one >/dev/null; done
    sql postgres -c "SELECT pg_create_physical_replication_slot('tidemark_b_0')" >/dev/null # it keeps nothing
    from=$(restart_lsn tidemark_b_1)
    segment
    segment
    primary touch tidemark_b_2 FF/0 >/dev/null
    expect_out "tidemark_b_0 0/0 lost0
tidemark_b_1 $from 1
tidemark_b_2 $(restart_lsn tidemark_b_2) 0" places tidemark_b_ 16
    expect_out "tidemark_b_0 0/0 lost0
tidemark_b_1 $from 1" places tidemark_b_ 2
    expect_out 4 sh -c "runuser -u postgres -- '$T/drive' '$DATA' 'host=$T/run port=$PGPORT user=postgres dbname=postgres' list tidemark_ 16 | wc -l"
    expect_out '' primary list 'tidemark_b%' 16
    # of a session that is still there
    "$PG15/psql" -XAtq -d postgres -c "SELECT pg_create_physical_replication_slot('tidemark_d_1', true, true)" \
        -c "SELECT pg_sleep(60)" >/dev/null 2>&1 &
    one=$!
    echo "$one" >>"$T/pids"
    wait_for 10 sh -c "'$PG15/psql' -XAtq -d postgres -c \"SELECT 1 FROM pg_replication_slots WHERE slot_name = 'tidemark_d_1'\" | grep -q 1"
    expect_out '' primary list tidemark_d_ 16
    kill "$one"
    wait "$one" 2>/dev/null || true
    sql postgres -c "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT temporary" >/dev/null
}

test_conflicts() {
    sql postgres -c "SELECT pg_create_physical_replication_slot('busy', true)" >/dev/null
    # somebody streams with it
    spawn "$T/busy.log" "$T/drive" "$DATA" "host=$T/run port=$PGPORT user=postgres" busy busy
    local pid=$SPAWNED
    wait_for 10 sh -c "'$PG15/psql' -XAtq -d postgres -c \"SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'\" | grep -q t"
    expect_error "hold 'busy': the replication slot of that name is in use by process" primary 'open!' busy
    end_process "$pid"
    wait_for 10 sh -c "'$PG15/psql' -XAtq -d postgres -c \"SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'\" | grep -q f"
    expect_out ok primary drop busy
    # dropped behind our back
    expect_out made primary 'open!' h
    sql postgres -c "SELECT pg_drop_replication_slot('h')" >/dev/null
    expect_error "hold 'h': there is no replication slot of that name (not found)" primary open h
    expect_out made primary 'open!' h
    expect_out "error: instance 'main': hold 'h': the replication slot was dropped by somebody (not found, may pass)
error: instance 'main': hold 'h': the replication slot was dropped by somebody (not found, may pass)
made" primary gone h
    expect_out ok primary drop h
}

test_files() {
    local segment=1048576 now start name
    for _ in 1 2 3; do segment; done
    now=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    start=$(($(num "$now") / segment * segment))
    # two whole segments and the middle of one more, equal to what the stream says
    primary file 1 "$(lsn $((start - 3 * segment + 100)))" $((2 * segment + 500)) >"$T/file.out" || fail "$(cat "$T/file.out")"
    primary stream "$(lsn $((start - 3 * segment)))" $((2 * segment + 600)) | tail -c +101 >"$T/stream.out"
    cmp "$T/file.out" "$T/stream.out" || fail "file and stream differ"
    [ "$(stat -c %s "$T/file.out")" -eq $((2 * segment + 500)) ] || fail "length"
    # the one that is being written, one that will be, one long gone
    expect_error "is not whole yet (not found)" primary file 1 "$(lsn "$start")" 100
    expect_error "is not whole yet (not found)" primary file 1 "$(lsn $((start - 100)))" 200
    expect_error "is not whole yet (not found)" primary file 1 FF/0 100
    sql postgres -c CHECKPOINT -c CHECKPOINT
    expect_error "(not found)" primary file 1 0/100000 100
    # a link in pg_wal is not followed; another's segment is told
    segment
    segment
    now=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    start=$(($(num "$now") / segment * segment))
    name=$(sql postgres -c "SELECT pg_walfile_name('$(lsn $((start - segment + 1000)))')")
    primary file 1 "$(lsn $((start - segment)))" 1000 >/dev/null || fail "$name is there"
    cp -p "$DATA/pg_wal/$name" "$T/run/aside"
    printf 'XXXX' | dd of="$DATA/pg_wal/$name" bs=1 seek=24 conv=notrunc status=none
    expect_error "'$name' belongs to system identifier" primary file 1 "$(lsn $((start - segment)))" 1000
    rm "$DATA/pg_wal/$name"
    ln -s "$T/run/aside" "$DATA/pg_wal/$name"
    expect_error "'$name'" primary file 1 "$(lsn $((start - segment)))" 1000
    rm "$DATA/pg_wal/$name"
    cp -p "$T/run/aside" "$DATA/pg_wal/$name"
    primary file 1 "$(lsn $((start - segment)))" 1000 >/dev/null || fail "$name is there again"
    rm "$T/run/aside"
}

standby_make() {
    STANDBY=$T/run/standby-$MAJOR
    sql postgres -c "SELECT pg_create_physical_replication_slot('standby', true)" >/dev/null
    postgres_stop "$MAJOR" "$DATA"
    as_postgres cp -a "$DATA" "$STANDBY"
    rm -f "$STANDBY/postmaster.pid"
    as_postgres sh -c "cat >>'$STANDBY/postgresql.conf'" <<X
port = $STANDBY_PORT
primary_conninfo = 'host=$T/run port=$PGPORT user=postgres'
primary_slot_name = 'standby'
hot_standby = on
X
    as_postgres touch "$STANDBY/standby.signal"
    postgres_start "$MAJOR" "$DATA"
    postgres_start "$MAJOR" "$STANDBY"
}

replayed() { [ "$(sql postgres -p "$STANDBY_PORT" -c "SELECT pg_last_wal_replay_lsn() >= '$1'")" = t ]; }

test_standby() {
    local lsn from
    sql postgres -c CHECKPOINT
    segment
    standby describe | finds "^standby [0-9]* $MAJOR\.[0-9]* 1 1048576 .* - 0/0 0$" || fail "$(standby describe)"
    # a new hold on a standby reserves from its last restart point
    expect_out made standby 'open!' h
    standby look h | finds '^standby 1 held .* sum clock$' || fail "$(standby look h)"
    standby list h 16 | finds "^h $(sql postgres -p "$STANDBY_PORT" -c "SELECT restart_lsn FROM pg_replication_slots") [0-9]*$" || fail "$(standby list h 16)"
    expect_out '' primary list h 16

    # what a primary's clock proves, a standby's does not: only the newest commit that it replayed
    expect_out made primary 'open!' h
    expect_out clock primary proven h
    expect_out ok primary drop h
    sql postgres -c "CREATE TABLE proven ()"
    wait_for 20 replayed "$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")"
    expect_out "$(sql postgres -p "$STANDBY_PORT" -c "SELECT (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint")" \
        standby proven h
    # beyond what is replayed it is clamped, silently: what we say is what it became
    wait_for 20 sh -c "[ \"\$('$PG15/psql' -XAtq -d postgres -c 'SELECT pg_current_wal_flush_lsn()')\" = \"\$('$PG15/psql' -XAtq -p $STANDBY_PORT -d postgres -c 'SELECT pg_last_wal_replay_lsn()')\" ]"
    from=$(standby touch h FF/0)
    expect_out "$from" sql postgres -p "$STANDBY_PORT" -c "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'h'"
    [ "$(sql postgres -c "SELECT '$from'::pg_lsn <= pg_current_wal_flush_lsn()")" = t ] || fail "not clamped: $from"
    lsn=$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")
    segment
    lsn=$(lsn $(($(num "$lsn") / 1048576 * 1048576)))
    wait_for 20 sh -c "runuser -u postgres -- '$T/drive' '$STANDBY' 'host=$T/run port=$STANDBY_PORT user=postgres dbname=postgres' file 1 $lsn 1000 >'$T/standby.out'"
    primary file 1 "$lsn" 1000 | cmp - "$T/standby.out" || fail "the standby's file differs"
}

standby_has() { [ "$(sql postgres -p "$STANDBY_PORT" -c "SELECT pg_last_wal_replay_lsn() >= '$1'")" = t ]; }
test_promotion() {
    local id fork segment=1048576 start
    segment
    # a transaction of its own: its commit is flushed, and with it what lies before
    sql postgres -c "SELECT pg_logical_emit_message(false, 'x', repeat('y', 1000))" -c "SELECT txid_current()" >/dev/null
    wait_for 30 standby_has "$(sql postgres -c "SELECT pg_current_wal_flush_lsn()")"
    as_postgres "$(bindir "$MAJOR")/pg_ctl" promote -w -D "$STANDBY" >/dev/null
    sql postgres -p "$STANDBY_PORT" -c "SELECT pg_logical_emit_message(false, 'x', repeat('z', 1000))" -c "SELECT pg_switch_wal()" >/dev/null
    sql postgres -p "$STANDBY_PORT" -c "SELECT pg_logical_emit_message(false, 'x', repeat('z', 1000))" -c "SELECT pg_switch_wal()" >/dev/null
    fork=$(sed -n 's/^1\t\([0-9A-F/]*\)\t.*/\1/p' "$STANDBY/pg_wal/00000002.history")
    id=$(sql postgres -c "SELECT system_identifier FROM pg_control_system()")
    standby describe | finds "^primary $id $MAJOR\.[0-9]* 2 $segment [0-9A-F/]* 1 $fork $(stat -c %s "$STANDBY/pg_wal/00000002.history")$" ||
        fail "$(standby describe), fork $fork"
    standby history 2 >"$T/history.out"
    cmp "$T/history.out" "$STANDBY/pg_wal/00000002.history" || fail "history"
    standby look h | finds '^primary 2 held ' || fail "$(standby look h)"
    # the fork's segment: of the new timeline it begins with the old one's pages; of the old one it is not whole
    start=$(($(num "$fork") / segment * segment))
    standby file 2 "$(lsn $start)" $segment >"$T/fork.out" || fail "$(cat "$T/fork.out")"
    cmp "$T/fork.out" "$STANDBY/pg_wal/00000002$(sql postgres -c "SELECT substr(pg_walfile_name('$(lsn $((start + 1)))'), 9)")" || fail "the fork's segment"
    expect_error "is not whole yet (not found)" standby file 1 "$(lsn $start)" 100
    expect_error "timeline 9 is no ancestor of the server's, 2 (not found)" standby_foreign
    # the parent's last whole segment, and its rest by stream
    start=$((start - segment))
    standby file 1 "$(lsn $start)" $segment >"$T/parent.out" || fail "$(cat "$T/parent.out")"
    primary file 1 "$(lsn $start)" $segment | cmp - "$T/parent.out" || fail "the parent's segment differs"
    postgres_stop "$MAJOR" "$STANDBY"
}
# a timeline that has a history file but is no ancestor
standby_foreign() {
    as_postgres cp "$STANDBY/pg_wal/00000002.history" "$STANDBY/pg_wal/00000009.history"
    local status=0
    standby file 9 0/200000 100 || status=$?
    rm "$STANDBY/pg_wal/00000009.history"
    return "$status"
}

test_settings() {
    refuse() { # SETTINGS TEXT
        postgres_stop "$MAJOR" "$DATA"
        cp -p "$DATA/postgresql.auto.conf" "$T/auto.conf"
        printf '%s\n' "$1" >>"$DATA/postgresql.auto.conf"
        postgres_start "$MAJOR" "$DATA"
        expect_error "$2" primary describe
        postgres_stop "$MAJOR" "$DATA"
        cp -p "$T/auto.conf" "$DATA/postgresql.auto.conf"
        postgres_start "$MAJOR" "$DATA"
    }
    refuse "wal_level = minimal
max_wal_senders = 0" "wal_level is minimal, a backup needs replica or logical"
    refuse "max_wal_senders = 0" "max_wal_senders is 0, a backup streams the log and needs one"
    refuse "max_replication_slots = 0" "max_replication_slots is 0, a backup needs one to hold the log"
}

# shellcheck disable=SC2068 # majors are words
for MAJOR in ${@:-${TIDEMARK_TEST_MAJORS:-13 15 18}}; do
    step "PostgreSQL $MAJOR"
    DATA=$T/data-$MAJOR
    postgres_init "$MAJOR" "$DATA" --wal-segsize=1
    postgres_start "$MAJOR" "$DATA"
    test_describe
    test_rights
    test_exhausted
    test_hold
    test_list
    test_conflicts
    test_files
    [ "$MAJOR" -ne 15 ] || test_settings
    standby_make
    test_standby
    test_promotion
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$STANDBY"
done
