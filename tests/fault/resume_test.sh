#!/usr/bin/env bash
# Backups of a busy PostgreSQL that are interrupted at random, one to three times each: agent, runner, session, server,
# coordinator. Each completes, under the same id and without reading again what a checkpoint had, and what is restored
# is whole.
#
#   resume_test.sh     ROUNDS=50; MAJOR=15; SEED=… the same interruptions again, as far as the machine is the same
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"

resume_source "${MAJOR:-15}"
step "${ROUNDS:-50} rounds"
resume_rounds "${ROUNDS:-50}"
resume_source_end
