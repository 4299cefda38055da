#!/usr/bin/env bash
# Ten backups that are interrupted at random. See tests/lib/resume_round.sh; longer: tests/fault/resume_test.sh.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/resume_round.sh"
SCALE=1 RATE=8

resume_source 15
step "ten rounds"
resume_rounds 10
resume_source_end
