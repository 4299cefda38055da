#!/usr/bin/env bash
# Ten backups of a primary and two standbys that are interrupted at random. See tests/lib/resume_nodes.sh; longer:
# tests/fault/resume_test.sh.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_nodes.sh"
SCALE=1 NODE_RATE=2 RANGE=1MiB

nodes_source 15
step "${ROUNDS:-10} rounds"
node_rounds "${ROUNDS:-10}"
nodes_source_end
