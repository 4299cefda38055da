#!/bin/sh
# Run by tidemark-secrets-key.service as root before every start of the coordinator.
#
# Happy path: the first time, 32 random bytes go through a pipe into systemd-creds, which seals them with the host's key;
# the result is opened again, and only then takes its name, durably. Every time, what is there is opened, and a copy of it,
# still sealed, is put where the coordinator's unit looks for its credential.
# Failure modes: systemd-creds cannot seal here; nothing is left behind. It cannot open what was sealed (another host, another
# host's key): that is kept as it is, no copy is made, and the coordinator starts without a key and says which secrets it
# cannot read. Were the kept file itself the unit's credential, systemd would not start the coordinator at all.
#
# The bytes of the key are in pipes only. They are sealed with the host's key, not with a TPM, whose state changes with
# firmware; a key that somebody has sealed so before is used as it is.
set -eu
umask 077
name=tidemark.secrets-key
kept=${CONFIGURATION_DIRECTORY:-/etc/credstore.encrypted}/$name
handed=${RUNTIME_DIRECTORY:-/run/credstore.encrypted}/$name.checked
fresh=

fail() {
    echo "$*" >&2
    exit 1
}
trap 'if [ -n "$fresh" ]; then rm -f "$fresh"; fi' EXIT
trap 'exit 1' TERM # took too long
opens() { # FILE: it holds a key, and this host can open it
    [ "$(systemd-creds decrypt --name="$name" "$1" - | wc -c)" -eq 32 ]
}

rm -f "$handed"
if ! [ -e "$kept" ]; then
    # not where systemd looks for names
    fresh=$(mktemp "${kept%/*}/.$name.XXXXXXXX")
    head -c 32 /dev/urandom | systemd-creds encrypt --with-key=host --name="$name" - - >"$fresh" ||
        fail "cannot seal a key with this host's; secrets are stored without"
    opens "$fresh" || fail "what was sealed with this host's key cannot be opened; secrets are stored without a key"
    sync "$fresh"
    ln "$fresh" "$kept" # fails when somebody else was faster: nothing is replaced
    sync "${kept%/*}"
    echo "made a key for secrets, sealed with this host's: '$kept'"
fi
opens "$kept" || fail "this host cannot open the key '$kept': secrets that are encrypted with it cannot be read until it can"
cp "$kept" "$handed.new"
mv "$handed.new" "$handed"
