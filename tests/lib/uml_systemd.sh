#!/bin/bash
# Goes on where uml_init.sh leaves off, when the guest is to be run by systemd: /etc and /var become file systems in memory,
# $GUEST_SCRIPT a service, and this process systemd, the host's, with no unit of the host's own in /etc.
#
# The script is root's, prints to the test and ends the machine by ending. It finds a journal, no network but loopback.
set -e
mkdir /mnt/etc /mnt/var
cp -a /etc/. /mnt/etc
rm -rf /mnt/etc/systemd/system /mnt/etc/credstore* /mnt/etc/machine-id /mnt/etc/fstab
mkdir -p /mnt/etc/systemd/system /mnt/var/lib/systemd /mnt/var/log /mnt/var/tmp /mnt/var/cache
chmod 1777 /mnt/var/tmp
ln -s /run /mnt/var/run
echo 0123456789abcdef0123456789abcdef >/mnt/etc/machine-id
touch /mnt/etc/fstab
mount --bind /mnt/etc /etc
mount --bind /mnt/var /var
# slow here, and not needed
for unit in systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-sysusers systemd-update-utmp systemd-journal-flush \
    systemd-modules-load systemd-udevd systemd-udev-trigger; do
    ln -s /dev/null "/etc/systemd/system/$unit.service"
done
cat >/etc/systemd/system/guest.target <<X
[Unit]
Requires=guest.service
X
{
    echo "[Unit]"
    echo "After=basic.target systemd-journald.service"
    echo "Requires=basic.target"
    echo "[Service]"
    echo "Type=oneshot"
    echo "StandardOutput=tty"
    echo "StandardError=tty"
    echo "TTYPath=/dev/console"
    printf 'Environment="%s"\n' "PATH=$PATH" HOME=/tmp "GUEST_TOP=$GUEST_TOP" "GUEST_INPUT=$GUEST_INPUT" "TIDEMARK_BUILD=$TIDEMARK_BUILD"
    echo "ExecStart=/bin/bash -c '\"$GUEST_SCRIPT\"; echo \"guest: status \$?\"; sync; poweroff -f -f'"
} >/etc/systemd/system/guest.service
# that the host of this machine may be a container is none of its business
container='' exec /lib/systemd/systemd --unit=guest.target --show-status=no --log-level=notice --log-target=journal
