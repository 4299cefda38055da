#!/usr/bin/env bash
# tidemark storage test on real object stores: Ceph RGW, OpenStack Swift (which knows no conditional create), Azurite.
# What is wrong is told in the store's own words: a key, a bucket, a port, a user who may only read.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
stores_need ceph swift azurite

spec() { # NAME SECRET BLOCK
    printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: %s}\nspec:\n  br: {cluster: test}\n  %s\n' "$1" "$2" >"$T/$1.yaml"
}
s3_spec() { # NAME SECRET ENDPOINT BUCKET
    spec "$1" "s3: {provider: ${5:-ceph}, endpoint: \"$3\", bucket: $4, prefix: shop, region: us-east-1, forcePathStyle: true, secretName: $2}"
}
tested() { # STATUS NAME: its JSON is in $T/out.json
    local got
    set +e
    tidemark storage test "$T/$2.yaml" -o json >"$T/out.json" 2>"$T/out.err"
    got=$?
    set -e
    [ "$got" = "$1" ] || fail "$2: status $got instead of $1: $(cat "$T/out.json" "$T/out.err")"
}
outcomes='.items[0].nodes[0].steps | map(.step + "=" + .outcome) | join(" ")'
all_ok="open=ok write=ok read=ok range=ok list=ok create again=ok upload=ok download=ok delete=ok list after delete=ok"
well() { # NAME CONDITIONAL
    tested 0 "$1"
    expect_json "$T/out.json" "$outcomes" "$all_ok"
    expect_json "$T/out.json" '.items[0].nodes[0] | "\(.node) \(.result) \(.conditionalCreate) \(has("mount")) \(.warnings // [] | length)"' "db-a ok $2 false 0"
    expect_json "$T/out.json" '.items[0].nodes[0] | .writeMicroseconds > 0 and .readBytesPerSecond > 0 and .skewMicroseconds < 5000000 and .skewMicroseconds > -5000000' true
}
error_is() { # REGEX of the first error
    jq -r '.items[0].nodes[0].error' "$T/out.json" | finds -E -- "$1" || fail "'$1' is not said: $(jq '.items[0].nodes[0]' "$T/out.json")"
}

ceph_start
swift_start
azurite_start
s3 PUT /bucket >/dev/null
s3 "$SWIFT_HTTP" "$SWIFT_ACCESS" "$SWIFT_SECRET" -- PUT /bucket >/dev/null
az PUT '/container?restype=container' >/dev/null
coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=10 bytes=2000 log=300000"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
tidemark create secret good --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=$S3_SECRET" >/dev/null
tidemark create secret bad --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=wrong" >/dev/null
tidemark create secret swift --from-literal "access_key=$SWIFT_ACCESS" --from-literal "secret_key=$SWIFT_SECRET" >/dev/null
tidemark create secret azure --from-literal "AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" --from-literal "AZURE_STORAGE_KEY=$AZURITE_KEY" >/dev/null

step "Ceph: every step is well, and nothing stays"
s3_spec good good "$CEPH_HTTP" bucket
well good false # the driver does not rely on a fence that not all uploads have there
[ "$(s3 GET '/bucket?list-type=2' | grep -c '<Key>')" = 0 ] || fail "left: $(s3 GET '/bucket?list-type=2')"

step "Swift: a second creation is not refused by the store itself"
s3_spec swift swift "$SWIFT_HTTP" bucket other
well swift false

step "Azure"
spec azure "azblob: {container: container, prefix: shop, endpoint: \"$AZURITE_HTTP/$AZURITE_ACCOUNT\", secretName: azure}"
well azure true

step "a wrong key, a bucket that is not there, a port where nobody listens: endpoint, bucket, status and code are told"
s3_spec bad bad "$CEPH_HTTP" bucket
tested 1 bad
expect_out "tidemark: storage test: 1 of 1 node failed" cat "$T/out.err"
expect_json "$T/out.json" "$outcomes" "open=ok write=failed read=skipped range=skipped list=failed create again=skipped upload=skipped download=skipped delete=skipped list after delete=skipped"
error_is "bucket.*403.*(SignatureDoesNotMatch|AccessDenied)"
s3_spec nobucket good "$CEPH_HTTP" nobucket
tested 1 nobucket
error_is "nobucket.*404.*NoSuchBucket"
s3_spec nobody good "http://127.0.0.1:$(free_port)" bucket
tested 1 nobody
error_is "127\.0\.0\.1:[0-9]+"
for name in bad nobucket nobody; do
    ! grep -qF "$S3_SECRET" "$T/out.json" || fail "a secret is shown"
    sed "s/^spec:/spec:\n  backupMode: log/; s/name: $name/name: log-$name/" "$T/$name.yaml" >"$T/log-$name.yaml"
    expect_fail 1 "backup/log-$name: not applied, the storage test failed on 1 of 1 node; --skip-test applies it all the same" tidemark apply -f "$T/log-$name.yaml"
done

step "without a daemon"
printf 'access_key=%s\nsecret_key=%s\n' "$S3_ACCESS" "$S3_SECRET" >"$T/secret.txt"
chmod 600 "$T/secret.txt"
"$BUILD/tidemark-agent" storage test --storage "s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTP" --secret-file "$T/secret.txt" >"$T/out"
grep -q "^list after delete  ok " "$T/out" || fail "$(cat "$T/out")"
