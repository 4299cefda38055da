#!/usr/bin/env bash
# tidemark-agent restore, list and verify with every daemon gone: exit status and words for each way they end.
. "$(dirname "$0")/../lib/harness.sh"

install -d -o postgres -g postgres "$T/repo" "$T/restore"
coordinator_start
agent_config "$T/data"
sed -i "s/engine: postgres/engine: \"null\"/; s|conninfo:.*|conninfo: \"files=300 bytes=20000 big=5000000 log=300000\"|" "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
tidemark backup first --cluster test --storage "file://$T/repo" >/dev/null
daemons_stop
rm -rf "$T/coordinator" "$T/agent" "$T/run/control.sock"

alone() { as_postgres "$BUILD/tidemark-agent" "$@"; }
restore() { # DIRECTORY [OPTION…]
    local dir=$T/restore/$1
    shift
    alone restore --storage "file://$T/repo" --cluster test --data-dir "$dir" "$@"
}
backup=$(find "$T/repo" -name manifest.mpk -printf '%h\n')
id=$(basename "$backup")

step "list, for people and for programs"
alone list --storage "file://$T/repo" | finds "^$id  *test  *main  *full  *committed" || fail "$(alone list --storage "file://$T/repo")"
alone list --storage "file://$T/repo" -o json >"$T/list.json"
expect_json "$T/list.json" '.backups | length' 1
expect_json "$T/list.json" '.backups[0].id' "$id"
expect_json "$T/list.json" '.backups[0].state + " " + .backups[0].type + " " + .backups[0].engine' "committed full null"
expect_json "$T/list.json" '.recoverable[0].backup' "$id"
expect_json "$T/list.json" '.recoverable[0].from == .backups[0].commitTs' true
for command in list search; do
    expect_fail 3 "holds no cluster 'other': there is test" alone $command --storage "file://$T/repo" --cluster other
    expect_fail 3 "cluster 'test' has no tenant 'mian': there is main" alone $command --storage "file://$T/repo" --cluster test --tenant mian
done
expect_fail 3 "holds nothing of a tenant 'mian'" alone list --storage "file://$T/repo" --tenant mian
alone search --storage "file://$T/repo" --cluster test | finds "^no events$" || fail "events without a log"
alone search --storage "file://$T/repo" --cluster test -o json >"$T/search.json"
expect_json "$T/search.json" ".events | length" 0

step "wrong words: status 2, and where help is"
expect_fail 2 "--storage is needed" alone list
expect_fail 2 "'--clutser' is no option" alone verify --clutser x
expect_fail 2 "--data-dir is needed" alone restore --storage "file://$T/repo" --cluster test
expect_fail 2 "'--storage' wants a value" alone restore --storage
expect_fail 2 "'--to' has an empty value" alone restore --storage "file://$T/repo" --to "" # not: the backup's own end
expect_fail 2 "'--to=' has an empty value" alone restore --storage "file://$T/repo" --to=
expect_fail 2 "--tablespace-map wants OLD=NEW" alone restore --tablespace-map /a
expect_fail 2 "--storage is needed" alone search
expect_fail 2 "--port: 70000 is not in 1 to 65535" alone restore --port 70000
expect_fail 2 "--from is later than --to" alone search --storage "file://$T/repo" --cluster test \
    --from 2026-11-22T00:00:00Z --to 2026-11-21T00:00:00Z
for command in list search verify restore; do
    alone "$command" --help | finds "^usage: tidemark-agent $command" || fail "no help of $command"
done

step "what is not there: status 3"
expect_fail 3 "" alone restore --storage "file://$T/repo" --cluster other --data-dir "$T/restore/x"
expect_fail 3 "" restore x --backup 20200101T000000Z-00000000
expect_fail 3 "" restore x --to 2020-01-01T00:00:00Z
expect_fail 3 "is not a Tidemark repository" alone list --storage "file://$T/restore"
[ ! -e "$T/restore/x" ] || fail "something was written"

step "a place that is too small: said before anything is written"
install -d "$T/small"
mount -t tmpfs -o size=2m,mode=777 tmpfs "$T/small"
expect_fail 1 "has room for 2.0 MiB, data and log to be replayed need" alone restore --storage "file://$T/repo" --cluster test \
    --data-dir "$T/small/below/data"
[ -z "$(ls "$T/small")" ] || fail "something was written"
umount "$T/small"

step "a dry run says what would be done, and does nothing"
restore dry --dry-run >"$T/dry.out"
grep -q "^would restore backup $id into" "$T/dry.out" && grep -q "ranges, .* to be fetched, in about [0-9.]*s by 2 threads" "$T/dry.out" ||
    fail "$(cat "$T/dry.out")"
[ ! -e "$T/restore/dry" ] || fail "a dry run wrote something"

step "a restore, and again as delta"
restore whole >/dev/null
[ -e "$T/restore/whole/STARTABLE" ] || fail "it cannot start"
expect_fail 1 "is not empty" restore whole
printf 'damage' | dd of="$T/restore/whole/zbig" bs=1 seek=300000 conv=notrunc status=none
restore whole --delta --threads 4 | finds "kept" || fail "nothing kept"
restore again -q >/dev/null
diff -r "$T/restore/whole" "$T/restore/again" || fail "the two differ"
expect_fail 1 "" restore elsewhere --restore-root "$T/nowhere"

step "interrupted: nothing that starts"
setpriv --reuid=postgres --regid=postgres --init-groups "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test \
    --data-dir "$T/restore/cut" --rate-limit 1 -q >"$T/cut.log" 2>&1 &
pid=$!
echo "$pid" >>"$T/pids"
written() { [ -e "$T/restore/cut/d00000" ]; }
wait_for 10 written
kill -INT "$pid"
set +e
wait "$pid"
status=$?
set -e
[ "$status" = 1 ] || fail "an interrupted restore ended with $status: $(cat "$T/cut.log")"
grep -q "canceled" "$T/cut.log" || fail "$(cat "$T/cut.log")"
[ ! -e "$T/restore/cut/STARTABLE" ] || fail "it could be started"

step "verify: good, then one bit, then one byte less, of every object in turn"
alone verify --storage "file://$T/repo" | finds "good: " || fail "not good"
while read -r object; do
    case $object in */plan/*) continue ;; esac # serves the running backup only
    name=$(basename "$object")
    size=$(stat -c %s "$object")
    cp -p "$object" "$T/kept"
    python3 -c "
import sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(int(sys.argv[2])); b = f.read(1); f.seek(-1, 1); f.write(bytes([b[0] ^ 1]))" "$object" $((size / 2))
    for damage in bit byte; do
        expect_fail 1 "$name" alone verify --storage "file://$T/repo"
        expect_fail 1 "$name" restore "damaged-$name-$damage"
        [ ! -e "$T/restore/damaged-$name-$damage/STARTABLE" ] || fail "a damaged backup can be started"
        case $object in
        */data/*) expect_fail 1 "range $((16#${name%%-*}))" restore "range-$name-$damage" ;;
        esac
        cp -p "$T/kept" "$object"
        truncate -s -1 "$object"
    done
    cp -p "$T/kept" "$object"
done < <(find "$backup" -type f)
alone verify --storage "file://$T/repo" >/dev/null
restore last >/dev/null
diff -r "$T/restore/whole" "$T/restore/last" || fail "the last restore differs"
