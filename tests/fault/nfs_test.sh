#!/usr/bin/env bash
# Backup, log backup and restore over real NFS mounts, v4.2 and v3: the server stops and comes back in the midst of each, it
# hangs for longer than a job waits before it says so, and its export is made anew under the mount. All of it in a kernel
# of its own, tests/fault/nfs_guest.sh; here the database is made, which is slow in there.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"
. "$TOP/tests/lib/uml.sh"

for program in rpc.nfsd rpc.mountd exportfs mount.nfs modprobe; do
    command -v $program >/dev/null || skip "there is no $program here (tests/scripts/deps.sh --fault)"
done
uml_need
step "a database"
log_source
sql postgres -c "create table filler as select n, repeat(md5(random()::text), 30) as text from generate_series(1, 40000) as n"
postgres_stop 15 "$T/source"

step "a kernel with NFS"
uml_run "${NFS_DEADLINE:-900}" "$TOP/tests/fault/nfs_guest.sh" 2048 || fail "in there: status $?"
