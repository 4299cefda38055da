# shellcheck shell=bash
# Sourced behind harness.sh: backups of a primary and two streaming standbys, each with an agent whose network can be cut,
# that are interrupted at random while everything of resume_round.sh's load goes on, and judged.
#
#   nodes_source MAJOR     servers, load, daemons; nodes_source_end takes all of it away
#   node_rounds N          so many rounds
#
# Settings: NODE_RATE, MiB/s of each node; SEED, told at the start, and FIRST, the number of the first round (1): SEED=… FIRST=7 node_rounds 1 makes
# round 7's choices again. CUT_MAX_S: the longest that a network is cut (14); above 30 the node is given up meanwhile.
. "$TOP/tests/lib/nodes.sh"
. "$TOP/tests/lib/network.sh"
. "$TOP/tests/lib/resume_round.sh"
BESIDE=1 # a backup is judged while the next one is made
NODES=3
RESTORED_PORT=$((PGPORT + 19))
LOAD=${LOAD:-50} CHURN_PAUSE_S=${CHURN_PAUSE_S:-3} # three servers do it
JUDGING=

agent_of() { # N
    network_lines "$1"
    agent_on "$1" "${NETWORK_LINES[@]}"
}
nodes_source() { # MAJOR
    local n
    MAJOR_OF_NODES=$1
    source_make "$1" "$(data_of 1)"
    printf '%s\n' "wal_keep_size = 512MB" "wal_retrieve_retry_interval = 200ms" >>"$SOURCE/postgresql.conf"
    standbys_make $NODES
    network_make $NODES
    coordinator_start
    for ((n = 1; n <= NODES; n++)); do agent_of "$n"; done
    wait_for 20 nodes_are $NODES
    load_start
}
nodes_source_end() {
    load_stop
    cluster_clear
    rm -rf "$T"/space*
}

# ---- one round's choices, all made before it begins: they do not depend on how quick the machine is -----------------
KINDS=(runner runner agent agent coordinator both server session standby network network)
FROMS=(any any prefer-standby prefer-standby primary)
pick() { PICKED=$((RANDOM % $1)); }
choose() { # N: $FROM, $AUTO, and of each interruption $CHOSEN: kind, node, what is waited for before it, how long it is
    local n times kind node before long
    RANDOM=$((SEED * 100 + MAJOR_OF_NODES * 1000000 + $1))
    for n in 1 2 3 4 5; do pick 2; done # the first ones of seeds that follow each other are alike
    pick ${#FROMS[@]} && FROM=${FROMS[PICKED]}
    pick 3 && AUTO=
    [ "$PICKED" != 0 ] || AUTO=1
    pick 6 && times=$((1 + PICKED / 3 + PICKED / 5))
    CHOSEN=()
    for ((n = 0; n < times; n++)); do
        pick ${#KINDS[@]} && kind=${KINDS[PICKED]}
        pick $NODES && node=$((PICKED + 1))
        pick 4000 && before=${PICKED}ms
        pick 24 # something to go on with
        [ $((n + PICKED % 2)) != 0 ] || before=$((1 + PICKED / 2))ranges
        pick 1000 && long=$((PICKED * 2))
        [ "$kind" != network ] || long=$(((PICKED % 3) * (PICKED % 3) * (PICKED % 3) * ${CUT_MAX_S:-14} * 100 + 1400 + PICKED))
        CHOSEN+=("$kind $node $before $long")
    done
}

# ---- interruptions ------------------------------------------------------------------------------------------------
pause_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }
over() { case $(of "$1" .status.phase) in Complete | Failed) ;; *) return 1 ;; esac }
unfinished() { [ "$(of "$1" '.status.progress | .rangesDone < .rangesTotal')" = true ]; }
stored_or_over() { [ "$(in_checkpoints "$(dir_of "$1")" 2>/dev/null | wc -l)" -ge "$2" ] || over "$1"; }
server_again() { # N MS
    server_stop "$1" immediate
    pause_ms "$2"
    server_start "$1"
}
interrupt_node() { # KIND NODE MS
    case $1 in
    runner) pgrep -P "${AGENTS[$2]}" | xargs -r kill -9 2>/dev/null || true ;;
    agent)
        agent_off "$2" KILL
        pause_ms "$3"
        agent_of "$2"
        ;;
    coordinator)
        coordinator_kill
        pause_ms "$3"
        coordinator_start
        ;;
    both)
        coordinator_kill
        agent_off "$2" KILL
        coordinator_start
        pause_ms "$3"
        agent_of "$2"
        ;;
    server) server_again 1 "$3" ;;
    standby) server_again $((2 + $2 % 2)) "$3" ;;
    session) kill_session >/dev/null ;;
    network)
        network_cut "$2"
        pause_ms "$3"
        network_mend "$2"
        ;;
    *) fail "interrupt_node: '$1'" ;;
    esac
}
# It may end before it is interrupted, or be interrupted while it waits for its next attempt.
interruptions() { # NAME
    local name=$1 one kind node before long
    : >"$T/stored-$name"
    for one in "${CHOSEN[@]}"; do
        read -r kind node before long <<<"$one"
        case $before in
        *ranges) wait_for 60 stored_or_over "$name" "${before%ranges}" ;;
        *) pause_ms "${before%ms}" ;;
        esac
        ! phase_is "$name" Complete || break
        if [ -z "$AUTO" ] && phase_is "$name" Failed; then ask_again "$name"; fi
        [ -z "$(of "$name" '.status.backupPath // ""')" ] || note_stored "$name"
        SAYS+=" $kind($node,$before,$long)"
        interrupt_node "$kind" "$node" "$long"
    done
}

# ---- rounds -------------------------------------------------------------------------------------------------------
why_judged() { # what it says itself, in front of all the logs; without a word, where it ended
    grep -m 1 -A 3 '^FAIL: ' "$T/run/judge.log" | sed '/^---/,$d' | grep . || tail -n 3 "$T/run/judge.log"
}
# A backup is judged while the next one is made.
judged() {
    local pid=${JUDGING%% *} name=${JUDGING#* }
    [ -n "$JUDGING" ] || return 0
    JUDGING=
    wait "$pid" || fail "$name (SEED=$SEED MAJOR=$MAJOR_OF_NODES FIRST=${name#round-}): $(why_judged)"
    delete_backup "$name"
}
judge_begin() { # NAME LOW
    UNCHANGED='template1 still' # page checksums say enough of them, most times
    [ $((${1#round-} % 5)) != 0 ] || UNCHANGED=
    (
        trap - EXIT INT TERM
        judge "$@"
    ) >"$T/run/judge.log" 2>&1 &
    JUDGING="$! $1"
    echo "$!" >>"$T/pids"
}
# Of the last attempt: the ranges that earlier ones stored and those that the nodes read now are all there are, each once.
# (Bytes cannot be added up like this: what was planned shrinks and grows until it is read.)
read_once() { # NAME
    [ "$(of "$1" '.status | .progress.rangesDone == .progress.rangesTotal
        and .progress.rangesDone - (.progress.rangesResumed // 0) == ([.nodes[]?.ranges] | add // 0)')" = true ] ||
        fail "$1: $(of "$1" '.status | [.progress, .nodes]')"
}
bytes_by_node() { of "$1" '[.status.nodes[]? | "\(.node) \(.bytes / 1e5 | round / 10) MB"] | join(", ")'; }
one_round() { # N
    local name=round-$1 low began=$SECONDS SAYS=''
    choose "$1"
    RATE=$NODE_RATE
    [ "$FROM" != primary ] || RATE=$((NODE_RATE * NODES))
    backup "$name" "backupFrom: $FROM"
    interruptions "$name"
    low=$(ledger)
    unfinished "$name" || low=1 # it may have been before
    if [ -z "$AUTO" ]; then
        wait_for 60 over "$name"
        phase_is "$name" Complete || ask_again "$name"
    fi
    completes "$name"
    [ ! -s "$T/stored-$name" ] || { expect_out "$ID" id_of "$name" && not_read_again "$name"; }
    read_once "$name"
    wait_for 30 no_holds
    echo "   $name: $FROM${AUTO:+, automatic}:$SAYS; $(wc -l <"$T/stored-$name") of $(of "$name" .status.progress.rangesTotal) ranges had a checkpoint, attempt $(of "$name" .status.attempt); $(bytes_by_node "$name"); $((SECONDS - began)) s"
    judged
    judge_begin "$name" "$low"
}
node_rounds() { # N
    local n first=${FIRST:-1}
    SEED=${SEED:-$(($(date +%s) % 100000))}
    echo "   seed $SEED"
    for ((n = first; n < first + $1; n++)); do one_round "$n"; done
    judged
}
