#!/usr/bin/env bash
# In the guest of nfs_test.sh: see there.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"
. "$TOP/tests/lib/nfs_server.sh"
trap 'status=$?; nfs_start; harness_finish $status' EXIT # with a server: nothing ends as long as it hangs
TOOL=$BUILD/tests/integration/storage_tool
STARTED=$SECONDS
step() { printf '== %3d s  %s\n' $((SECONDS - STARTED)) "$*"; }

step "mounts"
nfs_boot
nfs_export four 4
nfs_export three 3
nfs_mount 4.2 four
nfs_mount 3 three

for version in 4.2 3; do
    step "v$version: every promise of the storage interface"
    as_postgres "$TOOL" "file:///mnt/$version/contract" contract "nfs $version" >"$T/contract.log" 2>&1 ||
        fail "the contract does not hold over NFS $version"
    grep -a PASSED "$T/contract.log"
done

step "the database, coordinator and agent"
cp -a /mnt/input/source "$T/source"
cat >>"$T/source/postgresql.conf" <<X
port = $PGPORT
unix_socket_directories = '$T/run'
checkpoint_timeout = 10min
X
postgres_start 15 "$T/source"
daemons_start "$T/source"
install -d -o postgres -g postgres "$T/restore"

# ---- what the round asks for ----
status_of() { tidemark get backup "$1" -o json | jq -r ".status | $2"; }
of_wal() { status_of "$LOG" "${1#.status}"; }
stored_safely() {
    local mark
    mark=$(now_by_source)
    wait_for 60 is_safe "$mark"
}
is_phase() { [ "$(status_of "$1" .phase)" = "$2" ]; }
in_midst() { [ "$(status_of "$1" '.phase == "Running" and .progress.bytesDone > 0 and .progress.bytesDone < .progress.bytesTotal')" = true ]; }
backup_begin() { # NAME: at a pace that leaves time for what happens to it
    tidemark backup "$1" --cluster test --storage "$URL" --rate-limit 8 --no-wait >/dev/null
    wait_for 60 in_midst "$1"
}
backup_ends_well() {
    tidemark wait backup "$1" --for=Complete --timeout=120s || fail "backup '$1': $(status_of "$1" .)"
}
says() { # NAME PATTERN, in its warnings or its last error
    status_of "$1" '([.warnings[]?] + [.lastError.message // ""])[]' | grep -qE "$2"
}
# The agent is asked for every second, to the end: it is never away.
heart_watch() {
    while sleep 1; do echo "$SECONDS $(tidemark nodes -o json | jq -r '.items[0].connected')"; done >>"$T/heart"
}
heart_is_well() {
    end_process "$HEART_PID"
    awk -v seen="$SECONDS" 'BEGIN {last = seen} NR > 1 && $1 - last > 10 {print "nothing for " $1 - last " s"; bad = 1}
        $2 != "true" {print "at " $1 " s: " $2; bad = 1} {last = $1} END {exit bad || NR < 10}' "$T/heart" >"$T/heart.bad" ||
        fail "the agent was away: $(cat "$T/heart.bad")"
    echo "   asked $(wc -l <"$T/heart") times, always there"
}
heart_watch &
HEART_PID=$!
echo $HEART_PID >>"$T/pids"

hangs_in() { # VERSION; the server has just stopped
    local began=$SECONDS hang="^node 'db-a': storage '$URL' hangs: [a-z ]+ '[^']*' has taken longer than 60 s$"
    step "v$1: it stays away: another backup is made meanwhile, a storage test says so at its deadline"
    tidemark backup "local-$1" --cluster test --storage "file://$T/repo" >/dev/null
    expect_out Complete status_of "local-$1" .phase
    expect_fail 1 "node 'db-a': storage '$URL' hangs: " tidemark storage test --storage "$URL" --cluster test --timeout 3s
    step "v$1: after a minute the jobs say which node, which path and in what"
    wait_for 80 says "full-$1" "$hang"
    wait_for 80 says "$LOG" "$hang"
    [ $((SECONDS - began)) -ge 55 ] || fail "said after $((SECONDS - began)) s"
    [ $((SECONDS - began)) -le 90 ] || fail "said after $((SECONDS - began)) s only"
    in_midst "full-$1" || fail "backup full-$1: $(status_of "full-$1" .)"
}

made_anew() { # VERSION NAME FSID: what was stored is there again, under other handles
    nfs_stop
    cp -a "$EXPORT/$2" "$T/kept"
    nfs_export_gone "$2"
    nfs_export "$2" "$3"
    cp -a "$T/kept/." "$EXPORT/$2/"
    rm -rf "$T/kept"
    nfs_start
    wait_for 60 says "$LOG" "Stale file handle$"
    status_of "$LOG" .lastError.message
    expect_fail 1 "Stale file handle" tidemark backup "stale-$1" --cluster test --storage "$URL"
    is_phase "stale-$1" Failed || fail "backup stale-$1: $(status_of "stale-$1" .)"
    nfs_umount "$1"
    nfs_mount "$1" "$2"
    stored_safely
    no_error() { [ "$(of_wal '.status.lastError // "none"')" = none ]; }
    wait_for 30 no_error
}

away() { # BEFORE_S AWAY_S
    sleep "$1"
    nfs_stop
    sleep "$2"
    nfs_start
}

round() { # VERSION NAME FSID
    LOG=wal-$1 URL=file:///mnt/$1/repo
    install -d -o postgres -g postgres "/mnt/$1/repo"
    tidemark storage test --storage "$URL" --cluster test -o json >"$T/out.json" || fail "$(cat "$T/out.json")"
    expect_json "$T/out.json" '.items[0].nodes[0] | "\(.result) \(.conditionalCreate) \(.mount.type | .[:3]) \(.mount.point)"' "ok true nfs /mnt/$1"
    tidemark log start "$LOG" --cluster test --storage "$URL" --flush-interval 500ms >/dev/null
    LOAD=20 ledger_start

    step "v$1: the server stops in the midst of a backup and of a log backup"
    backup_begin "full-$1"
    nfs_stop
    in_midst "full-$1" || fail "too late: $(status_of "full-$1" .)"
    if [ "$1" = 4.2 ]; then hangs_in "$1"; else sleep 8; fi
    step "v$1: it is back"
    nfs_start
    backup_ends_well "full-$1"
    stored_safely
    [ "$(of_wal .status.phase)" = Running ] || fail "the log is $(of_wal .status.phase)"

    step "v$1: its export is made anew below the mount"
    made_anew "$@"
    tidemark backup "next-$1" --cluster test --storage "$URL" >/dev/null
    expect_out Complete status_of "next-$1" .phase

    step "v$1: restored, the server away for a while in its midst"
    stored_safely
    ledger_stop
    stored_safely
    away 2 5 &
    ledger_survives "/mnt/$1/repo" "$(now_by_source)"
    wait $!
    [ "$LEDGER_SUM" = "$(ledger_sum)" ] || fail "restored '$LEDGER_SUM', the source has '$(ledger_sum)'"
    as_postgres "$BUILD/tidemark-agent" verify --storage "$URL" >"$T/verify.log" || fail "$(cat "$T/verify.log")"
    tidemark log stop "$LOG" >/dev/null
}
round 4.2 four 14
round 3 three 13
heart_is_well
daemons_stop
step "all ok"
