#!/usr/bin/env bash
# Backups of a busy primary and two standbys, read by all of them or some, that are interrupted at random, one to three
# times each: runners, agents, coordinator, the session, the primary, a standby, the network of an agent. Each completes,
# under the same id and without reading again what a checkpoint had, and what is restored is whole.
#
#   resume_test.sh     ROUNDS=50; MAJOR=15; SEED=… the same choices again, with FIRST=… ROUNDS=1 those of one round
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_nodes.sh"
SCALE=1 NODE_RATE=2 RANGE=1MiB CUT_MAX_S=${CUT_MAX_S:-40}

nodes_source "${MAJOR:-15}"
step "${ROUNDS:-50} rounds"
node_rounds "${ROUNDS:-50}"
nodes_source_end
