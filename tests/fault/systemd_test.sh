#!/usr/bin/env bash
# The units as `make install` puts them, under a real systemd with all of their sandboxing, in a kernel of its own
# (tests/fault/systemd_guest.sh): the daemons run, and the coordinator's secrets are encrypted with a key that only the host's
# opens; without that key, and with it back.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/uml.sh"

for program in /lib/systemd/systemd systemd-creds systemd-analyze systemd-sysusers; do
    command -v $program >/dev/null || skip "there is no $program here (tests/scripts/deps.sh --fault)"
done
uml_need
step "installed into /opt"
# what is built is there already, perhaps with other flags
make -s -C "$TOP" -o all install BUILD="$BUILD" DESTDIR="$T/root" PREFIX=/opt/tidemark
expect_out 755 stat -c %a "$T/root/opt/tidemark/lib/tidemark/secrets-key"

step "a machine with systemd"
uml_run_systemd 600 "$TOP/tests/fault/systemd_guest.sh" 768 || fail "in there: status $?"
