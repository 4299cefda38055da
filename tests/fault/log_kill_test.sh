#!/usr/bin/env bash
# A log backup under load whose runner or agent is killed with -9 at random moments, again and again: the stored log
# is one unbroken chain, byte for byte the source's, and a restore holds everything that was acknowledged before what
# the task said was safe. The same after storage was gone for a minute.
#
#   log_kill_test.sh     ROUNDS=200 kills; AWAY_S=60 without storage; SEED=… the same moments again, as far as the
#                        machine is the same
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"
ROUNDS=${ROUNDS:-200}

log_source
daemons_start "$T/source"
tidemark log start wal --cluster test --storage "file://$T/repo" --flush-interval 500ms >/dev/null
tidemark backup full --cluster test --storage "file://$T/repo" >/dev/null
ledger_start

step "$ROUNDS kills"
done_rounds=0
while [ "$done_rounds" -lt "$ROUNDS" ]; do
    batch=$((ROUNDS - done_rounds < 50 ? ROUNDS - done_rounds : 50))
    kill_rounds $batch
    done_rounds=$((done_rounds + batch))
    mark=$(now_by_source)
    wait_for 30 is_safe "$mark"
    safe=$(of_wal .status.logCheckpointTs)
    copy_repo "$T/frozen" # what lay in storage when that was said
    ledger_survives "$T/frozen" "$safe"
    SEED=$((${SEED:-$(date +%s)} + 1))
    echo "   $done_rounds rounds"
done

step "storage is moved away for ${AWAY_S:-60} s, while the runner is killed, too: it waits, and goes on where it was"
error_is() { of_wal '.status.lastError | select(.node == "db-a" and (.stage | length) > 0 and (.since | length) >= 20) | .message' | grep -F "$1"; }
mv "$T/repo" "$T/away"
began=$SECONDS
wait_for 15 error_is "storage path '$T/repo' is away"
[ $((SECONDS - began)) -le 15 ] || fail "told after $((SECONDS - began)) s"
sleep $((${AWAY_S:-60} / 2))
runner_pids | xargs -r kill -9 2>/dev/null || true
wait_for 30 error_is "storage path '$T/repo' does not exist"
sleep $((${AWAY_S:-60} / 2))
[ ! -e "$T/repo" ] || fail "made anew: $(find "$T/repo")"
mv "$T/away" "$T/repo"
mark=$(now_by_source)
wait_for 60 is_safe "$mark"

step "the end: everything is there"
ledger_stop
chain_holds
ledger_survives "$T/repo" "$(now_by_source)"
[ "$LEDGER_SUM" = "$(ledger_sum)" ] || fail "restored '$LEDGER_SUM', the source has '$(ledger_sum)'"
daemons_stop
