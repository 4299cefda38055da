#!/usr/bin/env bash
# A bucket with object lock, as Ceph RGW has it: everything can be stored there; what is kept is not taken for deleted,
# and a deletion that was refused ends when the retention has.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
stores_need ceph
TOOL=$BUILD/tests/integration/storage_tool

locked_bucket() { # NAME MODE: a day, for all objects
    s3 PUT "/$1" - "x-amz-bucket-object-lock-enabled: true"
    printf '<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>%s</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>' "$2" >"$T/lock.xml"
    s3 PUT "/$1?object-lock" "$T/lock.xml"
}
on() { # BUCKET VERB…
    local bucket=$1
    shift
    "$TOOL" --secret "$T/keys" --timeout 20000 "s3://$bucket/o?provider=ceph&endpoint=$CEPH_HTTP" "$@"
}
versions() { s3 GET "/$1?versions" | grep -o "<Version><Key>[^<]*" | cut -c15- | sort; }
no_marks() { # BUCKET: nothing is hidden but older words on resources
    local hidden
    hidden=$(s3 GET "/$1?versions" | grep -o "<DeleteMarker><Key>[^<]*" | grep -v "/intent/" || true)
    [ -z "$hidden" ] || fail "hidden in '$1': $hidden"
}
by_md5() { openssl md5 -binary "$1" | base64; }

ceph_start
locked_bucket governed GOVERNANCE
locked_bucket complied COMPLIANCE
(umask 077 && printf '%s\n' "access_key=$S3_ACCESS" "secret_key=$S3_SECRET" >"$T/keys")

step "what is locked is not removed, one or many, and the error says by what and until when"
for name in a b c d; do
    on governed put $name 1000 1
    on complied put $name 1000 1
done
on complied put big $((9 << 20)) 2
for bucket in governed=GOVERNANCE complied=COMPLIANCE; do
    until=$(s3 HEAD "/${bucket%=*}/o/a" | sed -n 's/^x-amz-object-lock-retain-until-date: \(.*\)\..*/\1Z/p')
    kept="object lock (${bucket#*=}) keeps 'o/a' until $until: $CEPH_HTTP/${bucket%=*}/: POST: HTTP 200 AccessDenied: 'o/"
    expect_fail 1 "cannot remove 'a': ${kept}a': " on "${bucket%=*}" remove a
    expect_fail 1 "cannot remove 4 objects from 'a' on: $kept" on "${bucket%=*}" remove a b c d
    expect_out "a 1000
b 1000
c 1000
d 1000" bash -c "'$TOOL' --secret '$T/keys' 's3://${bucket%=*}/o?provider=ceph&endpoint=$CEPH_HTTP' list | grep -v big"
    no_marks "${bucket%=*}"
done
on governed get a 1000 1
on complied discard d # of what nobody needs it is enough that it is hidden
expect_fail 1 "no such object" on complied stat d
versions complied | finds -x "o/d" || fail "'d' is gone: $(versions complied)"

step "a legal hold, too"
printf '<LegalHold><Status>ON</Status></LegalHold>' >"$T/hold.xml"
s3 PUT "/governed/o/b?legal-hold" "$T/hold.xml" "content-md5: $(by_md5 "$T/hold.xml")"
expect_fail 1 "cannot remove 'b': a legal hold keeps 'o/b': " on governed remove b
sed -i 's/ON/OFF/' "$T/hold.xml"
s3 PUT "/governed/o/b?legal-hold" "$T/hold.xml" "content-md5: $(by_md5 "$T/hold.xml")"
expect_fail 1 "cannot remove 'b': object lock (GOVERNANCE) keeps 'o/b' until " on governed remove b

step "what has been kept for long enough is removed, all of it: no version stays, and no mark"
released() { # BUCKET [PREFIX]: no version there is kept for longer than a few seconds more
    local line until
    s3 GET "/$1?versions&prefix=${2:-}" | grep -o "<Version><Key>[^<]*</Key><VersionId>[^<]*" |
        sed 's|<Version><Key>\(.*\)</Key><VersionId>|\1?retention\&versionId=|' >"$T/versions"
    while read -r line; do
        until=$(date -u -d '+4 seconds' +%Y-%m-%dT%H:%M:%SZ)
        printf '<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>' "$until" >"$T/retention.xml"
        s3 PUT "/$1/$line" "$T/retention.xml" "x-amz-bypass-governance-retention: true" "content-md5: $(by_md5 "$T/retention.xml")"
    done <"$T/versions"
}
released governed
wait_for 30 on governed remove a b c d none
[ -z "$(versions governed)" ] || fail "left: $(versions governed)"
no_marks governed

coordinator_start
agent_config "$T/data"
sed -i 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=10 bytes=2000 log=300000"|' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
tidemark create secret keys --from-literal "access_key=$S3_ACCESS" --from-literal "secret_key=$S3_SECRET" >/dev/null
URL="s3://governed/shop?provider=ceph&endpoint=$CEPH_HTTP"

step "the storage test passes, and warns of what it cannot take back"
"$BUILD/tidemark-agent" storage test --storage "$URL" --secret-file "$T/keys" >"$T/out" || fail "$(cat "$T/out")"
[ "$(grep -cE "^(delete|list after delete)  *ok " "$T/out")" = 2 ] || fail "$(cat "$T/out")"
grep -q "^warning: cannot remove 6 objects .* object lock (GOVERNANCE) keeps 'shop/probe/" "$T/out" || fail "$(cat "$T/out")"
grep -q "^warning: 6 objects of this test cannot be removed" "$T/out" || fail "$(cat "$T/out")"

step "a backup is made; its deletion is refused, says so, and hides nothing"
tidemark backup one --cluster test --storage "$URL" --secret keys --clean-policy Delete >/dev/null
tidemark get backup one -o json >"$T/one.json"
expect_json "$T/one.json" .status.phase Complete
intents() { s3 GET "/governed?list-type=2" | grep -o '<Key>[^<]*/intent/[^<]*' | wc -l; }
one_intent() { [ "$(intents)" = 1 ]; }
wait_for 20 one_intent # older words on it are hidden
path=$(jq -r .status.backupPath "$T/one.json")
path=${path#s3://governed/}
of_backup() { versions governed | grep "^$path/" | grep -v '/deleted.mpk$' || true; }
of_backup >"$T/before"
[ "$(wc -l <"$T/before")" -gt 3 ] || fail "stored: $(versions governed)"
expect_out "backup/one deleting" tidemark delete backup one --grace 0
refused() {
    tidemark get backup one -o json >"$T/one.json"
    [ "$(jq -r .status.lastError.code "$T/one.json")" = refused ]
}
wait_for 30 refused
expect_json "$T/one.json" .status.phase Deleting
jq -r .status.lastError.message "$T/one.json" | finds "^sweep: cannot remove '${path#shop/}/manifest.mpk': object lock (GOVERNANCE) keeps '$path/manifest.mpk' until 20[0-9-]*T[0-9:]*Z: " ||
    fail "$(cat "$T/one.json")"
of_backup | diff "$T/before" - || fail "not all of it is there"
no_marks governed

step "when the retention has ended, the deletion does"
released governed "$path/"
gone() { ! tidemark get backup one; }
wait_for 90 gone
[ -z "$(of_backup)" ] || fail "left: $(of_backup)"
no_intent() { [ "$(intents)" = 0 ]; }
wait_for 20 no_intent
step "a log backup goes on there: the marks that it does not need any more are hidden, and kept"
tidemark log start wal --cluster test --storage "$URL" --secret keys >/dev/null
marks() { versions governed | grep "/mark/" | sort -u; }
two_marks() { [ "$(marks | wc -l)" -ge 2 ]; }
wait_for 60 two_marks
one_is_listed() { [ "$(s3 GET "/governed?list-type=2" | grep -o '<Key>[^<]*/mark/' | wc -l)" = 1 ]; }
wait_for 10 one_is_listed
tidemark get backup wal -o json >"$T/wal.json"
expect_json "$T/wal.json" '"\(.status.phase) \(.status.lastError // "well")"' "Running well"
tidemark log stop wal >/dev/null

daemons_stop
