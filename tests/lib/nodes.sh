# Sourced behind harness.sh by tests of a cluster of several servers, each with an agent of its own.
#
#   cluster_make MAJOR COUNT     servers 1 to COUNT: 1 is the primary, the others stream from it
#   standbys_make COUNT          servers 2 to COUNT, which stream from server 1, as copies of it; $MAJOR_OF_NODES is set
#   cluster_daemons COUNT        coordinator, and an agent (node db-N) beside each of the first COUNT servers
#   cluster_clear                ends and removes all of that
#   on N CMD…                    with the port of server N: on 2 sql postgres -c …
#   copy_make FROM N             server N, a copy of server FROM, which is stopped for it; not started
#   standby_conf FROM N          server N shall stream from server FROM
#   server_start N · server_stop N [MODE] · promote N
#   agent_on N [LINE…] · agent_off N [SIGNAL]   with more lines of its agent.yaml
#   host_dies N                  agent and server end by -9, and the disk is gone (it is $T/gone-N)
#   ledger_start N CLIENTS · ledger_stop   clients that note what the server acknowledged
#   ledger_sum PORT              count and digest of the rows
#   all_acknowledged_in PORT     fails when a row that was acknowledged is not there
#   restore_begin TARGET [options] · restore_end   from storage alone; it runs on $RESTORED_PORT between the two
#   restore_to TARGET [options]  both, and prints the ledger's sum
MAJOR_OF_NODES=
AGENTS=()
COORDINATOR_URLS=() # by server; network.sh sets these two
NETWORKS=()
LEDGERS=()
RESTORED=$T/restore/one
RESTORED_PORT=$((PGPORT + 19))

port_of() { echo $((PGPORT + $1 - 1)); }
data_of() { echo "$T/n$1"; }
on() {
    local n=$1
    shift
    PGPORT=$(port_of "$n") "$@"
}
server_start() { on "$1" postgres_start "$MAJOR_OF_NODES" "$(data_of "$1")"; }
server_stop() { postgres_stop "$MAJOR_OF_NODES" "$(data_of "$1")" "${2:-fast}"; }
promote() { on "$1" sql postgres -c "select pg_promote()" | grep -qx t || fail "server $1 is not promoted"; }

standby_conf() { # FROM N
    cat >>"$(data_of "$2")/postgresql.conf" <<X
port = $(port_of "$2")
primary_conninfo = 'host=$T/run port=$(port_of "$1") user=postgres application_name=n$2'
X
    as_postgres touch "$(data_of "$2")/standby.signal"
}
copy_make() { # FROM N
    server_stop "$1"
    cp -a "$(data_of "$1")" "$(data_of "$2")"
    rm -rf "$(data_of "$2")"/pg_replslot/*
    echo "port = $(port_of "$2")" >>"$(data_of "$2")/postgresql.conf"
    server_start "$1"
}
streams_from() { # FROM N
    [ "$(on "$1" sql postgres -c "select count(*) from pg_stat_replication where application_name = 'n$2' and state = 'streaming'")" = 1 ]
}
spaces_copy() { # N: a tablespace of server N is its own, where its copy's link leads to, with -N behind
    local link place
    for link in "$(data_of "$1")"/pg_tblspc/*; do
        [ -L "$link" ] || continue
        place=$(readlink "$link")
        cp -a "$place" "$place-$1"
        as_postgres ln -sfn "$place-$1" "$link"
    done
}
standbys_make() { # COUNT
    local n
    server_stop 1
    for ((n = 2; n <= $1; n++)); do
        cp -a "$(data_of 1)" "$(data_of "$n")"
        spaces_copy "$n"
        standby_conf 1 "$n"
    done
    for ((n = 1; n <= $1; n++)); do server_start "$n"; done
    for ((n = 2; n <= $1; n++)); do wait_for 30 streams_from 1 "$n"; done
}
cluster_make() { # MAJOR COUNT
    MAJOR_OF_NODES=$1
    postgres_init "$1" "$(data_of 1)"
    printf '%s\n' "wal_keep_size = 64MB" "log_timezone = UTC" "timezone = UTC" "wal_retrieve_retry_interval = 200ms" \
        >>"$(data_of 1)/postgresql.conf"
    server_start 1
    sql postgres -c "create table ledger (id bigserial primary key, client int,
        xid bigint default pg_current_xact_id()::text::bigint, filler text default repeat(md5(random()::text), 4))"
    pgbench -i -q -s 1 postgres >"$T/pgbench-init.log" 2>&1
    standbys_make "$2"
}

agent_on() { # N [LINE…]
    install -d -o postgres -g postgres -m 700 "$T/agent-$1"
    install -d -o postgres -g postgres "$T/restore"
    cat >"$T/agent-$1.yaml" <<X
coordinators: [${COORDINATOR_URLS[$1]:-tcp://127.0.0.1:$AGENT_PORT}]
cluster: test
node: db-$1
state_dir: $T/agent-$1
instances:
  - tenant: main
    engine: postgres
    data_dir: $(data_of "$1")
    conninfo: "host=$T/run port=$(port_of "$1") user=postgres dbname=postgres"
restore_roots: [$T/restore]
X
    printf '%s\n' "${@:2}" >>"$T/agent-$1.yaml"
    SPAWN_NET=${NETWORKS[$1]:-} spawn "$T/agent-$1.log" "$BUILD/tidemark-agent" -c "$T/agent-$1.yaml"
    AGENTS[$1]=$SPAWNED
}
agent_off() { end_process "${AGENTS[$1]}" "${2:-TERM}"; }
nodes_are() { [ "$(tidemark nodes | grep -c 'primary\|standby')" = "$1" ]; }
cluster_daemons() { # COUNT
    local n
    install -d -o postgres -g postgres "$T/repo"
    coordinator_start
    for ((n = 1; n <= $1; n++)); do agent_on "$n"; done
    wait_for 20 nodes_are "$1"
}
server_dies() { # N
    kill -KILL "$(head -n 1 "$(data_of "$1")/postmaster.pid")"
    rm -f "$(mark_of "$(data_of "$1")")"
}
host_dies() { # N
    server_dies "$1"
    [ -z "${AGENTS[$1]:-}" ] || agent_off "$1" KILL
    mv "$(data_of "$1")" "$T/gone-$1"
}
cluster_clear() {
    local n
    for n in "${!AGENTS[@]}"; do ! kill -0 "${AGENTS[$n]}" 2>/dev/null || agent_off "$n"; done
    AGENTS=()
    coordinator_kill TERM
    for n in "$T"/.postgres-*; do
        [ ! -e "$n" ] || postgres_stop "$MAJOR_OF_NODES" "$(cut -d' ' -f2- "$n")" immediate
    done
    rm -rf "$T"/n[0-9]* "$T"/gone-* "$T/repo" "$T/restore" "$T"/agent-* "$T/coordinator" "$T"/acked*
}

of_wal() { tidemark get backup wal -o json | jq -r "$1"; }
leads() { [ "$(of_wal .status.node)" = "db-$1" ] && [ "$(of_wal .status.phase)" = Running ]; }
now_of() { on "$1" sql postgres -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"; }
is_safe() { [[ $(of_wal ".status.logCheckpointTs // empty") > $1 ]]; }
wait_safe() { # N: all of this moment, by that server's clock
    local mark
    mark=$(now_of "$1")
    wait_for 30 is_safe "$mark"
}
agent_list() { as_postgres "$BUILD/tidemark-agent" list --storage "file://$T/repo" -o json; }

ledger_client() { # N CLIENT
    while [ -e "$T/ledger-on" ]; do echo "insert into ledger (client) values ($2) returning id;"; done 2>/dev/null |
        on "$1" sql postgres >>"$T/acked-$1-$2" 2>>"$T/ledger.log" || true
}
ledger_start() { # N CLIENTS
    local client
    touch "$T/ledger-on"
    for ((client = 0; client < $2; client++)); do
        ledger_client "$1" "$client" &
        LEDGERS+=($!)
    done
}
ledger_stop() { # the statements under way end first
    rm "$T/ledger-on"
    wait "${LEDGERS[@]}"
    LEDGERS=()
}
acknowledged() { cat "$T"/acked-* | grep -c .; }
all_acknowledged_in() { # PORT
    local lost
    cat "$T"/acked-* | sort -u >"$T/acked.sorted"
    [ -s "$T/acked.sorted" ] || fail "nothing was acknowledged"
    PGPORT=$1 sql postgres -c "select id from ledger" | sort -u >"$T/ledger.sorted"
    lost=$(comm -23 "$T/acked.sorted" "$T/ledger.sorted")
    [ -z "$lost" ] || fail "acknowledged and lost: $(echo "$lost" | wc -l) of $(wc -l <"$T/acked.sorted"): $(echo "$lost" | sort -n | sed -n '1p;$p' | xargs)"
}
ledger_sum() { # PORT
    PGPORT=$1 sql postgres -c "select count(*) || ' ' || md5(coalesce(string_agg(id::text || ':' || xid::text, ',' order by id), '')) from ledger"
}

restore_begin() { # TARGET [options]
    local target=$1
    shift
    rm -rf "$RESTORED"
    as_postgres "$BUILD/tidemark-agent" restore -q --storage "file://$T/repo" --cluster test --data-dir "$RESTORED" \
        --to "$target" --start --port "$RESTORED_PORT" --set unix_socket_directories="$T/run" \
        --set tidemark.bindir="$(bindir "$MAJOR_OF_NODES")" "$@" >"$T/restore.log" 2>&1 ||
        fail "restore to $target: $(cat "$T/restore.log")"
    printf '%s %s\n' "$MAJOR_OF_NODES" "$RESTORED" >"$(mark_of "$RESTORED")"
}
restore_end() { postgres_stop "$MAJOR_OF_NODES" "$RESTORED" immediate; }
restore_to() { # TARGET [options]
    restore_begin "$@"
    ledger_sum "$RESTORED_PORT"
    restore_end
}
restored_timeline() {
    PGPORT=$RESTORED_PORT sql postgres -c "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
}
