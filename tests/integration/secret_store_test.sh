#!/usr/bin/env bash
# Credentials that the coordinator sends, on real stores: a full backup, a log backup and their restore on Ceph RGW
# with a secret of the S3 kind, backups on Azurite with one of the Azure kind; keys that change while log is
# streamed; deletion; storage alone with a secret file. The null engine, no database.
. "$(dirname "$0")/../lib/harness.sh"
[ -e "$TOP/tests/lib/stores.sh" ] || skip "there is nothing that starts object stores: tests/lib/stores.sh"
. "$TOP/tests/lib/stores.sh"
stores_need ceph azurite

status() { tidemark get "$1" "$2" -o json | jq -r "$3"; }
node_up() { tidemark nodes | finds "db-a *up"; }
nowhere() { # neither of the stores' secrets is in a file of ours, but for the secrets' own and what the stores keep
    local word
    for word in "$S3_SECRET" "$AZURITE_KEY" "${NEW_SECRET:-$S3_SECRET}"; do
        grep -rlaF -e "$word" "$T/agent" "$T/coordinator" "$T"/agent.log "$T"/coordinator.log --exclude-dir=secrets &&
            fail "a secret is where it does not belong"
    done
    return 0
}
checkpoint() { status backup wal '.status.logCheckpointTs // ""'; }
moves() { # the checkpoint is later than $1
    [ "$(checkpoint)" \> "$1" ]
}

ceph_start
azurite_start
s3 PUT /bucket >/dev/null
az PUT '/container?restype=container' >/dev/null
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=200 bytes=20000 log=300000"|' "$T/agent.yaml"
install -d -o postgres -g postgres "$T/restore"
agent_start
wait_for 20 node_is primary
URL="s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTP"

step "a full backup with a secret; how requests go is shown while it runs"
tidemark create secret s3-secret --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=$S3_SECRET" >/dev/null
tidemark backup first --cluster test --storage "$URL" --secret s3-secret >"$T/first.out"
expect_out Complete status backup first .status.phase
case $(status backup first .status.backupPath) in
s3://bucket/shop/test/main/*/backup/*) ;;
*) fail "$(status backup first .status.backupPath)" ;;
esac
nowhere

step "a log backup, and a restore from both"
tidemark log start wal --cluster test --storage "$URL" --secret s3-secret >/dev/null
was=''
moves_on() { moves "$was"; }
wait_for 60 moves_on
has_requests() { [ "$(status backup wal '.status.storage[0].requests // 0')" -gt 0 ]; }
wait_for 30 has_requests
expect_out db-a status backup wal '.status.storage[0].node'
[ "$(status backup wal '.status.storage[0].parallelMax')" -gt 0 ] || fail "$(status backup wal .status.storage)"
tidemark describe backup wal | finds "^  db-a: .* requests, .* at once, clock" || fail "$(tidemark describe backup wal)"
cat >"$T/restore.yaml" <<X
apiVersion: tidemark/v1
kind: Restore
metadata: {name: back}
spec: {br: {cluster: test}, backup: first, dataDir: $T/restore/one}
X
expect_out "restore/back created" tidemark apply -f "$T/restore.yaml"
tidemark wait restore back --for=Complete --timeout=120s
[ -e "$T/restore/one/STARTABLE" ] || fail "the restored directory cannot start"

step "a full backup in another bucket, of another user: the log task looks into it with the keys of that one"
OTHER_ACCESS=AKIATIDEMARKOTHER001 OTHER_SECRET=other/secret+of=the/tests0123456789012
ceph_user other "$OTHER_ACCESS" "$OTHER_SECRET"
s3 "$CEPH_HTTP" "$OTHER_ACCESS" "$OTHER_SECRET" -- PUT /fulls >/dev/null
expect_fail 22 AccessDenied s3 GET /fulls
FULLS="s3://fulls/shop?provider=ceph&endpoint=$CEPH_HTTP"
other_secret() { tidemark create secret other-secret --from-literal "access_key=$OTHER_ACCESS" --from-literal "secret_key=$1" >/dev/null; }
warned() { # the one place that cannot be read, and the store's reason; nothing when there is none
    tidemark get backup wal -o json | jq -r '.status.warnings // [] | map(select(startswith("backups in "))) | join("; ")'
}
unread() { [[ $(warned) = "backups in 's3://fulls/shop' cannot be read now, what was known of them counts: "*"$1"* ]]; }
all_read() { [ -z "$(warned)" ]; }
other_secret "$OTHER_SECRET"
tidemark backup second --cluster test --storage "$FULLS" --secret other-secret >/dev/null
expect_out Complete status backup second .status.phase
was=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)
wait_for 60 moves_on
all_read || fail "$(warned)"

step "keys that do not get into it are told, and the log goes on by the same runner; so it does when they are mended"
runner=$(runner_pids)
other_secret no-key-of-anybody
wait_for 60 unread SignatureDoesNotMatch
expect_fail 1 "backups in 's3://fulls/shop' cannot be read now, and may need the log" \
    tidemark log truncate wal --until "$was"
was=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)
wait_for 60 moves_on
other_secret "$OTHER_SECRET"
wait_for 60 all_read
expect_out "$runner" runner_pids
grep -rlaF -e "$OTHER_SECRET" "$T/agent" "$T"/agent.log "$T"/coordinator.log && fail "a secret is where it does not belong"

step "storage alone, with the credentials in a file"
printf 'access_key=%s\nsecret_key=%s\n' "$S3_ACCESS" "$S3_SECRET" >"$T/s3.txt"
chown postgres "$T/s3.txt"
chmod 644 "$T/s3.txt"
expect_fail 5 "chmod 600" as_postgres "$BUILD/tidemark-agent" list --storage "$URL" --secret-file "$T/s3.txt"
chmod 600 "$T/s3.txt"
as_postgres "$BUILD/tidemark-agent" list --storage "$URL" --secret-file "$T/s3.txt" | finds committed || fail "list shows no backup"
as_postgres "$BUILD/tidemark-agent" verify --storage "$URL" --secret-file "$T/s3.txt" --cluster test >/dev/null
as_postgres "$BUILD/tidemark-agent" restore --storage "$URL" --secret-file "$T/s3.txt" --cluster test --data-dir "$T/restore/two" -q
diff -r "$T/restore/one" "$T/restore/two" >/dev/null || fail "the two restores differ"
rm "$T/s3.txt"

step "new keys: the log goes on with them, by a new runner, when the old ones are gone"
NEW_ACCESS=AKIATIDEMARKROTATE01 NEW_SECRET=rotated/secret+of=the/tests01234567890123
user=$(radosgw-admin user list 2>/dev/null | jq -r '.[]' | head -n 1)
radosgw-admin key create --uid="$user" --key-type=s3 --access-key="$NEW_ACCESS" --secret-key="$NEW_SECRET" >/dev/null 2>&1
runner=$(runner_pids)
expect_out "secret/s3-secret configured" tidemark create secret s3-secret --from-literal "access_key=$NEW_ACCESS" --from-literal "secret_key=$NEW_SECRET"
another_runner() { [ -n "$(runner_pids)" ] && [ "$(runner_pids)" != "$runner" ]; }
wait_for 30 another_runner
radosgw-admin key rm --uid="$user" --key-type=s3 --access-key="$S3_ACCESS" >/dev/null 2>&1
expect_fail 22 InvalidAccessKeyId s3 GET /bucket
was=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ) # what is safe by then was stored with the new ones
wait_for 60 moves_on
nowhere

step "a key that is wrong is told in the store's words, without the key"
tidemark create secret wrong --from-literal "access_key=$NEW_ACCESS" --from-literal secret_key=not-the-secret >/dev/null
expect_fail 1 SignatureDoesNotMatch tidemark backup bad --cluster test --storage "$URL" --secret wrong
tidemark get backup bad -o json | grep -F not-the-secret && fail "its error tells the key"

step "Azure, and deletion with its data"
tidemark create secret az-secret --from-literal "AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" --from-literal "AZURE_STORAGE_KEY=$AZURITE_KEY" >/dev/null
tidemark backup blue --cluster test --storage "azblob://container/shop?endpoint=$AZURITE_HTTP" --secret az-secret --clean-policy Delete >/dev/null
expect_out Complete status backup blue .status.phase
expect_fail 1 "is named by backup/blue" tidemark delete secret az-secret
tidemark delete backup blue --grace 0 >/dev/null
gone() { ! tidemark get backup blue; }
wait_for 60 gone
az GET '/container?restype=container&comp=list' | finds "/data/" && fail "its data is still there"
expect_out "secret/az-secret deleted" tidemark delete secret az-secret
nowhere
