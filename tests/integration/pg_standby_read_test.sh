#!/usr/bin/env bash
# A snapshot whose session is held on the primary, while a standby reads all relation files: real servers, in two
# sessions, the first of which is lost, while pgbench writes and tables, indexes and databases come, go and are
# rewritten. The standby lags at first, has its tablespace elsewhere, and is restarted in the middle. The restored
# cluster is judged by PostgreSQL's own tools, a ledger and pgbench's sums. Then a standby that is promoted in the
# middle, and one that was before, must be refused.
#
#   pg_standby_read_test.sh [MAJOR…]     default: $TIDEMARK_TEST_MAJORS, or 13 15 18
#
# 13 and 16 run without page checksums, 16 with wal_log_hints.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/snapshot_drive.sh"

STANDBY_PORT=$((PGPORT + 2))
STANDBY_CONNINFO="host=$T/run port=$STANDBY_PORT user=postgres dbname=postgres"
on_standby() { PGPORT=$STANDBY_PORT "$@"; }

streams() { [ "$(sql postgres -c "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming'")" = 1 ]; }
standby_make() { # a copy of the primary; the tablespace lies elsewhere, and it makes no restartpoints of its own
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$STANDBY" "$T/standby-space"
    cp -a "$DATA" "$STANDBY"
    cp -a "$T/space-$MAJOR" "$T/standby-space"
    local link
    for link in "$STANDBY"/pg_tblspc/*; do as_postgres ln -sfn "$T/standby-space" "$link"; done
    rm -rf "$STANDBY"/pg_replslot/*
    cat >>"$STANDBY/postgresql.conf" <<X
port = $STANDBY_PORT
primary_conninfo = 'host=$T/run port=$PGPORT user=postgres application_name=standby'
checkpoint_timeout = 1h
max_wal_size = 100GB
X
    as_postgres touch "$STANDBY/standby.signal"
    postgres_start "$MAJOR" "$DATA"
    on_standby postgres_start "$MAJOR" "$STANDBY"
    wait_for 30 streams
}
shares() { sed -n "s/^standby $2: \([0-9]*\) ranges, \([0-9]*\) bytes, \([0-9]*\) read again$/\\$3/p" "$T/drive-$1.out"; }

test_read() {
    local low high want total target=$T/run/restored-$MAJOR
    drop_hold
    load_start
    on_standby sql postgres -c "SELECT pg_wal_replay_pause()" >/dev/null
    drive_start whole 2 400000 0 0 "$STANDBY" "$STANDBY_CONNINFO"
    drive_until whole asked
    grep -qx "standby: not ready at first" "$T/drive-whole.out" || fail "$(cat "$T/drive-whole.out")"
    grep -q "^not yet: data directory '$STANDBY': the standby has replayed up to [0-9A-F/]*, its last restartpoint is at [0-9A-F/]*, the backup started at [0-9A-F/]*$" \
        "$T/drive-whole.out" || fail "$(cat "$T/drive-whole.out")"
    drive_go whole go-asked
    sleep 2
    [ ! -e "$(gate whole).lost-1" ] || fail "a standby that lags was read"
    on_standby sql postgres -c "SELECT pg_wal_replay_resume()" >/dev/null
    drive_until whole lost-1
    kill_session
    changes_1 "$MAJOR"
    drive_go whole go-1
    drive_until whole half
    grep -qx "standby: ready at first" "$T/drive-whole.out" || fail "a standby that was ready is not: $(cat "$T/drive-whole.out")"
    changes_2
    on_standby postgres_stop "$MAJOR" "$STANDBY" immediate
    on_standby postgres_start "$MAJOR" "$STANDBY"
    drive_go whole go-half
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
    [ "$(grep -c '^attempt [12]: .* 0 corrupt$' "$T/drive-whole.out")" -eq 2 ] || fail "attempts: $(cat "$T/drive-whole.out")"
    grep '^problem' "$T/drive-whole.out" && fail "problems"
    grep "^again: " "$T/drive-whole.out" | finds -v "the standby was started anew meanwhile" && fail "$(cat "$T/drive-whole.out")"
    [ "$(shares whole 1 3) $(shares whole 2 3)" = "0 1" ] || fail "read again: $(cat "$T/drive-whole.out")"
    total=$(sed -n 's/^attempt [12]: .* ranges, \([0-9]*\) bytes.*/\1/p' "$T/drive-whole.out" | paste -sd+ | bc)
    [ $(($(shares whole 1 2) + $(shares whole 2 2))) -gt $((total / 2)) ] || fail "the standby read little: $(cat "$T/drive-whole.out")"

    restore whole "$target"
    judge "$target" "$low" "$high" "$want"
}

test_promoted() {
    step "$MAJOR: a standby that is promoted is refused"
    drop_hold
    drive_start promoted 1 400000 0 0 "$STANDBY" "$STANDBY_CONNINFO"
    drive_go promoted go-asked
    drive_go promoted go-end
    drive_until promoted half
    on_standby sql postgres -c "SELECT pg_promote()" | finds -x t || fail "not promoted"
    drive_go promoted go-half
    drive_ends promoted 3 "refused: range [0-9]*: data directory '$STANDBY': the standby was promoted"
    drop_hold
    drive_start before 1 400000 0 0 "$STANDBY" "$STANDBY_CONNINFO"
    drive_ends before 3 "refused: data directory '$STANDBY': the server is on timeline 2, the snapshot was begun on 1"
}

majors=()
for major in "${@:-${TIDEMARK_TEST_MAJORS:-13 15 18}}"; do
    for MAJOR in $major; do majors+=("$MAJOR"); done
done
for MAJOR in "${majors[@]}"; do
    DATA=$T/data-$MAJOR STANDBY=$T/standby-$MAJOR CHECKSUMS=on
    options=(-k)
    case $MAJOR in 13 | 16) options=() CHECKSUMS=off ;; esac
    step "PostgreSQL $MAJOR, checksums $CHECKSUMS"
    postgres_init "$MAJOR" "$DATA" "${options[@]}"
    cat >>"$DATA/postgresql.conf" <<X
max_wal_size = 96MB
min_wal_size = 32MB
checkpoint_timeout = 30s
max_prepared_transactions = 20
max_slot_wal_keep_size = 4GB
wal_keep_size = 1GB
autovacuum_naptime = 1s
timezone = UTC
X
    [ "$MAJOR" -ne 16 ] || echo "wal_log_hints = on" >>"$DATA/postgresql.conf"
    postgres_start "$MAJOR" "$DATA"
    load "$MAJOR"
    standby_make
    test_read
    test_promoted
    on_standby postgres_stop "$MAJOR" "$STANDBY"
    postgres_stop "$MAJOR" "$DATA"
    rm -rf "$DATA" "$STANDBY" "$T"/repo-* "$T/space-$MAJOR" "$T/standby-space"
done
