#!/usr/bin/env bash
# Backups of a busy primary and two standbys, read by all of them or some, that are interrupted at random, one to three
# times each: runners, agents, coordinator, the session, the primary, a standby, the network of an agent. Each completes,
# under the same id and without reading again what a checkpoint had, and what is restored is whole.
#
#   resume_test.sh     ROUNDS=50 on all versions, 15 has the most; MAJOR=17: all on that one; SEED=… the same
#                      choices again, with MAJOR=… FIRST=… ROUNDS=1 those of one round
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_nodes.sh"
SCALE=1 NODE_RATE=2 RANGE=1MiB CUT_MAX_S=${CUT_MAX_S:-40}

rounds_on() { # MAJOR ROUNDS
    nodes_source "$1"
    step "PostgreSQL $1, $2 rounds"
    node_rounds "$2"
    nodes_source_end
}
total=${ROUNDS:-50}
if [ -n "${MAJOR:-}" ]; then
    rounds_on "$MAJOR" "$total"
else
    each=$((total / 8))
    for major in 13 14 16 17 18; do [ "$each" -eq 0 ] || rounds_on "$major" "$each"; done
    rounds_on 15 $((total - 5 * each))
fi
