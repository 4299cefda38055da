# shellcheck shell=bash
# Sourced by tests of a log backup that is killed again and again, after harness.sh.
#
#   of_wal JQ · is_safe TIME · now_by_source
#   ledger_start · ledger_stop    psql clients that note what was acknowledged, in $T/acked.*
#   kill_rounds N                 kill -9 of the runner or the agent at random moments; $RANDOM's seed is told
#   chain_holds [options]         log_chain_check.py on $T/repo and the source's log; says what it found
#   copy_repo DIRECTORY           $T/repo as it is at one moment, while the log backup runs
#   ledger_survives REPO UNTIL    a restore to latest holds every transaction acknowledged before UNTIL
# Of the source: $T/source, PostgreSQL 15; the log backup is `wal` in $T/repo.

of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; } # TIME: everything acknowledged before is stored
now_by_source() { sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
micros_of() { # TIME, as the daemons write it
    python3 -c 'import datetime, sys
t = datetime.datetime.strptime(sys.argv[1], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
print(int((t - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1)))' "$1"
}

log_source() { # a source that keeps all its log, and a ledger in it
    install -d -o postgres -g postgres "$T/repo" "$T/restore"
    postgres_init 15 "$T/source" -k
    printf '%s\n' "wal_keep_size = ${WAL_KEEP:-16GB}" "checkpoint_timeout = 30s" "log_timezone = UTC" >>"$T/source/postgresql.conf"
    postgres_start 15 "$T/source"
    sql postgres -c "create table ledger (id bigserial primary key, client int)"
    pgbench -i -q -s 5 postgres >/dev/null 2>&1
}

# An id is written down after psql has seen the commit's answer, with a later time by the source's clock: what was
# acknowledged before a time is never more than the ids with an earlier one.
ledger_start() {
    local n
    LEDGER_PIDS=()
    for n in 1 2; do
        # shellcheck disable=SC2016 # psql's variables
        (yes 'insert into ledger (client) values ('$n') returning id \gset
select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us, pg_sleep(0.002) \gset
\echo :id :us' | "$PG15/psql" -XAtq -v ON_ERROR_STOP=1 -d postgres >>"$T/acked.$n" 2>>"$T/run/ledger.log") &
        LEDGER_PIDS+=("$!")
        echo "$!" >>"$T/pids"
    done
    "$PG15/pgbench" -n -c 2 -R "${LOAD:-150}" -T 36000 postgres >"$T/pgbench.log" 2>&1 &
    LEDGER_PIDS+=("$!")
    echo "$!" >>"$T/pids"
}
ledger_stop() {
    local pid child
    for pid in "${LEDGER_PIDS[@]}"; do
        kill -0 "$pid" 2>/dev/null || fail "a writer ended by itself: $(tail -n 3 "$T/run/ledger.log" "$T/pgbench.log")"
        for child in $(pgrep -P "$pid" -x yes || true); do kill "$child"; done # psql comes to its end
        [ -n "$(pgrep -P "$pid" || true)" ] || kill "$pid" 2>/dev/null || true
    done
    for pid in "${LEDGER_PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
}

copy_repo() { # DIRECTORY: $T/repo as it is at one moment: no mark is in it whose chunk is not
    local runners status=0
    rm -rf "$1"
    runners=$(runner_pids)
    echo "$runners" | xargs -r kill -STOP 2>/dev/null || true # it may just have ended
    cp -a "$T/repo" "$1" || status=$?
    echo "$runners" | xargs -r kill -CONT 2>/dev/null || true
    return $status
}
runner_there() { [ -n "$(runner_pids)" ]; }
kill_rounds() {
    local rounds=$1 n runners=0 pause seed=${SEED:-$(date +%s)} mark
    RANDOM=$seed
    echo "   seed $seed"
    for n in $(seq "$rounds"); do
        pause=$((RANDOM % 10 < 3 ? RANDOM % 300 : RANDOM % ${LONGEST_MS:-3000}))
        sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
        # a runner that dies again and again is started after growing pauses: the agent's own death ends that
        if [ $((RANDOM % 3)) -gt 0 ] && [ $runners -lt 3 ]; then
            wait_for 10 runner_there
            runner_pids | xargs -r kill -9 2>/dev/null || true # it may just have ended
            runners=$((runners + 1))
        else
            agent_kill
            agent_start
            runners=0
        fi
        if [ $((n % 10)) = 0 ]; then
            mark=$(now_by_source)
            wait_for 30 is_safe "$mark"
            [ "$(of_wal .status.phase)" = Running ] || fail "after round $n it is $(of_wal .status.phase): $(of_wal .status)"
            [ $((n % ${CHECK_EVERY:-50})) != 0 ] || chain_holds
        fi
    done
}

chain_holds() {
    local flush
    flush=$(sql postgres -c "select pg_current_wal_flush_lsn()")
    rm -rf "$T/chain"
    wait_for 30 stored_up_to "$flush"
    copy_repo "$T/chain"
    "$TOP/tests/integration/log_chain_check.py" "$T/chain" "$T/source/pg_wal" --covers "$flush" "$@" >"$T/chain.json" ||
        fail "the stored log"
    jq -c '.[] | {runs, chunks, others, writers, gaps}' "$T/chain.json"
}
stored_up_to() { [ "$(sql postgres -c "select '$(of_wal '.status.logCheckpointPosition // "0/0"')'::pg_lsn >= '$1'")" = t ]; }

ledger_survives() { # REPO UNTIL
    local dir=$T/restore/survives port=$((PGPORT + 1)) until missing
    until=$(micros_of "$2")
    rm -rf "$dir"
    chmod 755 "$1"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$1" --cluster test --data-dir "$dir" --to latest \
        --start --port $port --set unix_socket_directories="$T/run" >"$T/restore.log" 2>&1 || fail "restore: $(cat "$T/restore.log")"
    printf '15 %s\n' "$dir" >"$(mark_of "$dir")"
    cat "$T"/acked.* | awk -v until="$until" 'NF == 2 && $2 < until {print $1}' | sort -n -u >"$T/acked"
    [ "$(wc -l <"$T/acked")" -gt 10 ] || fail "next to nothing was acknowledged before $2"
    PGPORT=$port sql postgres -c "create table acked (id bigint)" -c "\\copy acked from '$T/acked'"
    missing=$(PGPORT=$port sql postgres -c "select count(*) from acked a where not exists (select from ledger l where l.id = a.id)")
    [ "$missing" = 0 ] || fail "$missing of $(wc -l <"$T/acked") transactions acknowledged before $2 are not there"
    echo "   all of $(wc -l <"$T/acked") acknowledged before $2"
    LEDGER_SUM=$(PGPORT=$port sql postgres -c "select count(*), md5(string_agg(id::text, ',' order by id)) from ledger")
    postgres_stop 15 "$dir" immediate
}
ledger_sum() { sql postgres -c "select count(*), md5(string_agg(id::text, ',' order by id)) from ledger"; }
