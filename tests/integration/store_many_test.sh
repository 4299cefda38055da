#!/usr/bin/env bash
# Very many objects under one prefix of an object store: listing, and deleting the one backup they belong to, take no
# more memory than few objects do. MANY_OBJECTS=5000 (tests/fault/store_many_test.sh takes 100,000).
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/memory.sh"
stores_need ceph
OBJECTS=${MANY_OBJECTS:-5000}
LIMIT_KIB=65536

alone() { # CMD [OPTION…]: with its memory watched
    local verb=$1
    shift
    spawn "$T/$verb.log" "$BUILD/tidemark-agent" "$verb" --storage "$URL" --secret-file "$T/keys.txt" "$@"
    memory_watch "$SPAWNED" "$verb"
    wait "$SPAWNED" || fail "$verb: $(cat "$T/$verb.log")"
    memory_end
}
stored() { as_postgres "$BUILD/tests/integration/storage_tool" --secret "$T/keys.txt" "$URL" "$@"; }

ceph_start
s3 PUT /bucket
(umask 077 && printf '%s\n' "access_key=$S3_ACCESS" "secret_key=$S3_SECRET" >"$T/keys.txt")
chown postgres "$T/keys.txt"
URL="s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTP"
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=20 bytes=20000 log=30000"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
tidemark create secret keys --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=$S3_SECRET" >/dev/null
for name in many kept; do
    tidemark backup $name --cluster test --storage "$URL" --secret keys --clean-policy Delete >/dev/null
done
path=$(tidemark get backup many -o json | jq -r .status.backupPath)
kept=$(basename "$(tidemark get backup kept -o json | jq -r .status.backupPath)")
path=${path#s3://bucket/shop/}
before=$(stored list | wc -l)

step "$OBJECTS objects below one backup, named as a runner that was lost names them"
real=$(stored list "$path/data/" | sed -n 1p | cut -d' ' -f1)
suffix=${real##*/data/????????}
began=$SECONDS
stored fill "$path/data/" "${suffix%?}$([ "${suffix: -1}" = 0 ] && echo 1 || echo 0)" "$OBJECTS"
echo "   made in $((SECONDS - began)) s"

step "listed"
began=$SECONDS
alone list
[ "$(grep -c committed "$T/list.log")" = 2 ] || fail "$(cat "$T/list.log")"
expect_out $((before + OBJECTS)) eval 'stored list | wc -l'
memory_below list $LIMIT_KIB
alone verify --cluster test
memory_below verify $LIMIT_KIB
echo "   in $((SECONDS - began)) s"

step "deleted: all of that backup, nothing else"
memory_watch "$AGENT_PID" agent
memory_watch "$AGENT_PID" children
gone() { ! tidemark get backup many; }
began=$SECONDS
tidemark delete backup many --grace 0 >/dev/null
wait_for 600 gone
memory_end
memory_below agent $LIMIT_KIB
[ "$(memory_of children)" = 0 ] || memory_below children $LIMIT_KIB # the agent may do without
echo "   in $((SECONDS - began)) s"
expect_out "$path/deleted.mpk" eval "stored list '$path/' | cut -d' ' -f1"
alone verify --cluster test --backup "$kept"
