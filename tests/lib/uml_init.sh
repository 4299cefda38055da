#!/bin/bash
# The first process in User-Mode-Linux, started by uml.sh: makes a system of the host's read-only files, runs $GUEST_SCRIPT,
# says its status and switches the machine off.
#
# What the script finds: file systems in memory at /run, /tmp, /var/tmp, /var/lib/nfs and /mnt; the directory $T of the host's
# test at /mnt/input; loopback; modules load by their names, also those that the kernel asks for.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
set -e
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/shm
for directory in /dev/shm /run /tmp /var/lib/nfs /mnt; do mount -t tmpfs memory $directory; done
chmod 1777 /dev/shm /tmp
# the tree may lie where a file system in memory hides it
if ! [ -e "$GUEST_SCRIPT" ]; then
    mkdir -p "$GUEST_TOP"
    mount -t hostfs none "$GUEST_TOP" -o "$GUEST_TOP"
fi
mkdir /mnt/input
mount --bind "$GUEST_INPUT" /mnt/input
mount -t tmpfs memory /var/tmp # hides the test's directory
chmod 1777 /var/tmp
# the modules of this kernel are not where the host's are
mkdir -p /run/modules/lib
ln -s /usr/lib/uml/modules /run/modules/lib/modules
printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
set +e
[ -z "${GUEST_SYSTEMD:-}" ] || exec "$GUEST_TOP/tests/lib/uml_systemd.sh"
"$GUEST_SCRIPT"
echo "guest: status $?"
poweroff -f >/dev/null 2>&1
