#!/bin/bash
# The service of systemd_test.sh in its machine.
set -u
export LC_ALL=C.UTF-8
SECRET=hunter2-value
STORED=/var/lib/tidemark/coordinator/secrets
KEPT=/etc/credstore.encrypted/tidemark.secrets-key
HOST_KEY=/var/lib/systemd/credential.secret
step() { printf '== %s\n' "$*"; }
fail() {
    printf 'FAIL: %s\n' "$*"
    journalctl -o cat --no-pager -n 40 | grep -v '^Starting\|^Started\|^Finished'
    exit 1
}
expect() { # WANT CMD…
    local want=$1 got
    shift
    got=$("$@" 2>&1)
    [ "$got" = "$want" ] || fail "$*: '$got' instead of '$want'"
}
said() { journalctl -o cat --no-pager -u "$1" | grep -qF -- "$2" || fail "$1 does not say '$2'"; }
tidemark() { /opt/tidemark/bin/tidemark "$@"; }
of() { tidemark get secret "$1" -o json | jq -r "$2"; }
create() { tidemark create secret "$1" --from-literal "access_key=AK" --from-literal "secret_key=$SECRET"; }

mount --bind /mnt/input/root/opt /opt
mkdir -p /etc/tidemark
cp /opt/tidemark/share/tidemark/examples/coordinator.yaml /etc/tidemark/
sed 's/engine: postgres/engine: "null"/; s|conninfo:.*|conninfo: "files=5"|; s|data_dir:.*|data_dir: /var/lib/data|' \
    /opt/tidemark/share/tidemark/examples/agent.yaml >/etc/tidemark/agent.yaml
install -d -o postgres -g postgres -m 700 /var/lib/data
cp /opt/tidemark/lib/systemd/system/*.service /etc/systemd/system/
systemd-sysusers /opt/tidemark/lib/sysusers.d/tidemark.conf 2>/dev/null
systemd-tmpfiles --create /opt/tidemark/lib/tmpfiles.d/tidemark.conf 2>/dev/null
systemctl daemon-reload

step "the units are without fault ($(systemctl --version | sed -n 1p))"
expect "" systemd-analyze verify tidemark-secrets-key.service tidemark-coordinator.service tidemark-agent@postgres.service

step "without systemd-creds there is no key; the coordinator starts, and says how secrets are stored"
mkdir -p /run/systemd/system/tidemark-secrets-key.service.d
printf '[Unit]\nConditionPathExists=/nowhere/systemd-creds\n' >/run/systemd/system/tidemark-secrets-key.service.d/none.conf
systemctl daemon-reload
systemctl start tidemark-coordinator || fail "it does not start"
said tidemark-coordinator "secrets are stored in plain files"
expect "secret/old created" create old
expect plain of old .file
rm -r /run/systemd/system/tidemark-secrets-key.service.d
systemctl daemon-reload

step "with one that the host's has sealed they are encrypted, also those of before once they are written"
systemctl restart tidemark-coordinator || fail "it does not start"
said tidemark-secrets-key "made a key for secrets, sealed with this host's"
said tidemark-coordinator "of credential 'tidemark.secrets-key'"
said tidemark-coordinator "1 secret was stored before in a weaker form"
expect "600 root root" stat -c '%a %U %G' $KEPT
expect plain of old .file
expect "secret/old unchanged" create old
expect "secret/new created" create new
for name in old new; do
    expect encrypted of $name .file
    expect "600 tidemark tidemark" stat -c '%a %U %G' $STORED/$name
    expect "tidemark secret 2 aes-256-gcm" cut -d' ' -f1-4 <(head -n 1 -z $STORED/$name | head -n 1)
    grep -qaF $SECRET $STORED/$name && fail "$name is there in plain"
done

step "the key is where it belongs, for whom it belongs to"
main=$(systemctl show -P MainPID tidemark-coordinator)
directory=$(tr '\0' '\n' </proc/"$main"/environ | sed -n 's/^CREDENTIALS_DIRECTORY=//p')
expect 32 stat -c %s "$directory/tidemark.secrets-key"
runuser -u nobody -- cat "$directory/tidemark.secrets-key" >/dev/null 2>&1 && fail "everybody can read the key"
journalctl -o export --no-pager >/run/journal.text
# found where it is looked for, so that it would be found elsewhere, too
expect "$directory/tidemark.secrets-key" python3 - "$directory/tidemark.secrets-key" "$directory" /etc /var /run/journal.text \
    /run/credstore.encrypted /run/systemd /run/tidemark /run/log "/proc/$main/environ" "/proc/$main/cmdline" <<'X'
import base64, os, sys
key = open(sys.argv[1], "rb").read()
words = [key, key.hex().encode(), base64.b64encode(key)]
def files(place):
    if not os.path.isdir(place):
        yield place
    for directory, _, names in os.walk(place):
        yield from (os.path.join(directory, name) for name in names)
for path in sorted({path for place in sys.argv[2:] for path in files(place)}):
    if not os.path.islink(path) and (os.path.isfile(path)) and any(word in open(path, "rb").read() for word in words):
        print(path)
X

step "they are read again, by the coordinator and by an agent of its sandbox"
sum=$(sha256sum $STORED/new)
systemctl restart tidemark-coordinator || fail "it does not start"
expect null of new .error
expect "secret/new unchanged" create new
systemctl start tidemark-agent@postgres || fail "the agent does not start"
up() { tidemark nodes | grep -q 'db-a *up'; }
for _ in $(seq 100); do if up; then break; else sleep 0.2; fi; done
up || fail "no node is up: $(tidemark nodes)"

step "a host that cannot open the key any more: it starts, names what it cannot read, and changes nothing"
sum=$(sha256sum $STORED/* $KEPT)
mv $HOST_KEY /var/kept.key
systemd-creds setup 2>/dev/null
[ -e $HOST_KEY ] || fail "the host has no other key"
systemctl restart tidemark-coordinator || fail "it does not start"
said tidemark-secrets-key "this host cannot open the key '$KEPT'"
case $(create third 2>&1) in
*"not stored: secret 'new' is there encrypted and cannot be opened"*) ;;
*) fail "created is: $(create third 2>&1)" ;;
esac
case $(of new .error) in
*"'$STORED/new': it is encrypted with key "*" of credential 'tidemark.secrets-key', and there is no such key here"*) ;;
*) fail "$(of new .error)" ;;
esac
expect "$sum" sha256sum $STORED/* $KEPT

step "and with the host's key back all is as it was"
rm -f $HOST_KEY
mv /var/kept.key $HOST_KEY
systemctl restart tidemark-coordinator || fail "it does not start"
expect null of new .error
expect "secret/new unchanged" create new
expect encrypted of new .file

step "their sandboxes are tight (0 is the tightest, 100 none)"
for unit in tidemark-coordinator tidemark-secrets-key tidemark-agent@postgres; do
    systemd-analyze security --no-pager --threshold=25 $unit >/run/security 2>&1 || fail "$(grep Overall /run/security)"
done
systemctl stop tidemark-agent@postgres tidemark-coordinator || fail "they do not stop"
exit 0
