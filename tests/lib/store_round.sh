# shellcheck shell=bash
# Sourced behind harness.sh and log_kill.sh: a whole round of backups in an object store, the same for each kind of
# store. The test starts the store and says how it is reached:
#
#   URL         where the backups go, for daemons and tools
#   SECRET      KEY=VALUE… that get in
#   objects PREFIX   prints the names of what is below a prefix of the bucket, one a line, without the code under test
#
#   round_start            source under load with a ledger, daemons, secret `keys`, log backup `wal`, full backup `full`
#   round_moment           a moment: $MOMENT and what the ledger held then, $THEN; waits until it is stored
#   round_restores_exactly DIR CMD…   the restore by CMD holds at $MOMENT what the ledger held, no more and no less
#   round_alone CMD…       tidemark-agent CMD with URL and a file of secrets
#   round_all              everything, in order
. "$TOP/tests/lib/log_kill.sh"
. "$TOP/tests/lib/memory.sh"

round_alone() { # CMD [OPTION…]
    local verb=$1
    shift
    as_postgres "$BUILD/tidemark-agent" "$verb" --storage "$URL" --secret-file "$T/keys.txt" "$@"
}
of() { tidemark get backup "$1" -o json | jq -r "$2"; } # NAME JQ
path_of() { of "$1" .status.backupPath | sed 's|^[a-z0-9]*://[^/]*/||'; }

round_start() {
    local key
    install -d -o postgres -g postgres "$T/restore"
    postgres_init 15 "$T/source" -k
    printf '%s\n' "wal_keep_size = 1GB" "log_timezone = UTC" "shared_buffers = 32MB" >>"$T/source/postgresql.conf"
    postgres_start 15 "$T/source"
    sql postgres -c "create table ledger (id bigserial primary key, client int)"
    pgbench -i -q -s "${SCALE:-2}" postgres >/dev/null 2>&1
    coordinator_start
    agent_config "$T/source"
    agent_start
    wait_for 20 node_is primary
    (umask 077 && printf '%s\n' "${SECRET[@]}" >"$T/keys.txt")
    chown postgres "$T/keys.txt"
    local literals=()
    for key in "${SECRET[@]}"; do literals+=(--from-literal "$key"); done
    tidemark create secret keys "${literals[@]}" >/dev/null
    tidemark log start wal --cluster test --storage "$URL" --secret keys --flush-interval 500ms >/dev/null
    ledger_start
    tidemark backup full --cluster test --storage "$URL" --secret keys --checksum --clean-policy Delete >"$T/full.out"
    expect_out Complete of full .status.phase
}

# While the table is locked none of the ledger's commits is under way, and for a while behind the moment none comes.
round_moment() {
    local got
    got=$(sql postgres <<'X'
begin;
lock table ledger in share mode;
select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
select count(*), md5(string_agg(id::text, ',' order by id)) from ledger;
select pg_sleep(0.05);
commit;
X
    )
    MOMENT=$(sed -n 1p <<<"$got") THEN=$(sed -n 2p <<<"$got")
    [ "${THEN%%|*}" -gt 10 ] || fail "next to nothing is in the ledger: $THEN"
    wait_for 30 is_safe "$MOMENT"
}
round_restores_exactly() { # DIR CMD…; CMD starts it on the next port
    local dir=$1 port=$((PGPORT + 1))
    shift
    printf '15 %s\n' "$dir" >"$(mark_of "$dir")"
    "$@" >"$T/restore.log" 2>&1 || fail "$*: $(cat "$T/restore.log")"
    PGPORT=$port expect_out "$THEN" ledger_sum
    PGPORT=$port expect_out t sql postgres -c "select (select sum(abalance) from pgbench_accounts) =
        (select coalesce(sum(delta), 0) from pgbench_history)"
    postgres_stop 15 "$dir" immediate
    rm -rf "$dir"
}
round_restore_by_daemons() { # NAME TARGET
    round_restores_exactly "$T/restore/$1" tidemark restore "$1" --backup wal --to "$2" --data-dir "$T/restore/$1" \
        --start --port $((PGPORT + 1))
}
round_restore_alone() { # NAME TARGET
    round_restores_exactly "$T/restore/$1" round_alone restore -q --cluster test --data-dir "$T/restore/$1" --to "$2" \
        --start --port $((PGPORT + 1)) --set "unix_socket_directories=$T/run"
}

swept() { [ "$(objects "$1/" | awk '!/\/deleted.mpk$/' | wc -l)" = 0 ]; } # PATH: nothing of a backup is there
is_running() { [ "$(of "$1" .status.phase)" = Running ] && [ "$(of "$1" '.status.progress.rangesDone // 0')" -ge 1 ]; }
# The runner's work is taken up where it was. With the agent the database's session goes: the backup goes on in another
# one, and what a checkpoint had is not stored again; without checkpoints nothing of it stays.
round_kill_in_backup() {
    local runners path stored
    runner_pids | sort >"$T/runners"
    tidemark backup torn --cluster test --storage "$URL" --secret keys --rate-limit 12 --no-wait >/dev/null
    wait_for 30 is_running torn
    runners=$(runner_pids | sort | comm -13 "$T/runners" -) # the log's was there before
    [ "$(wc -w <<<"$runners")" = 1 ] || fail "the backup has the runners '$runners'"
    kill -9 "$runners"
    tidemark wait backup torn --for=Complete --timeout=120s
    round_alone verify --cluster test --backup "$(basename "$(path_of torn)")" >/dev/null

    tidemark get backup torn -o json | jq '{apiVersion, kind, metadata: {name: "taken-up"},
        spec: (.spec | .rangeSize = "2MiB" | .br.rateLimit = 4)}' >"$T/taken-up.yaml"
    tidemark apply -f "$T/taken-up.yaml" >/dev/null
    wait_for 30 is_running taken-up
    path=$(path_of taken-up)
    has_checkpoint() { [ "$(objects "$path/checkpoint/" | wc -l)" -ge 2 ]; } # the first says but plan and start
    wait_for 30 has_checkpoint
    agent_kill
    objects "$path/data/" | sort >"$T/data"
    agent_start
    tidemark wait backup taken-up --for=Failed --timeout=120s
    expect_out Resumable of taken-up '.status.conditions[] | select(.type == "Failed") | .reason'
    tidemark backup resume taken-up --no-wait >/dev/null
    tidemark wait backup taken-up --for=Complete --timeout=120s
    expect_out "$path" path_of taken-up
    stored=$(of taken-up '.status.progress.rangesResumed // 0')
    [ "$stored" -ge 1 ] && [ "$(objects "$path/data/" | sort | comm -12 "$T/data" - | wc -l)" -ge "$stored" ] ||
        fail "of $(wc -l <"$T/data") objects $stored were taken up: $(objects "$path/data/")"
    round_alone verify --cluster test --backup "$(basename "$path")" >/dev/null

    tidemark backup lost --cluster test --storage "$URL" --secret keys --rate-limit 12 --no-checkpoint --no-wait >/dev/null
    wait_for 30 is_running lost
    path=$(path_of lost)
    [ -n "$(objects "$path/")" ] || fail "nothing is stored below '$path' yet"
    agent_kill
    agent_start
    tidemark wait backup lost --for=Failed --timeout=120s
    wait_for 60 swept "$path"
}
round_kill_in_log() {
    local n mark
    for n in 1 2 3; do
        sleep 0.$((n * 3))
        if [ $n = 2 ]; then
            wait_for 10 runner_there
            runner_pids | xargs -r kill -9 2>/dev/null || true # it may just have ended
        else
            agent_kill
            agent_start
        fi
    done
    mark=$(now_by_source)
    wait_for 60 is_safe "$mark"
    expect_out Running of wal .status.phase
}

chunks() { objects shop/test/ | grep -v /backup/ | grep /chunk/ | sort; }
round_truncate() { # what is before a moment that nothing needs any more
    local would
    chunks >"$T/chunks"
    would=$(tidemark log truncate wal --until "$1" --force --dry-run)
    would=${would#*would remove }
    would=${would%% chunk*}
    [ "$would" -gt 0 ] || fail "nothing to truncate"
    tidemark log truncate wal --until "$1" --force --grace 1s >/dev/null
    truncated() { [ "$(chunks | comm -23 "$T/chunks" - | wc -l)" = "$would" ]; }
    wait_for 30 truncated
}

round_all() {
    local path end
    step "a full backup and a log backup under load; what is asked of the store is shown"
    round_start
    memory_watch "$AGENT_PID" children
    tidemark describe backup wal | finds "^  db-a: [1-9][0-9]* requests, .* at once" || fail "$(tidemark describe backup wal)"
    round_moment

    step "to a moment, by the daemons and with storage alone"
    round_alone list >"$T/list"
    grep -q "^$(basename "$(path_of full)") .* committed" "$T/list" || fail "$(cat "$T/list")"
    round_restore_by_daemons one "$MOMENT"
    round_restore_alone two "$MOMENT"
    memory_end
    memory_below children $((65536 + 2 * 5 * 8192)) # runners of log and restore; two threads, five parts each

    step "the agent is killed inside a backup and inside the log: both go on"
    round_kill_in_backup
    round_kill_in_log
    ledger_stop
    round_moment
    round_restore_alone three latest # neither lost nor doubled, to the last
    end=$MOMENT

    step "a backup is deleted, all of it and nothing else"
    path=$(path_of full)
    [ "$(objects "$path/data/" | wc -l)" -ge 1 ] || fail "no data below '$path'"
    round_delete full "$path"
    round_alone verify --cluster test >/dev/null || fail "what is left is damaged"

    step "log is truncated, and what is left restores"
    round_truncate "$(of torn .status.commitTs)"
    MOMENT=$end
    round_restore_alone four latest
    tidemark log stop wal >/dev/null
    daemons_stop
}
round_delete() { # NAME PATH
    local there
    gone() { ! tidemark get backup "$GONE"; }
    GONE=$1
    there=$(objects "$2/" | wc -l)
    tidemark delete backup "$1" >/dev/null
    waits() { [ "$(of "$GONE" '.status.timeRemoval // ""')" != "" ]; }
    wait_for 30 waits
    [ "$(objects "$2/" | wc -l)" = $((there + 1)) ] || fail "of $there objects: $(objects "$2/" | wc -l) with the tombstone"
    tidemark delete backup "$1" --grace 2s >/dev/null
    wait_for 60 gone
    swept "$2" || fail "left of '$2': $(objects "$2/" | head -n 5)"
}
