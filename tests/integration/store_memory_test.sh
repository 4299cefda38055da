#!/usr/bin/env bash
# How much memory a backup and a restore take in an object store: 64 MiB and the parts that are under way, however big
# the objects are.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/memory.sh"
stores_need ceph
PARTS=5 PART_KIB=8192 # of each thread's object: four parts under way, one being filled
STEADY_KIB=16384 # what runs may differ by: how many parts were under way, what the allocator keeps

ceph_start
s3 PUT /bucket
(umask 077 && printf '%s\n' "access_key=$S3_ACCESS" "secret_key=$S3_SECRET" >"$T/keys.txt")
chown postgres "$T/keys.txt"
install -d -o postgres -g postgres "$T/restore"
URL="s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTP"
coordinator_start

round() { # NAME MB THREADS: one big file, backed up and restored
    local id name=$1 bytes=${2}000000 threads=$3 limit_kib=$((65536 + $3 * PARTS * PART_KIB))
    agent_config "$T/data"
    sed -i "s/engine: postgres/engine: \"null\"/; s|conninfo:.*|conninfo: \"files=100 bytes=20000 big=$bytes log=30000\"|" "$T/agent.yaml"
    agent_start
    wait_for 20 node_is primary
    tidemark create secret keys --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=$S3_SECRET" >/dev/null
    memory_watch "$AGENT_PID" children
    tidemark backup "$name" --cluster test --storage "$URL" --secret keys --compression none --concurrency "$threads" \
        --clean-policy Delete >/dev/null
    memory_end
    mv "$T/memory.children" "$T/memory.backup-$name"
    [ "$(tidemark get backup "$name" -o json | jq .status.backupSize)" -ge "$bytes" ] || fail "it is stored smaller than it is"
    memory_below "backup-$name" $limit_kib
    id=$(basename "$(tidemark get backup "$name" -o json | jq -r .status.backupPath)")
    spawn "$T/restore.log" "$BUILD/tidemark-agent" restore -q --storage "$URL" --secret-file "$T/keys.txt" --cluster test \
        --backup "$id" --data-dir "$T/restore/$name" --threads "$threads"
    memory_watch "$SPAWNED" "restore-$name"
    wait "$SPAWNED" || fail "the restore failed: $(cat "$T/restore.log")"
    memory_end
    memory_below "restore-$name" $limit_kib
    rm -rf "$T/restore/$name"
    tidemark delete backup "$name" --grace 0 >/dev/null
    gone() { ! tidemark get backup "$GONE"; }
    GONE=$name
    wait_for 30 gone
    agent_kill TERM
}
steady() { # WHAT
    [ -n "${TIDEMARK_SANITIZED:-}" ] || [ $(($(memory_of "$1-big") - $(memory_of "$1-small"))) -lt $STEADY_KIB ] ||
        fail "with three times as much data $1 takes more memory: $(memory_of "$1-small") and $(memory_of "$1-big") KiB"
}

step "130 MB and 400 MB by one thread: the same"
round small 130 1
round big 400 1
steady backup
steady restore

step "by two threads: twice the parts, no more"
round wide 400 2
