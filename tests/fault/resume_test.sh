#!/usr/bin/env bash
# Backups of a busy PostgreSQL that are interrupted at random, one to three times each: agent, runner, session, server,
# coordinator. Each completes, under the same id and without reading again what a checkpoint had, and what is restored
# is whole.
#
#   resume_test.sh     ROUNDS=50 on all versions, 15 has the most; MAJOR=17: all on that one; SEED=… the same
#                      interruptions again, as far as the machine is the same
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"

rounds_on() { # MAJOR ROUNDS
    resume_source "$1"
    step "PostgreSQL $1, $2 rounds"
    resume_rounds "$2"
    resume_source_end
}
total=${ROUNDS:-50}
if [ -n "${MAJOR:-}" ]; then
    rounds_on "$MAJOR" "$total"
else
    each=$((total / 8))
    for major in 13 14 16 17 18; do [ "$each" -eq 0 ] || rounds_on "$major" "$each"; done
    rounds_on 15 $((total - 5 * each))
fi
