# shellcheck shell=bash
# Sourced behind harness.sh: a PostgreSQL under a load of everything that is hard on a physical backup, backups of it
# that are interrupted, and the judging of what comes of them.
#
#   source_make MAJOR DATA         the server alone, in $SOURCE from then on; settings: SCALE of pgbench
#   resume_source MAJOR            $T/source under load, daemons, $REPO; settings: RATE (MB/s)
#   resume_source_end              takes all of it away
#   load_start · load_stop         pgbench, the ledger, and the churn: tables emptied and rewritten, indexes, databases
#   backup NAME [LINE…]            applies one, with more lines of its spec; AUTO=1: it is tried again by itself
#   of NAME JQ · id_of NAME        of its status
#   checkpointed NAME [N]          waits until checkpoints have N ranges of it, or 2
#   interrupt KIND NAME            agent | runner | session | server | both; what storage has then is noted for resumed
#   resumed NAME                   asks for the next attempt, unless AUTO; Complete, under the same id, and nothing that a
#                                  checkpoint had was read again
#   judge NAME                     restored and looked at by PostgreSQL's own tools, the ledger, and pgbench's sums
#   no_holds                       neither the server nor the agent has one
. "$TOP/tests/lib/prepared.sh"
REPO=$T/repo
SPACES=("$T/space") # the tablespaces
RESTORED_PORT=$((PGPORT + 1))

# ---- the source ---------------------------------------------------------------------------------------------------
source_make() { # MAJOR DATA
    MAJOR=$1 SOURCE=$2
    install -d -o postgres -g postgres "$T/restore" "$REPO" "$T/space"
    postgres_init "$MAJOR" "$SOURCE" -k
    printf '%s\n' "max_wal_size = 128MB" "max_prepared_transactions = 20" "max_slot_wal_keep_size = 8GB" \
        "checkpoint_timeout = 30s" "timezone = UTC" \
        "autovacuum_naptime = 1h" `# it changes what databases are copied from` \
        >>"$SOURCE/postgresql.conf"
    postgres_start "$MAJOR" "$SOURCE"
    pgbench -i -q -s "${SCALE:-4}" postgres >/dev/null 2>&1
    sql postgres -c "create tablespace far location '$T/space'"
    sql postgres -c "create table quiet (n int primary key, t text) tablespace far" \
        -c "insert into quiet select n, md5(n::text) from generate_series(1, 30000) n" \
        -c "create table distant tablespace far as select n, repeat(md5(n::text), 4) as t from generate_series(1, 20000) n" \
        -c "create table ledger (n int primary key, t text)" -c "$PREPARED_TABLE" \
        -c "create table emptied as select n, md5(n::text) as t from generate_series(1, 10000) n" \
        -c "create index on emptied (t)" \
        -c "create table rewritten as select n, repeat(md5(n::text), 4) as t from generate_series(1, 20000) n" \
        -c "create index on rewritten (t)" \
        -c "create unlogged table fleeting as select n from generate_series(1, 1000) n" \
        -c "create table pictures (id oid)" -c "create table sketches (id oid)" \
        -c "insert into pictures select lo_from_bytea(0, decode(repeat(md5(g::text), 1000), 'hex')) from generate_series(1, 20) g"
    sql postgres -c "create database still" # what databases are copied from by files must not change
    sql still -c "create table here as select n, md5(n::text) as t from generate_series(1, 2000) n" -c "create index on here (n)" \
        -c "vacuum (freeze, analyze)" -c "vacuum freeze" # of what the first one wrote, too
    sql postgres -c checkpoint
    cat >"$T/ledger.sql" <<Y
insert into ledger select coalesce(max(n), 0) + 1, md5(random()::text) from ledger;
Y
    chmod 644 "$T/ledger.sql"
    QUIET=$(quiet_digest "$PGPORT")
    PASSES=$T/run/churn.passes
}
resume_source() {
    source_make "$1" "$T/source"
    daemons_start "$SOURCE"
    load_start
}
resume_source_end() {
    load_stop
    daemons_stop
    postgres_stop "$MAJOR" "$T/source"
    rm -rf "$T/source" "$T/space" "$T/restore" "$REPO" "$T/coordinator" "$T/agent"
}
quiet_digest() { # PORT
    PGPORT=$1 sql postgres -c "select md5(string_agg(t, ',' order by n)) from quiet" \
        -c "select md5(string_agg(lo_get(id), ''::bytea order by id)) from pictures"
}
strategy() { # wal_log | file_copy: there were no two before 15
    [ "$MAJOR" -lt 15 ] || printf 'strategy %s' "$1"
}
churn_pass() { # N
    local odd=$(($1 % 2))
    sql postgres -c "truncate emptied" -c "insert into emptied select n, md5(n::text) from generate_series(1, 500 + $1) n" \
        -c "update rewritten set t = t || 'x' where n % 20 = $1 % 20" -c "vacuum full rewritten" -c "drop index if exists distant_t" \
        -c "create index distant_t on distant (t)" -c "delete from distant where n % 50 = $1 % 50" -c "vacuum distant" \
        -c "insert into fleeting select n from generate_series(1, 100) n" \
        -c "insert into sketches select lo_from_bytea(0, decode(repeat(md5($1::text), 500), 'hex'))" \
        -c "with gone as (delete from sketches where id in (select id from sketches order by id offset 5) returning id) select lo_unlink(id) from gone" \
        -c "drop table if exists fresh_$odd" -c "create table fresh_$odd as select n, md5(n::text) as t from generate_series(1, 3000) n" \
        -c "select pg_switch_wal()" &&
    sql postgres -c "drop database if exists by_log_$odd" -c "create database by_log_$odd template still $(strategy wal_log)" &&
    sql postgres -c "drop database if exists by_copy_$odd" -c "create database by_copy_$odd template still $(strategy file_copy)" &&
    sql "by_copy_$odd" -c "insert into here values (-1, 'copied')" -c "create index on here (t)" &&
    sql "by_log_$odd" -c "update here set t = t || n" -c "vacuum full here"
}
# Each of these goes on when the server is gone for a while.
load_start() {
    local one
    rm -f "$T/load-stop"
    LOAD_PIDS=()
    for one in "-c 2 -R ${LOAD:-100}" "-c 1 -R ${LOAD:-100} -f $T/ledger.sql"; do
        # shellcheck disable=SC2086 # options are words
        (
            trap - EXIT INT TERM
            while [ ! -e "$T/load-stop" ]; do
                "$PG15/pgbench" -n -T 3600 $one postgres >>"$T/run/load.log" 2>&1 || sleep 0.1
            done
        ) 2>>"$T/run/load.log" &
        LOAD_PIDS+=("$!")
        echo "$!" >>"$T/pids"
    done
    echo 0 >"$PASSES"
    (
        trap - EXIT INT TERM
        pass=0
        while [ ! -e "$T/load-stop" ]; do
            pass=$((pass + 1))
            (churn_pass $pass) >>"$T/run/churn.log" 2>&1 && echo $pass >"$PASSES"
            sleep "${CHURN_PAUSE_S:-2}"
        done
    ) &
    LOAD_PIDS+=("$!")
    echo "$!" >>"$T/pids"
}
load_stop() {
    local pid child
    for pid in "${LOAD_PIDS[@]}"; do # until they are told to
        kill -0 "$pid" 2>/dev/null || fail "a writer ended by itself: $(tail -n 3 "$T/run/load.log" "$T/run/churn.log")"
    done
    touch "$T/load-stop"
    for pid in "${LOAD_PIDS[@]}"; do
        while kill -0 "$pid" 2>/dev/null; do # one may just be about to begin another pgbench
            for child in $(pgrep -P "$pid" -x pgbench || true); do kill "$child" 2>/dev/null || true; done
            sleep 0.1
        done
        wait "$pid" 2>/dev/null || true
    done
}
passed() { [ "$(cat "$PASSES")" -gt "$1" ]; }
churned() { # everything has been turned over once more
    local from
    from=$(cat "$PASSES")
    wait_for 60 passed "$((from + 1))"
}
of_source() { # CMD…, until it answers: while one backup is judged the server may be stopped for the next one
    local until=$((SECONDS + 60))
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$until" ] || fail "the source does not answer: $*"
        sleep 0.2
    done
}
ledger() { sql postgres -c "select coalesce(max(n), 0) from ledger"; }

# ---- backups ------------------------------------------------------------------------------------------------------
backup_spec() { # NAME [LINE…]
    local name=$1
    shift
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n  cleanPolicy: Delete\n' "$name" "$REPO"
    printf '  %s\n' "br: {cluster: test, concurrency: 2, rateLimit: ${RATE:-10}${BR:+, $BR}}" "rangeSize: ${RANGE:-2MiB}" "$@"
    [ -z "${AUTO:-}" ] || printf '  %s\n' "backoffRetryPolicy: {minRetryDuration: 1s, maxRetryTimes: 20}"
}
backup() {
    backup_spec "$@" >"$T/$1.yaml"
    prepare "start-$1"
    expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"
}
of() { tidemark get backup "$1" -o json | jq -r "$2"; }
id_of() { basename "$(of "$1" '.status.backupPath // ""')"; }
dir_of() { of "$1" .status.backupPath | sed 's|^file://||'; }
begun() { [ "$(of "$1" '.status.progress.rangesDone // 0')" -ge 1 ]; }
phase_is() { [ "$(of "$1" .status.phase)" = "$2" ]; } # NAME PHASE
delete_backup() {
    gone() { ! tidemark get backup "$GONE"; }
    local gid
    for gid in $(prepared); do
        case $gid in *"-$1" | *"-$1-"*) sql postgres -c "rollback prepared '$gid'" ;; esac
    done
    GONE=$1
    tidemark delete backup "$1" --grace 0 >/dev/null
    wait_for 60 gone
}

# What the checkpoints of the backup in DIR have: the data objects, their names and bytes, one a line.
in_checkpoints() { "$TOP/tests/integration/format_reader.py" --checkpointed "$1" | sort; }
objects_of() { # DIR FILE: those data objects of the ranges of FILE's that there are
    (cd "$1/data" && find . -type f ! -name '.*' | sed 's|^\./||' | sort) | grep -F -f <(sed 's/-.*/-/' "$2") || true
}
enough_stored() { [ "$(in_checkpoints "$(dir_of "$1")" | wc -l)" -ge "${2:-2}" ] || phase_is "$1" Complete; }
checkpointed() {
    wait_for 60 enough_stored "$@"
    ! phase_is "$1" Complete || fail "$1 was over too soon"
}

slots() { sql postgres -c "select count(*) from pg_replication_slots where slot_name like 'tidemark_b_%'"; }
no_holds() { [ "$(slots)" = 0 ] && ! grep -qsa tidemark_b_ "$T"/agent*/holds; }
note_stored() { # NAME: what is not to be read again
    ID=$(id_of "$1")
    in_checkpoints "$(dir_of "$1")" >"$T/noted"
    cut -d' ' -f1 "$T/noted" >"$T/stored-$1"
    STORED_BYTES=$(awk '{sum += $2} END {print sum + 0}' "$T/noted")
}
kill_session() {
    sql postgres -c "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where application_name like 'tidemark%' and backend_type = 'client backend'"
}
INTERRUPTIONS=0
interrupt() {
    local kind=$1 name=$2
    prepare "between-$name-$((++INTERRUPTIONS))" # stays open until the backup is deleted
    case $kind in
    agent)
        agent_kill
        note_stored "$name"
        agent_start
        ;;
    both)
        coordinator_kill
        agent_kill
        coordinator_start
        note_stored "$name"
        agent_start
        ;;
    runner)
        note_stored "$name"
        runner_pids | xargs -r kill -9 2>/dev/null || true
        ;;
    session)
        note_stored "$name"
        [ "$(kill_session)" -ge 1 ] || fail "no session to end"
        ;;
    server)
        note_stored "$name"
        postgres_stop "$MAJOR" "$SOURCE" immediate
        sleep "${DOWN_S:-1}"
        postgres_start "$MAJOR" "$SOURCE"
        ;;
    *) fail "interrupt: '$kind'" ;;
    esac
}
kept() { # NAME: it failed, and may be gone on with
    tidemark wait backup "$1" --for=Failed --timeout=120s || fail "$1: $(of "$1" .status)"
    expect_out Resumable of "$1" '.status.conditions[] | select(.type == "Failed") | .reason'
    expect_out "$ID" id_of "$1"
    expect_out 1 slots
}
ask_again() {
    wait_for 30 node_is primary
    tidemark backup resume "$1" --no-wait >/dev/null
}
completes() {
    tidemark wait backup "$1" --for=Complete --timeout=180s || fail "$1: $(of "$1" .status)"
}
not_read_again() { # NAME: what a checkpoint had when it was interrupted is all there is of those ranges
    local dir
    dir=$(dir_of "$1")
    objects_of "$dir" "$T/stored-$1" | diff "$T/stored-$1" - >"$T/again" || fail "$1: read again: $(cat "$T/again")"
    [ "$(of "$1" .status.attempt)" -gt 1 ] || return 0
    if [ "$(of "$1" '.status.progress | .rangesResumed // 0')" -lt "$(wc -l <"$T/stored-$1")" ] ||
        [ "$(of "$1" '.status.progress | .bytesResumed // 0')" -lt "$STORED_BYTES" ]; then
        fail "$1: $(of "$1" .status.progress), but $(wc -l <"$T/stored-$1") ranges, $STORED_BYTES bytes had a checkpoint"
    fi
}
resumed() {
    if [ -z "${AUTO:-}" ] && [ "${RETRY:-1}" = 1 ]; then
        kept "$1"
        ask_again "$1"
    fi
    completes "$1"
    [ -s "$T/stored-$1" ] || fail "$1 had nothing to go on with"
    expect_out "$ID" id_of "$1"
    not_read_again "$1"
    [ "$(of "$1" '.status.warnings // [] | map(select(test("started over|cannot be"))) | length')" = 0 ] ||
        fail "$1: $(of "$1" .status.warnings)"
    wait_for 30 no_holds
}

# ---- judging ------------------------------------------------------------------------------------------------------
restored() { # NAME: into $T/restore/NAME, its files looked at
    local dir=$T/restore/$1 space maps=()
    rm -rf "$dir"*
    for space in "${SPACES[@]}"; do maps+=(--tablespace-map "$space=$dir-$(basename "$space")"); done
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$REPO" --cluster test --backup "$(id_of "$1")" --data-dir "$dir" \
        "${maps[@]}" --threads 2 >"$T/restore.log" 2>&1 || fail "restore of $1: $(cat "$T/restore.log")"
    "$TOP/tests/integration/manifest_check.py" "$dir" >/dev/null || fail "manifest of $1"
    case $MAJOR in
    15) as_postgres "$PG15/pg_verifybackup" -q "$dir" || fail "pg_verifybackup of $1" ;;
    13 | 14 | 16) as_postgres "$PG15/pg_verifybackup" -q -n "$dir" || fail "pg_verifybackup of $1" ;; # its log another pg_waldump reads
    esac
}
amcheck() { # on RESTORED_PORT, every database but $UNCHANGED that can be connected to: one that was being dropped cannot
    local database indexes
    for database in $(sql postgres -c "select datname from pg_database where datallowconn and datconnlimit <> -2
        and datname <> all (string_to_array('${UNCHANGED:-}', ' '))"); do
        sql "$database" -c "set client_min_messages = warning" -c "create extension if not exists amcheck"
        if [ "$MAJOR" -ge 14 ]; then
            as_postgres env PGHOST="$PGHOST" PGPORT="$PGPORT" "$PG15/pg_amcheck" --no-password --heapallindexed --parent-check \
                "$database" || fail "pg_amcheck of $database"
        else
            indexes=$(sql "$database" -c "select count(bt_index_parent_check(c.oid, true)) from pg_class c
                join pg_am a on a.oid = c.relam where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p'")
            [ "$indexes" -gt 100 ] || fail "only $indexes indexes in $database"
        fi
    done
}
same_ledger() { # LOW HIGH: no hole, as much as there must be, and the source's word for word
    local got
    got=$(PGPORT=$RESTORED_PORT sql postgres -c "select count(*), max(n), md5(string_agg(t, ',' order by n)) from ledger")
    IFS='|' read -r count last digest <<<"$got"
    if [ "$count" != "$last" ] || [ "$last" -lt "$1" ] || [ "$last" -gt "$2" ]; then
        fail "the ledger has $count to $last, of $1 to $2"
    fi
    expect_out "$digest" of_source sql postgres -c "select md5(string_agg(t, ',' order by n)) from ledger where n <= $last"
}
judge() { # NAME [LOW]: the ledger had so many before it was gone on with for the last time
    local dir=$T/restore/$1 high open
    high=$(of_source ledger)
    restored "$1"
    echo "port = $RESTORED_PORT" >>"$dir/postgresql.conf"
    PGPORT=$RESTORED_PORT postgres_start "$MAJOR" "$dir"
    expect_out "$QUIET" quiet_digest "$RESTORED_PORT"
    PGPORT=$RESTORED_PORT expect_out 0 sql postgres -c "select count(*) from fleeting"
    PGPORT=$RESTORED_PORT expect_out t sql postgres -c "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)
        and (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history)
        and (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)"
    same_ledger "${2:-1}" "$high"
    open=$(PGPORT=$RESTORED_PORT prepared)
    case ${BESIDE:-alone} in # transactions of other backups begin and end meanwhile
    1) [[ " $open " == *" start-$1 "* ]] || fail "$1: of '$(prepared)' there is '$open'" ;;
    *) expect_out "$open" prepared ;;
    esac
    # shellcheck disable=SC2086
    PGPORT=$RESTORED_PORT commit_prepared $open
    PGPORT=$RESTORED_PORT amcheck
    postgres_stop "$MAJOR" "$dir"
    pages_are_good "$MAJOR" "$dir"
    rm -rf "$dir"*
}
