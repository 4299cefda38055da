# shellcheck shell=bash
# Sourced in the guest of uml.sh: a real NFS server of the kernel, and mounts of it, v4.2 and v3.
#
#   nfs_start · nfs_stop         the server; what is exported stays known
#   nfs_export NAME FSID         /mnt/export/NAME, a file system in memory of its own
#   nfs_export_gone NAME         it is away, all in it, too
#   nfs_mount VERSION NAME       at /mnt/VERSION: hard, as a backup's mount should be
#   nfs_umount VERSION           also when the server does not answer

EXPORT=/mnt/export

nfs_boot() {
    /run/modprobe nfsd && /run/modprobe nfsv3 && /run/modprobe nfsv4
    mkdir -p /run/rpc_pipefs /var/lib/nfs/v4recovery /var/lib/nfs/nfsdcltrack "$EXPORT"
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    mount -t nfsd nfsd /proc/fs/nfsd
    # after a start clients may reclaim what they had for so long: the least that there is
    echo 10 >/proc/fs/nfsd/nfsv4leasetime
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    mount -t tmpfs root "$EXPORT"
    rpcbind -w
    exportfs -i -o ro,fsid=0,insecure,no_subtree_check "127.0.0.1:$EXPORT"
    rpc.nfsd -V 4 4
    rpc.mountd
}
nfs_start() { rpc.nfsd -V 4 4; }
nfs_stop() { rpc.nfsd 0; }
nfs_export() { # NAME FSID
    mkdir -p "$EXPORT/$1"
    mount -t tmpfs -o size=700m,mode=1777 "$1" "$EXPORT/$1"
    exportfs -i -o "rw,fsid=$2,insecure,no_root_squash,no_subtree_check" "127.0.0.1:$EXPORT/$1"
}
nfs_export_gone() { # NAME
    exportfs -u "127.0.0.1:$EXPORT/$1"
    exportfs -f
    umount "$EXPORT/$1"
}
nfs_mount() { # VERSION NAME
    mkdir -p "/mnt/$1"
    case $1 in
    4.2) mount -t nfs4 -o vers=4.2,proto=tcp,hard,timeo=50 "127.0.0.1:/$2" "/mnt/$1" ;;
    3) mount -t nfs -o vers=3,proto=tcp,hard,timeo=50,nolock "127.0.0.1:$EXPORT/$2" "/mnt/$1" ;;
    esac
    grep -q " /mnt/$1 nfs4\? .*vers=$1," /proc/mounts || fail "not mounted as version $1: $(grep nfs /proc/mounts)"
}
nfs_umount() { umount -f -l "/mnt/$1"; }
