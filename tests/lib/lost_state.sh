# The coordinator's state is lost: what is compared, and when it may be. Sourced after harness.sh.

# What storage proves of all backups: everything but how log tasks are at this moment.
list() {
    tidemark get backup -o json | jq -S 'def still: del(.logCheckpointTs, .logCheckpointPosition, .latencySeconds, .skewSeconds,
        .recoverable, .holds, .backupSize, .logSize, .storage, .position);
        [.items[] | if .spec.backupMode == "log" then .status |= still | (.status.tenants[]?) |= still else . end] | sort_by(.metadata.name)'
}
nothing_waits() { # what is to be kept in storage is there
    [ "$(sqlite3 -readonly "$T/coordinator/state.db" "select count(*) from kv where cast(key as text) like 'intent/%'")" = 0 ]
}
is_same() { list >"$T/after.json" && diff "$1" "$T/after.json" >"$T/list.diff"; } # FILE
same_list() { # FILE: the list is as it was, soon
    local tries=0
    until is_same "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the list differs: $(diff "$1" "$T/after.json" | tr -s "\n " "  ")"
        sleep 0.2
    done
}
lose_state() {
    coordinator_kill KILL
    rm -rf "$T/coordinator"
}
