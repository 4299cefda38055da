#!/usr/bin/env bash
# The storage format: what PostgreSQL's backup leaves in a repository is read by a second reader, written from the
# specification alone; and every kind of damage to any object is found and named by verify and restore.
set -euo pipefail
. "$(dirname "$0")/../lib/harness.sh"
READER=$TOP/tests/integration/format_reader.py

step "objects of the first version"
expect_out '{"objects": 14, "kinds": ["checkpoint", "chunk", "data", "identity", "lineage", "log index", "mark", "plan", "repository", "segment", "tombstone", "truncation", "writer"]}' \
    "$READER" --object "$TOP"/tests/corpus/object/object-*

step "a backup, read by the second reader"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
sql postgres -c "create table t as select g, md5(g::text) from generate_series(1, 20000) g" -c checkpoint
daemons_start "$T/source"
cat >"$T/backup.yaml" <<X
apiVersion: tidemark/v1
kind: Backup
metadata: {name: one}
spec:
  br: {cluster: test, concurrency: 2}
  local: {path: $T/repo}
X
expect_out "backup/one created" tidemark apply -f "$T/backup.yaml"
tidemark wait backup one --for=Complete --timeout=120s
daemons_stop
"$READER" "$T/repo" >"$T/read.json" || fail "the second reader refuses the repository"
cat "$T/read.json"
expect_json "$T/read.json" '.backups == 1 and .ranges > 1 and .files > 900 and .logBytes > 0' true

step "damage is found and named"
verify() { as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" --cluster test; }
verify || fail "verify finds fault with a good backup"
damaged=0
while IFS= read -r object; do
    cp -p "$object" "$T/good"
    size=$(stat -c %s "$object")
    for damage in flip cut grow gone; do
        case $damage in
        flip)
            at=$((RANDOM * 32768 + RANDOM))
            at=$((at % size))
            byte=$(od -An -tu1 -j "$at" -N 1 "$object")
            printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$object" bs=1 seek="$at" conv=notrunc status=none
            ;;
        cut) truncate -s $((size - 1)) "$object" ;;
        grow) printf x >>"$object" ;;
        gone) rm "$object" ;;
        esac
        expect_fail 1 "${object##*/}" verify
        cp -p "$T/good" "$object"
        damaged=$((damaged + 1))
    done
done < <(find "$T/repo" -path '*/backup/*' -type f ! -path '*/plan/*' ! -name manifest.mpk | shuf -n 4)
manifest=$(find "$T/repo" -name manifest.mpk)
cp -p "$manifest" "$T/good"
for at in 0 200 $(($(stat -c %s "$manifest") - 1)); do
    printf '\xff' | dd of="$manifest" bs=1 seek="$at" conv=notrunc status=none
    cmp -s "$manifest" "$T/good" || expect_fail 1 manifest.mpk verify
    cp -p "$T/good" "$manifest"
done
[ "$damaged" -eq 16 ] || fail "$damaged damages instead of 16"
verify || fail "verify finds fault with a repaired backup"
