#!/usr/bin/env bash
# A backup that was interrupted goes on where it stopped, whatever interrupted it: Complete under the same id, what a
# checkpoint had is not read again, and what is restored is whole. All the time there is pgbench, a ledger, tables that
# are emptied and rewritten, indexes, databases that come and go; there are a tablespace, an unlogged table and large
# objects.
#
#   resume_test.sh [MAJOR…]     default: 15
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"

interrupted_once() { # KIND NAME
    local low
    backup "$2"
    checkpointed "$2"
    low=$(ledger)
    interrupt "$1" "$2"
    [ -n "${AUTO:-}" ] || { churned && low=$(ledger); } # by itself it may be over by then
    resumed "$2"
    judge "$2" "$low"
    delete_backup "$2"
}
one_version() {
    local low
    step "PostgreSQL $1"
    resume_source "$1"

    step "kill -9 of the agent; asked for again by hand"
    interrupted_once agent killed-agent

    step "kill -9 of the runner: the same attempt goes on"
    backup killed-runner
    checkpointed killed-runner
    interrupt runner killed-runner
    RETRY=0 resumed killed-runner
    expect_out 1 of killed-runner .status.attempt
    judge killed-runner
    delete_backup killed-runner

    step "the session is ended; tried again automatically"
    AUTO=1 interrupted_once session lost-session

    step "the server is stopped at once, and started; by hand"
    interrupted_once server stopped-server

    step "the same, automatically"
    AUTO=1 interrupted_once server stopped-again

    step "kill -9 of the coordinator and the agent; automatically"
    AUTO=1 interrupted_once both killed-both

    step "twice in one backup: the agent, then the server; once by hand, once automatically"
    for AUTO in '' 1; do
        name=twice${AUTO:+-auto}
        RATE=5 backup "$name"
        checkpointed "$name"
        interrupt agent "$name"
        first=$(wc -l <"$T/stored-$name")
        cp "$T/stored-$name" "$T/stored-first"
        [ -n "$AUTO" ] || { churned && kept "$name" && ask_again "$name"; }
        checkpointed "$name" $((first + 2))
        low=$(ledger)
        interrupt server "$name"
        [ -n "$AUTO" ] || { churned && low=$(ledger); }
        resumed "$name"
        comm -23 "$T/stored-first" "$T/stored-$name" >"$T/again"
        [ ! -s "$T/again" ] || fail "not in a checkpoint any more: $(cat "$T/again")"
        judge "$name" "$low"
        delete_backup "$name"
    done
    AUTO=

    [ -z "$(find "$REPO" -path '*/backup/*' -type f ! -name deleted.mpk)" ] || fail "left: $(find "$REPO" -path '*/backup/*' -type f)"
    resume_source_end
}

for major in "${@:-15}"; do
    for one in $major; do one_version "$one"; done
done
