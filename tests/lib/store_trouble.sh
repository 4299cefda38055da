# shellcheck shell=bash
# Sourced behind harness.sh, stores.sh, fault_proxy.sh and store_round.sh: backups and log through a proxy that fails,
# in front of Ceph RGW. What is then in the store is looked at on the straight way.
#
#   trouble_start          store, proxy, daemons, source under load, log backup `wal`, full backup `full`
#   backup NAME [OPTION…]  begins a backup through the proxy; completes NAME · fails NAME TEXT… wait for its end
#   log_goes_on            everything acknowledged until now is stored
#   nothing_wrong          all that is committed is whole, and as many backups are as completed
#   trouble_end            the ledger, restored to its last commit, is the source's
COMPLETED=0 # backups

objects() { s3 GET "/bucket?list-type=2&prefix=$1" | grep -o '<Key>[^<]*' | cut -c6- || true; }
straight() { URL=$STRAIGHT round_alone "$@"; }
trouble_start() {
    ceph_start
    s3 PUT /bucket >/dev/null
    fault_proxy_start "$CEPH_HTTP"
    # shellcheck disable=SC2034 # read by round_start
    SECRET=("access_key=$S3_ACCESS" "secret_key=$S3_SECRET")
    STRAIGHT="s3://bucket/shop?provider=ceph&endpoint=$CEPH_HTTP"
    URL="s3://bucket/shop?provider=ceph&endpoint=$FAULT_URL"
    round_start
    COMPLETED=1
}
backup() {
    local name=$1
    shift
    tidemark backup "$name" --cluster test --storage "$URL" --secret keys --no-wait "$@" >/dev/null
}
completes() {
    tidemark wait backup "$1" --for=Complete --timeout=180s || fail "$1: $(of "$1" .status)"
    COMPLETED=$((COMPLETED + 1))
}
fails() { # NAME TEXT…: it says all of them
    local name=$1 text said
    shift
    tidemark wait backup "$name" --for=Failed --timeout=180s || fail "$name: $(of "$name" .status)"
    said=$(of "$name" .status.lastError.message)
    for text in "$@"; do
        [[ $said = *"$text"* ]] || fail "$name says '$said', not '$text'"
    done
    [[ $said != *"$S3_SECRET"* ]] || fail "the secret is told"
}
log_goes_on() {
    local mark
    mark=$(now_by_source)
    wait_for "${1:-60}" is_safe "$mark"
    expect_out Running of wal .status.phase
}
nothing_wrong() {
    straight verify --cluster test >"$T/verify.log" 2>&1 || fail "$(cat "$T/verify.log")"
    expect_out "$COMPLETED" eval "straight list --cluster test | grep -c ' committed'"
}
trouble_end() {
    fault_rules </dev/null
    ledger_stop
    round_moment
    nothing_wrong
    URL=$STRAIGHT round_restore_alone last latest
    [ "$THEN" = "$(ledger_sum)" ] || fail "the source has changed"
    daemons_stop
}
