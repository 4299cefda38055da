#!/usr/bin/env bash
# A busy PostgreSQL backed up, its log streamed, and restored through a proxy that fails: each script ends in a whole
# backup, or in none and an error that says what a support engineer asks for. Long random rounds: tests/fault/.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/fault_proxy.sh"
. "$TOP/tests/lib/store_round.sh"
. "$TOP/tests/lib/store_trouble.sh"
stores_need ceph
SCALE=5 trouble_start

step "slow down: a log backup sends too little to meet its limit, and has all of it back after a while all the same"
parallel() { of "${1:-slow}" '.status.storage[0] | "\(.parallel) \(.parallelMax)"' | grep -v null; }
log_is_slowed() { parallel wal | awk '{exit !($1 < $2)}'; }
log_is_free() { parallel wal | awk '{exit !($1 == $2)}'; }
wait_for 30 log_is_free
fault_rules <<X
PUT /chunk/ nth=1 : answer 503 SlowDown
X
wait_for 30 log_is_slowed
fault_rules </dev/null
wait_for 120 log_is_free
log_goes_on

step "slow down: fewer requests at once, then more again; shown while it runs"
lowest() { [ "$(parallel | cut -d' ' -f1)" = 1 ]; }
grown() { [ "$(parallel | cut -d' ' -f1)" -gt 1 ]; }
fault_rules <<X
PUT /data/ : answer 503 SlowDown
X
backup slow --compression none
wait_for 30 lowest
[ "$(parallel | cut -d' ' -f2)" -ge 16 ] || fail "$(parallel)"
tidemark describe backup slow | finds -E "^  db-a: .* [1-9][0-9]* slow-downs, 1 of [0-9]* at once" || fail "$(tidemark describe backup slow)"
fault_rules </dev/null
wait_for 30 grown
completes slow

step "resets, lost answers, wrong checksums, an error inside a 200"
fault_rules <<X
PUT /data/ nth=1 : reset-request 1000
PUT /data/ nth=2 : lost
PUT /data/ nth=4 : header-answer ETag "00000000000000000000000000000000"
PUT /data/ nth=5 : answer-after 500 InternalError
PUT /manifest nth=1 : lost
PUT /checkpoint/ nth=1 : lost
GET list-type nth=1 : answer 200 InternalError
GET list-type nth=2 : shorten-answer 50
PUT /chunk/ every=3 : lost
PUT /chunk/ every=4 : reset-request 10
GET /data/ nth=1 : shorten-answer 10
GET /data/ nth=2 : reset-answer 100
X
backup shaken --checksum --clean-policy Delete
completes shaken
[ "$(fault_count '(lost|reset-request 1000|InternalError|"0*")$')" -ge 6 ] || fail "$(cat "$FAULT_LOG")"
log_goes_on
nothing_wrong

step "a restore through all that reads can suffer"
round_moment
fault_rules <<X
GET /(data|chunk)/ every=8 : shorten-answer 10
GET /(data|chunk)/ every=9 : reset-answer 500
GET /(data|chunk)/ first=2 : answer 503 SlowDown
X
round_restore_by_daemons one "$MOMENT"
[ "$(fault_count '(shorten-answer 10|reset-answer 500|SlowDown)$')" -gt 3 ] || fail "$(cat "$FAULT_LOG")"

step "deleted in batches, the first of which gets no answer"
path=$(path_of shaken)
data=$(objects "$path/data/" | wc -l)
fault_rules <<X
POST delete nth=1 : lost
X
round_delete shaken "$path"
COMPLETED=$((COMPLETED - 1))
[ "$data" -ge 5 ] || fail "only $data objects of data"
[ "$(fault_count '^[0-9]+ POST /bucket.delete')" -le 8 ] || fail "$(cat "$FAULT_LOG")"
[ "$(fault_count '^[0-9]+ POST /bucket.delete.* lost$')" = 1 ] || fail "$(cat "$FAULT_LOG")"
[ "$(fault_count '^[0-9]+ DELETE .*/data/')" = 0 ] || fail "$(cat "$FAULT_LOG")"
nothing_wrong

step "an expired token that nobody renews, and what is not allowed: told at once, nothing committed"
fault_rules <<X
PUT /backup/.*/data/ : answer 400 ExpiredToken
X
backup expired
fails expired "$FAULT_URL/bucket/shop/test/main/" "/data/0000000" "PUT: HTTP 400 ExpiredToken: a fault that was asked for" \
    "(request fault-proxy)"
fault_rules <<X
PUT /manifest.mpk : answer 403 AccessDenied
X
backup denied
fails denied "$FAULT_URL/bucket/shop/test/main/" "/manifest.mpk" "PUT: HTTP 403 AccessDenied: a fault that was asked for" \
    "(request fault-proxy)"
fault_rules <<X
PUT /chunk/ : answer 400 ExpiredToken
X
error_of_wal() { of wal '.status.lastError.message // ""' | grep -F "HTTP 400 ExpiredToken" | grep -F "/chunk/" | grep -F "(request fault-proxy)"; }
wait_for 30 error_of_wal
expect_out Running of wal .status.phase
fault_rules </dev/null
log_goes_on
nothing_wrong

step "the store hangs: status says so at once, for the log within 15 s, and not any more when it answers again"
backup hung --rate-limit 12
wait_for 30 is_running hung
fault_rules <<X
* . : hang
X
began=$SECONDS
says() { of "$1" '.status.lastError | select(. != null) | "\(.node) \(.stage) \(.message)"'; } # NAME
log_stuck() { says wal | grep -F "no answer for more than 10 s" | grep -F "s3://bucket/shop at $FAULT_URL: " | grep -E "^db-a (upload|commit) .*log.* waits .*/chunk/"; }
wait_for 20 log_stuck
[ -n "${TIDEMARK_SANITIZED:-}" ] || [ $((SECONDS - began)) -le 16 ] || fail "the log says it after $((SECONDS - began)) s"
attempts() { says "$1" | grep -E "^db-a storage http://.*/bucket/.*: (PUT|POST|GET|HEAD): .*: no answer for 20 s, attempt 1 of [2-9]"; }
soon() { # NAME: told soon after the call that hangs began: it moved bytes first, and curl looks at the speed of 5 s
    wait_for 30 attempts "$1"
    local took=$(($(date +%s) - $(date -d "$(of "$1" .status.lastError.since)" +%s)))
    echo "   $1 after $took s: $(says "$1")"
    [ -n "${TIDEMARK_SANITIZED:-}" ] || [ "$took" -le 28 ] || fail "$1 says it after $took s"
}
soon wal
soon hung
fault_rules </dev/null
quiet() { [ "$(says "$1")" = "" ]; }
wait_for 30 quiet hung
completes hung
log_goes_on
wait_for 10 quiet wal
nothing_wrong

step "the gateway is away for a while: the backup waits, and the log"
backup away --rate-limit 12
wait_for 30 is_running away
ceph_gateway_stop
sleep 5
ceph_gateway_start
completes away
log_goes_on
trouble_end
