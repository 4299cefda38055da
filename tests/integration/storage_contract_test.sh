#!/usr/bin/env bash
# Every promise of common/storage/storage.h over real object stores; over ram and files the unit test does it. By http
# with keys and nothing else; by TLS with all that can be asked for: a session token or a SAS, encryption, ACL, class, tier.
#
#   storage_contract_test.sh [ceph|ceph-tls|swift|azurite|azurite-tls]…
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
[ $# -gt 0 ] || set -- ceph ceph-tls swift azurite azurite-tls
TOOL=$BUILD/tests/integration/storage_tool

secret() { # FILE LINE…
    (umask 077 && printf '%s\n' "${@:2}" >"$1")
}
contract() { # TITLE [options] URL
    local title=$1
    shift
    "$TOOL" "${@:1:$#-1}" --secret "$T/$title.secret" "${!#}" contract "$title" >"$T/$title.out" 2>&1 || {
        grep -vE '\[ RUN|\[       OK' "$T/$title.out" >&2
        fail "the contract does not hold over $title"
    }
    grep -a 'PASSED' "$T/$title.out"
}

for store in "$@"; do
    case $store in
    ceph | ceph-tls) stores_need ceph ;;
    swift) stores_need swift ;;
    azurite | azurite-tls) stores_need azurite ;;
    *) fail "no store is called '$store'" ;;
    esac
done
tls_make
for store in "$@"; do
    case $store in
    ceph | ceph-tls)
        step "Ceph RGW ($store)"
        if [ -z "$CEPH_HTTP" ]; then
            ceph_start sts cold
            ceph_user app AKIATIDEMARKTEST0002 app-secret
            ceph_role backup app
            s3 PUT /contract
        fi
        if [ "$store" = ceph ]; then
            secret "$T/$store.secret" "access_key=$S3_ACCESS" "secret_key=$S3_SECRET"
            endpoint=$CEPH_HTTP
        else
            mapfile -t lines < <(ceph_assume AKIATIDEMARKTEST0002 app-secret backup 3600)
            secret "$T/$store.secret" "${lines[@]}"
            endpoint="$CEPH_HTTPS&ca-file=$TLS/ca.pem&sse=aws:kms&sse-kms-key-id=$CEPH_KMS_KEY&acl=public-read&storage-class=COLD"
        fi
        contract "$store" "s3://contract/$store?provider=ceph&endpoint=$endpoint"
        ;;
    swift)
        step "OpenStack Swift"
        swift_start
        s3 "$SWIFT_HTTP" "$SWIFT_ACCESS" "$SWIFT_SECRET" -- PUT /contract
        secret "$T/$store.secret" "access_key=$SWIFT_ACCESS" "secret_key=$SWIFT_SECRET"
        contract "$store" --no-conditional-create "s3://contract/swift?provider=swift&endpoint=$SWIFT_HTTP"
        swift_stop
        ;;
    azurite | azurite-tls)
        step "Azurite ($store)"
        if [ "$store" = azurite ]; then
            secret "$T/$store.secret" "AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" "AZURE_STORAGE_KEY=$AZURITE_KEY"
            azurite_start
            endpoint=$AZURITE_HTTP/$AZURITE_ACCOUNT
        else
            azurite_start tls
            secret "$T/$store.secret" "AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" "AZURE_STORAGE_SAS_TOKEN=$(az_sas contract rwdlc 3600)"
            endpoint="$AZURITE_HTTP/$AZURITE_ACCOUNT&ca-file=$TLS/ca.pem&access-tier=Cool"
        fi
        az PUT "/contract?restype=container"
        # uncommitted blocks cannot be listed: the service drops them by itself
        contract "$store" --no-leftovers "azblob://contract/$store?endpoint=$endpoint"
        azurite_stop
        ;;
    esac
done
