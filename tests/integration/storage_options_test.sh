#!/usr/bin/env bash
# What a spec may ask of an S3 store for its objects, by a real one, Ceph RGW: encryption with a key of its KMS, ACL,
# storage class, keys with a session token. What the store does not know or refuses is told, and nothing is stored in
# another way than it was asked for.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
stores_need ceph
TOOL=$BUILD/tests/integration/storage_tool

secret() { # FILE LINE…
    (umask 077 && printf '%s\n' "${@:2}" >"$1")
}
by_tls() { s3 "$CEPH_HTTPS" "$S3_ACCESS" "$S3_SECRET" -- "$@"; } # what is encrypted is not given out without
with() { # OPTIONS VERB…: by the test's own keys over TLS
    local asked=$1
    shift
    "$TOOL" --secret "$T/keys" --timeout 20000 "$URL$asked" "$@"
}
header_is() { # WANT NAME HEADER
    expect_out "$1" bash -c "sed -n 's/^$3: //p' <<<'$(by_tls HEAD "/bucket/o/$2")'"
}
nothing_is_stored() { [ "$(s3 GET "/bucket?versions&prefix=o/$1" | grep -c '<Key>')" = 0 ] || fail "there is '$1'"; }
no_uploads() { ! s3 GET "/bucket?uploads" | finds '<UploadId>' || fail "an upload is left"; }
BIG=$((9 << 20)) # in two parts

tls_make
ceph_start sts cold
ceph_user app AKIATIDEMARKTEST0002 app-secret
ceph_role backup app
assumed() { # FILE SECONDS
    local lines
    mapfile -t lines < <(ceph_assume AKIATIDEMARKTEST0002 app-secret backup "$2")
    [ ${#lines[@]} = 3 ] || fail "AssumeRole gave: ${lines[*]}"
    secret "$1" "${lines[@]}"
}
assumed "$T/short" 1 # has ended when it is needed
s3 PUT /bucket
secret "$T/keys" "access_key=$S3_ACCESS" "secret_key=$S3_SECRET"
URL="s3://bucket/o?provider=ceph&endpoint=$CEPH_HTTPS&ca-file=$TLS/ca.pem"
KMS="&sse=aws:kms&sse-kms-key-id=$CEPH_KMS_KEY"

step "encrypted by a key of the store's, small and in parts"
with "$KMS" put kms 1000 1
with "$KMS" put kms-big $BIG 2
with "$KMS" put kms-sealed $BIG 3 seal
for name in kms kms-big kms-sealed; do
    header_is aws:kms $name x-amz-server-side-encryption
    header_is "$CEPH_KMS_KEY" $name x-amz-server-side-encryption-aws-kms-key-id
done
with "" get kms 1000 1
with "" get kms-big $BIG 2
with "" get kms-sealed $BIG 3

step "what is encrypted neither comes nor goes without TLS"
expect_fail 1 "HTTP 400 InvalidRequest" "$TOOL" --secret "$T/keys" "s3://bucket/o?provider=ceph&endpoint=$CEPH_HTTP$KMS" put plain 1000 1
nothing_is_stored plain
expect_fail 1 "bucket/o/kms: HEAD: HTTP 400" "$TOOL" --secret "$T/keys" "s3://bucket/o?provider=ceph&endpoint=$CEPH_HTTP" get kms 1000 1

step "a key that the KMS does not have, one that is not named: the store's words"
expect_fail 1 "PUT: HTTP 403 InvalidAccessKeyId: Failed to retrieve the actual key, kms-keyid: other" with "&sse=aws:kms&sse-kms-key-id=other" put other 1000 1
expect_fail 1 "POST: HTTP 403 InvalidAccessKeyId: Failed to retrieve the actual key, kms-keyid: other" with "&sse=aws:kms&sse-kms-key-id=other" put other $BIG 1
expect_fail 1 "requires HTTP header x-amz-server-side-encryption-aws-kms-key-id" with "&sse=aws:kms" put other 1000 1
nothing_is_stored other

step "AES256, which this store takes and does nothing for: an error, and nothing stays in the clear"
expect_fail 1 "cannot commit 'clear': $CEPH_HTTPS/bucket/o/clear: PUT: HTTP 200 NotEncrypted: the store does not confirm that it encrypts as sse=AES256 asks" with "&sse=AES256" put clear 1000 1
expect_fail 1 "POST: HTTP 200 NotEncrypted" with "&sse=AES256" put clear $BIG 1
nothing_is_stored clear
no_uploads

step "ACL and storage class, small and in parts, as the store has them"
with "&acl=public-read&storage-class=COLD" put open 1000 1
with "&acl=public-read&storage-class=COLD" put open-big $BIG 2
with "" put plain 1000 1
for name in open open-big; do
    header_is COLD $name x-amz-storage-class
    s3 GET "/bucket/o/$name?acl" | finds "groups/global/AllUsers</URI></Grantee><Permission>READ<" || fail "not for all: $(s3 GET "/bucket/o/$name?acl")"
    curl -fs -o "$T/got" "$CEPH_HTTP/bucket/o/$name" || fail "'$name' is not given to everybody"
done
header_is "" plain x-amz-storage-class
! s3 GET "/bucket/o/plain?acl" | finds AllUsers || fail "for all: $(s3 GET "/bucket/o/plain?acl")"
expect_out 403 curl -s -o "$T/got" -w '%{http_code}' "$CEPH_HTTP/bucket/o/plain"
expect_fail 1 "PUT: HTTP 400 InvalidArgument" with "&acl=nobody" put other 1000 1
expect_fail 1 "PUT: HTTP 400 InvalidArgument" with "&storage-class=FROZEN" put other 1000 1
nothing_is_stored other

step "a token that is not that of the keys, or none, or one that has ended: refused, and where the keys are from"
assumed "$T/role" 900
ALL_OPTIONS="s3://bucket/backup?provider=ceph&endpoint=$CEPH_HTTPS&ca-file=$TLS/ca.pem$KMS&acl=public-read&storage-class=COLD"
sed 's/^session_token=../session_token=xx/' "$T/role" >"$T/wrong"
grep -v '^session_token' "$T/role" >"$T/none"
chmod 600 "$T/wrong" "$T/none"
by() { # SECRET VERB…
    local secret=$1
    shift
    "$TOOL" --secret "$T/$secret" --timeout 20000 "$URL" "$@"
}
by role put by-role 1000 1
said="cannot commit 'other': $CEPH_HTTPS/bucket/: GET: HTTP"
expect_fail 1 "$said 400 InvalidArgument (request " by wrong put other 1000 1
expect_fail 1 "); keys from secret" by wrong put other 1000 1
for name in none short; do
    expect_fail 1 "$said 403 AccessDenied (request " by $name put other 1000 1
    expect_fail 1 "); keys from secret" by $name put other 1000 1
done
nothing_is_stored other

step "a backup by keys of a role, with all the options: not one object is stored otherwise"
create_secret() { # NAME FILE
    mapfile -t lines <"$2"
    tidemark create secret "$1" --from-literal "${lines[0]}" --from-literal "${lines[1]}" --from-literal "${lines[2]}" >/dev/null
}
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=10 bytes=2000 log=300000"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
create_secret role "$T/role"
create_secret ended "$T/short"
tidemark backup one --cluster test --storage "$ALL_OPTIONS" --secret role >/dev/null
tidemark get backup one -o json >"$T/one.json"
expect_json "$T/one.json" .status.phase Complete
s3 GET "/bucket?list-type=2&prefix=backup/" | grep -o '<Key>[^<]*' | cut -c6- >"$T/objects"
[ "$(wc -l <"$T/objects")" -gt 3 ] || fail "stored: $(cat "$T/objects")"
while read -r name; do
    by_tls HEAD "/bucket/$name" >"$T/head"
    [ "$(grep -cxE "x-amz-storage-class: COLD|x-amz-server-side-encryption: aws:kms" "$T/head")" = 2 ] || fail "'$name': $(cat "$T/head")"
done <"$T/objects"
(umask 077 && cp "$T/role" "$T/role.txt")
"$BUILD/tidemark-agent" verify --storage "$ALL_OPTIONS" --secret-file "$T/role.txt" --cluster test >/dev/null
expect_fail 1 "HTTP 403 AccessDenied" tidemark backup two --cluster test --storage "$ALL_OPTIONS" --secret ended
daemons_stop
