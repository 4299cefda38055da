#!/usr/bin/env bash
# Backups, log and restores of a busy PostgreSQL on Azurite over TLS, with a certificate of a CA of our own; the agent
# is killed, a backup deleted, log truncated. See tests/lib/store_round.sh.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/store_round.sh"
stores_need azurite

objects() { # PREFIX
    local marker='' page
    while page=$(az GET "/container?restype=container&comp=list&prefix=$1&marker=$marker"); do
        grep -o '<Name>[^<]*' <<<"$page" | cut -c7- || true
        marker=$(grep -o '<NextMarker>[^<]*' <<<"$page" | cut -c13-) || true
        [ -n "$marker" ] || return 0
    done
}
tls_make
azurite_start tls
az PUT '/container?restype=container' >/dev/null
URL="azblob://container/shop?endpoint=$AZURITE_HTTP&ca-file=$TLS/ca.pem"
SECRET=("AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" "AZURE_STORAGE_KEY=$AZURITE_KEY")
round_all
