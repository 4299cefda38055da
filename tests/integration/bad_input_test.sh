#!/usr/bin/env bash
# Bad input gets a clear error that names file, line, field or setting, with the promised exit status.
. "$(dirname "$0")/../lib/harness.sh"

spec() { printf 'apiVersion: tidemark/v1\nkind: Backup\nmetadata: {name: x}\nspec:\n%s\n' "$1" >"$T/spec.yaml"; }
refused() { # STATUS TEXT SPEC-LINES
    spec "$3"
    expect_fail "$1" "$2" tidemark apply -f "$T/spec.yaml"
}

step "the daemon is not running"
expect_fail 4 "$TIDEMARK_CONTROL_SOCKET" tidemark get backup

step "usage"
expect_fail 2 "apply" tidemark aply -f x
expect_fail 2 "get" tidemark get
expect_fail 2 "" tidemark
expect_fail 1 "" tidemark apply -f "$T/none.yaml" || true

install -d -o postgres -g postgres "$T/restore" "$T/repo"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
daemons_start "$T/source"

step "specs"
refused 2 "spec.yaml:5:3: unknown field 'compresion' in spec of Backup, did you mean 'compression'?" '  compresion: zstd
  br: {cluster: test}
  local: {path: /x}'
refused 2 "spec.yaml:5:" '  br: {cluster: test, concurrency: many}
  local: {path: /x}'
refused 2 "timeAgo" '  br: {cluster: test, timeAgo: 1h}
  local: {path: /x}'
refused 2 "tableFilter" '  tableFilter: ["db.*"]
  br: {cluster: test}
  local: {path: /x}'
refused 2 "spec.yaml:" '  br: {cluster: test, rateLimit: fast}
  local: {path: /x}'
refused 2 "br.cluster" '  local: {path: /x}'
refused 2 "" '  br: {cluster: test}'
printf 'kind: [' >"$T/spec.yaml"
expect_fail 2 "spec.yaml:2:1:" tidemark apply -f "$T/spec.yaml"
head -c 5000 /dev/urandom >"$T/spec.yaml"
expect_fail 2 "spec.yaml" tidemark apply -f "$T/spec.yaml"
expect_fail 3 "nothing" tidemark get backup nothing
expect_fail 3 "nothing" tidemark delete backup nothing

step "configuration files"
for daemon in coordinator agent; do
    cp "$T/$daemon.yaml" "$T/bad.yaml"
    printf 'stat_dir: /x\n' >>"$T/bad.yaml"
    expect_fail 2 "bad.yaml:$(wc -l <"$T/bad.yaml"):1: unknown field 'stat_dir'" \
        "$BUILD/tidemark-$daemon" -c "$T/bad.yaml" --check-config
    as_postgres "$BUILD/tidemark-$daemon" -c "$T/$daemon.yaml" --check-config
    expect_fail 2 "" "$BUILD/tidemark-$daemon" --no-such-flag
done
sed 's|data_dir: .*|data_dir: /nonexistent/main|' "$T/agent.yaml" >"$T/absent.yaml" # not there yet: no reason not to start
as_postgres "$BUILD/tidemark-agent" -c "$T/absent.yaml" --check-config >"$T/absent.out" 2>&1 || fail "status $?: $(cat "$T/absent.out")"
grep -qx "tidemark-agent: warning: data_dir '/nonexistent/main' of tenant 'main' cannot be seen: No such file or directory" "$T/absent.out" ||
    fail "$(cat "$T/absent.out")"

step "data_dir is not the server that conninfo points to; role without rights; unreachable server"
daemons_stop
backup_fails() { # NAME TEXT
    spec '  br: {cluster: test}
  local: {path: '"$T/repo"'}'
    sed -i "s/name: x/name: $1/" "$T/spec.yaml"
    tidemark apply -f "$T/spec.yaml" >/dev/null
    tidemark wait backup "$1" --for=Failed --timeout=120s
    case $(tidemark get backup "$1" -o json | jq -r '.status.lastError.message') in
    *"$2"*) ;;
    *) fail "$(tidemark get backup "$1" -o json | jq -c .status) does not say '$2'" ;;
    esac
}
cp -a "$T/source" "$T/other" && rm -f "$T/other/postmaster.pid"
coordinator_start
agent_config "$T/other"
agent_start
wait_for 20 node_is primary
backup_fails wrong-dir "$T/other"
agent_kill TERM
sql postgres -c "create role poor login"
agent_config "$T/source"
sed -i 's/user=postgres/user=poor/' "$T/agent.yaml"
agent_start
wait_for 20 node_is primary
backup_fails poor-role "GRANT"
agent_kill TERM
sql postgres -c "alter role poor replication" -c "grant pg_monitor to poor"
agent_start
wait_for 20 node_is primary
backup_fails poorer-role "GRANT EXECUTE ON FUNCTION"
agent_kill TERM

step "restore: target not empty, live server, outside the roots"
agent_config "$T/source"
agent_start
wait_for 20 node_is primary
spec '  br: {cluster: test}
  local: {path: '"$T/repo"'}'
sed -i "s/name: x/name: good/" "$T/spec.yaml"
tidemark apply -f "$T/spec.yaml" >/dev/null
tidemark wait backup good --for=Complete --timeout=120s
R=("$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster test)
install -d -o postgres -g postgres "$T/restore/full"
as_postgres touch "$T/restore/full/something"
expect_fail 1 "not empty" as_postgres "${R[@]}" --data-dir "$T/restore/full"
expect_fail 1 "" as_postgres "${R[@]}" --data-dir "$T/source" --delta
sql postgres -c "select 1" >/dev/null || fail "the source was harmed"
expect_fail 3 "nobody" as_postgres "$BUILD/tidemark-agent" restore --storage "file://$T/repo" --cluster nobody --data-dir "$T/restore/n"
expect_fail 3 "20200101T000000Z-00000000" as_postgres "${R[@]}" --backup 20200101T000000Z-00000000 --data-dir "$T/restore/n"
cat >"$T/restore.yaml" <<X
apiVersion: tidemark/v1
kind: Restore
metadata: {name: outside}
spec:
  br: {cluster: test}
  backup: good
  dataDir: /srv/elsewhere
X
tidemark apply -f "$T/restore.yaml" >/dev/null
tidemark wait restore outside --for=Failed --timeout=120s
case $(tidemark get restore outside -o json | jq -r .status.lastError.message) in
*restore_roots*) ;;
*) fail "$(tidemark get restore outside -o json)" ;;
esac

step "file names that are no text: told in one clean line, and no reason to stop"
odd=$(printf 'odd\xff\n\033[31m')
install -m 600 /dev/null "$T/source/$odd" # of root: not readable
backup_fails odd-name "cannot open 'odd???[31m': Permission denied"
rm "$T/source/$odd"
as_postgres ln -s base "$T/source/$odd"
as_postgres mkfifo "$T/source/pipe"
spec '  br: {cluster: test}
  local: {path: '"$T/repo"'}'
sed -i "s/name: x/name: odd-link/" "$T/spec.yaml"
tidemark apply -f "$T/spec.yaml" >/dev/null
tidemark wait backup odd-link --for=Complete --timeout=120s
tidemark get backup odd-link -o json >"$T/odd.json"
expect_json "$T/odd.json" '[.status.problems[] | .file]' '[
  "odd???[31m",
  "pipe"
]'
expect_json "$T/odd.json" '.status.problems[1] | .message + ", block " + (.block | tostring)' 'a named pipe is not in the backup, block null'
tidemark describe backup odd-link | finds -x "  db-a: pipe: a named pipe is not in the backup" || fail "$(tidemark describe backup odd-link)"
grep -q "<4>.*range [0-9]* of job 'odd-link': odd" "$T/agent.log" || fail "not in the agent's log: $(grep odd-link "$T/agent.log")"
as_postgres "$BUILD/tidemark-agent" verify --storage "file://$T/repo" >/dev/null
rm "$T/source/$odd" "$T/source/pipe"
expect_fail 2 "file:///PATH" tidemark backup no --cluster test --storage file://relative/x

step "another cluster's data in the prefix"
postgres_stop 15 "$T/source"
mv "$T/source" "$T/source.old"
postgres_init 15 "$T/source" -k
postgres_start 15 "$T/source"
IDENTITY=$(sql postgres -c "SELECT system_identifier FROM pg_control_system()")
identity_is_known() { [ "$(tidemark nodes -o json | jq -r '.items[0].instances[0].identity')" = "$IDENTITY" ]; }
wait_for 30 identity_is_known
spec '  br: {cluster: test}
  local: {path: '"$T/repo"'}'
sed -i "s/name: x/name: new-life/" "$T/spec.yaml"
tidemark apply -f "$T/spec.yaml" >/dev/null
# another system identifier under the same cluster and tenant: never mixed with what is there
tidemark wait backup new-life --for=Failed --timeout=120s
case $(tidemark get backup new-life -o json | jq -r .status.lastError.message) in
*"holds backups of another database"*) ;;
*) fail "$(tidemark get backup new-life -o json | jq -c .status)" ;;
esac
[ "$(find "$T/repo/test/main" -name identity.mpk | wc -l)" = 1 ] || fail "one incarnation was expected"
# … unless that is said to be meant: then it lies beside the old one
printf '  acceptIncarnation: true\n' >>"$T/spec.yaml"
sed -i "s/name: new-life/name: meant/" "$T/spec.yaml"
tidemark apply -f "$T/spec.yaml" >/dev/null
tidemark wait backup meant --for=Complete --timeout=120s
[ "$(find "$T/repo/test/main" -name identity.mpk | wc -l)" = 2 ] || fail "two incarnations were expected"
daemons_stop
