#!/usr/bin/env bash
# The simulation notices bugs: each of those planted on purpose is found within 2,000 seeds, and a seed replays exactly.
. "$(dirname "$0")/../lib/harness.sh"

sim=$BUILD/tests/sim/sim
step "planted bugs"
"$sim" --plants 2000

step "the same seed twice"
"$sim" --seed 42 --verbose >"$T/first"
"$sim" --seed 42 --verbose >"$T/second"
cmp "$T/first" "$T/second"
"$sim" --seed 43 --real --verbose >"$T/first"
"$sim" --seed 43 --real --verbose >"$T/second"
cmp "$T/first" "$T/second"
