# shellcheck shell=bash
# Sourced behind resume_round.sh: backups that are interrupted and cannot go on where they stopped, or only in part.
#
#   begins NAME [LINE…]        a backup, until storage has enough of it to go on with; then the agent is killed: DIR, ID
#   goes_on NAME               the agent is there again, the backup is asked for again, and completes
#   refused NAME PATTERN CMD…  CMD runs between the attempts: ranges start over by themselves, a warning says why, what there
#                              was is swept, and the backup that comes of it is judged
#   says NAME PATTERN          one of its warnings matches, all of it; $over, $cannot, $slot, $lsn are parts of patterns
#   nothing_of ID              nothing of it is stored but a tombstone
RATE=8 SCALE=2
slot='tidemark_b_????????_????????????????'
lsn='[0-9A-F]*/[0-9A-F]*'
over="ranges started over:"
cannot="$over instance 'main': the snapshot cannot be resumed:"

warned() { of "$1" '.status.warnings[]?'; }
says() {
    local line
    while IFS= read -r line; do
        # shellcheck disable=SC2254 # a pattern
        case $line in
        $2)
            printf '   %s: %s\n' "$1" "$line"
            return
            ;;
        esac
    done < <(warned "$1")
    fail "$1 says '$(warned "$1")', not '$2'"
}
files_of() { find "$REPO" -path "*/backup/$1/*" -type f ! -name deleted.mpk; } # ID
nothing_of() { [ -z "$(files_of "$1")" ]; }
begins() {
    backup "$@"
    checkpointed "$1"
    agent_kill
    note_stored "$1"
    DIR=$(dir_of "$1")
}
goes_on() {
    agent_start
    kept "$1"
    ask_again "$1"
    completes "$1"
}
refused() {
    local name=$1 pattern=$2 low
    shift 2
    begins "$name"
    "$@"
    low=$(ledger)
    agent_start
    tidemark wait backup "$name" --for=Failed --timeout=120s || fail "$name: $(of "$name" .status)"
    wait_for 30 node_is primary
    tidemark retry backup "$name" >/dev/null
    completes "$name"
    says "$name" "$pattern"
    [ "$(id_of "$name")" != "$ID" ] || fail "$name has the same id"
    nothing_of "$ID" || fail "left of $ID: $(files_of "$ID")"
    wait_for 30 no_holds
    judge "$name" "$low"
    delete_backup "$name"
}
