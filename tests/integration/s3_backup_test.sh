#!/usr/bin/env bash
# Backups, log and restores of a busy PostgreSQL on Ceph RGW over TLS, with a certificate of a CA of our own; the agent
# is killed, a backup deleted, log truncated. See tests/lib/store_round.sh.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/store_round.sh"
stores_need ceph

objects() { # PREFIX
    local marker='' page
    while page=$(s3 GET "/bucket?list-type=2&prefix=$1&start-after=$marker"); do
        grep -o '<Key>[^<]*' <<<"$page" | cut -c6- || true
        [[ $page = *"<IsTruncated>true"* ]] || return 0
        marker=$(grep -o '<Key>[^<]*' <<<"$page" | tail -n 1 | cut -c6-)
    done
}
tls_make
ceph_start
s3 PUT /bucket >/dev/null
URL="s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTPS&ca-file=$TLS/ca.pem"
SECRET=("access_key=$S3_ACCESS" "secret_key=$S3_SECRET")
round_all
