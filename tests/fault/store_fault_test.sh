#!/usr/bin/env bash
# Backups, log and restores in an object store whose line fails at random, for long: a backup completes or fails and
# says why, the log goes on, and nothing that is committed is wrong. Then a store that hangs, and one that is away.
#
#   store_fault_test.sh    ROUNDS=12 backups and restores; SEED=… the same faults again, as far as the machine is the
#                          same; AWAY_S=30 without the gateway
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/fault_proxy.sh"
. "$TOP/tests/lib/store_round.sh"
. "$TOP/tests/lib/store_trouble.sh"
stores_need ceph
ROUNDS=${ROUNDS:-12}
SEED=${SEED:-$(date +%s)}
trouble_start
told() { of wal '.status.lastError.message // ""'; }

# Each fault by its chance; together they hit one request in five, and what is hit ten times in a row is given up.
random_rules() { # SEED
    fault_rules <<X
seed $1
PUT . chance=0.03 : reset-request 500
PUT . chance=0.03 : lost
PUT . chance=0.02 : header-answer ETag "00000000000000000000000000000000"
PUT . chance=0.02 : flip-request 100
PUT . chance=0.02 : answer-after 500 InternalError
GET . chance=0.03 : shorten-answer 20
GET . chance=0.03 : reset-answer 300
GET list-type chance=0.05 : answer 200 InternalError
POST uploadId chance=0.1 : answer 200 InternalError
POST delete chance=0.1 : lost
PUT . chance=0.02 : answer 400 ExpiredToken
* . chance=0.03 : answer 503 SlowDown
* . chance=0.02 : delay 700
X
}
one_round() { # N
    local name=round-$1
    random_rules $((SEED + $1))
    backup "$name" --checksum --clean-policy Delete
    phase_is() { case $(of "$name" .status.phase) in Complete | Failed) ;; *) return 1 ;; esac }
    wait_for 180 phase_is
    if [ "$(of "$name" .status.phase)" = Complete ]; then
        COMPLETED=$((COMPLETED + 1))
        GOOD=$((GOOD + 1))
    else
        fails "$name" "$FAULT_URL/bucket" "HTTP "
    fi
    round_moment
    if [ $(($1 % 3)) = 0 ]; then
        round_restore_by_daemons "r$1" "$MOMENT"
    fi
    echo "   $name: $(of "$name" .status.phase), $(fault_count ' [a-z][a-z-]*( [^ ]+)*$') faults in $(fault_count .) requests"
    fault_rules </dev/null
    nothing_wrong
    if [ $(($1 % 4)) = 0 ] && [ "$(of "$name" .status.phase)" = Complete ]; then
        random_rules $((SEED + $1 + 1000))
        path=$(path_of "$name")
        gone() { ! tidemark get backup "$name"; }
        tidemark delete backup "$name" --grace 0 >/dev/null
        wait_for 120 gone
        fault_rules </dev/null
        swept "$path" || fail "left of $name: $(objects "$path/")"
        COMPLETED=$((COMPLETED - 1))
    fi
}

step "$ROUNDS rounds, seed $SEED"
GOOD=0
for n in $(seq "$ROUNDS"); do one_round "$n"; done
[ "$GOOD" -ge $((ROUNDS / 2)) ] || fail "only $GOOD of $ROUNDS backups completed"

step "the store hangs: each attempt is given up after a while, the call after some; gone on when it answers again"
sent_again() { of wal '.status.storage[0].retries // 0'; }
before=$(sent_again)
more_sent_again() { [ "$(sent_again)" -gt "$before" ]; }
fault_rules <<X
* . : hang
X
began=$SECONDS
wait_for 60 more_sent_again
[ $((SECONDS - began)) -le 40 ] || fail "the first attempt was not over after $((SECONDS - began)) s"
echo "   sent again after $((SECONDS - began)) s"
names_it() { told | grep -F "$FAULT_URL" || told | grep -F "127.0.0.1:${FAULT_URL##*:}"; }
wait_for 120 names_it
[ $((SECONDS - began)) -le 100 ] || fail "told after $((SECONDS - began)) s only"
echo "   told after $((SECONDS - began)) s: $(told)"
expect_out Running of wal .status.phase
fault_rules </dev/null
log_goes_on 120

step "the gateway is away for ${AWAY_S:-30} s inside a backup"
backup away --rate-limit 8
wait_for 30 is_running away
ceph_gateway_stop
sleep "${AWAY_S:-30}"
told
ceph_gateway_start
phase_of_away() { case $(of away .status.phase) in Complete | Failed) ;; *) return 1 ;; esac }
wait_for 240 phase_of_away
if [ "$(of away .status.phase)" = Complete ]; then
    COMPLETED=$((COMPLETED + 1))
else
    fails away "${FAULT_URL#http://}"
fi
echo "   $(of away .status.phase) $(of away '.status.lastError.message // ""')"
log_goes_on 120
trouble_end
