#!/usr/bin/env bash
# A backup that was interrupted goes on where it stopped: whatever was killed, what was stored is not read again,
# and what is restored is whole.
. "$(dirname "$0")/../lib/harness.sh"

REPO=$T/repo
backup_spec() { # NAME [MORE YAML LINES…]
    local name=$1
    shift
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  local: {path: %s}\n' "$name" "$REPO"
    printf '  %s\n' "br: {cluster: test, concurrency: 2, rateLimit: ${RATE:-20}${BR:+, $BR}}" "rangeSize: 8MiB" "$@"
}
apply() { backup_spec "$@" >"$T/$1.yaml" && expect_out "backup/$1 created" tidemark apply -f "$T/$1.yaml"; }
status() { tidemark get backup "$1" -o json | jq -r "$2"; }
done_ranges() { [ "$(status "$1" .status.progress.rangesDone)" -ge "$2" ]; }
slots() { sql postgres -c "select count(*) from pg_replication_slots where slot_name like 'tidemark_b_%'"; }
restores() { # NAME
    local id
    id=$(basename "$(status "$1" .status.backupPath)")
    rm -rf "$T/restore/$1"
    as_postgres "$BUILD/tidemark-agent" restore --storage "file://$REPO" --cluster test --backup "$id" \
        --data-dir "$T/restore/$1" >"$T/restore-$1.log" 2>&1 || fail "restore of $1: $(cat "$T/restore-$1.log")"
    "$TOP/tests/integration/manifest_check.py" "$T/restore/$1"
}

install -d -o postgres -g postgres "$T/restore" "$REPO"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
pgbench -i -q -s 15 postgres >/dev/null 2>&1
sql postgres -c checkpoint
daemons_start "$T/source"

step "kill -9 of the agent"
RATE=20 apply killed
wait_for 60 done_ranges killed 8
sleep 6
id=$(status killed .status.backupPath)
agent_kill
agent_start
tidemark wait backup killed --for=Failed --timeout=60s
expect_out Resumable status killed '.status.conditions[] | select(.type=="Failed") | .reason'
expect_out 1 slots
find "$REPO" -path '*checkpoint*' -type f | head
tidemark retry backup killed
RATE=1000
tidemark wait backup killed --for=Complete --timeout=120s || { tidemark describe backup killed; tail -30 "$T/agent.log"; fail no; }
expect_out "$id" status killed .status.backupPath
tidemark describe backup killed
restores killed
gone() { [ "$(slots)" = 0 ]; }
wait_for 20 gone
