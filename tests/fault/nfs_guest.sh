#!/usr/bin/env bash
# In the guest of nfs_test.sh: see there.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/log_kill.sh"
. "$TOP/tests/lib/nfs_server.sh"
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
