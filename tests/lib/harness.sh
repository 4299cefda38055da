# Sourced by integration tests: real servers on loopback, started and ended here.
#
#   $T       a directory of this test's own, removed at the end (kept with TIDEMARK_TEST_KEEP=1); in TIDEMARK_TEST_DIR,
#            default /var/tmp
#   $BUILD   where the binaries are (TIDEMARK_BUILD, default build/)
#   step TEXT · fail TEXT · skip REASON (exit 77)
#   postgres_init MAJOR DATA [initdb options] · postgres_start MAJOR DATA · postgres_stop MAJOR DATA [mode]
#   sql DATABASE [psql options]   pgbench …   as_postgres CMD…   reload_conf
#   daemons_start DATA · daemons_stop · coordinator_start · coordinator_kill · agent_start · agent_kill [signal]
#   tidemark …                    the CLI on this test's coordinator
#   expect_out WANT CMD… · expect_fail STATUS TEXT CMD… · expect_json FILE JQ WANT · wait_for SECONDS CMD…
#   CMD… | finds PATTERN          instead of grep -q
#
# Everything a test starts has its pid in $T/pids and is ended by the exit trap, nothing else is touched.
# Run as root: PostgreSQL and the daemons run as the postgres user.
set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${TIDEMARK_BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
PG15=/usr/lib/postgresql/15/bin
export LC_ALL=C.UTF-8 TZ=UTC PGUSER=postgres PGCONNECT_TIMEOUT=10

T=$(mktemp -d "${TIDEMARK_TEST_DIR:-/var/tmp}/tidemark-test.XXXXXX")
chmod 755 "$T"
install -d -o postgres -g postgres "$T/run"
: >"$T/pids"
# one port a test: the pid keeps tests that run side by side apart. Below 32768, where the kernel takes the ports of
# outgoing connections from: one of those on this port would keep the coordinator from listening. PostgreSQL listens
# on a socket in $T only, its port is but a part of the name.
PGPORT=$((20000 + $$ % 20000))
AGENT_PORT=$((12000 + $$ % 20000))
export PGHOST=$T/run PGPORT
export TIDEMARK_CONTROL_SOCKET=$T/run/control.sock
# sanitized binaries: leaks inside libnng's reaper are not ours, everything else is fatal
export LSAN_OPTIONS=suppressions=$TOP/tests/lib/lsan.supp:print_suppressions=0
# (use_sigaltstack: ASan trips over its own alternate stack when a short-lived thread ends; exitcode: none that a test
# expects of a command that is to fail)
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:use_sigaltstack=0:exitcode=99
export TSAN_OPTIONS=halt_on_error=1:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1:exitcode=99
PATIENCE_S=120 # what is waited for may take this long at least, on the slowest machine

step() { printf '== %s\n' "$*"; }
fail() {
    printf 'FAIL: %s\n' "$*" >&2
    for log in "$T"/*.log "$T"/run/*.log; do
        [ -e "$log" ] && printf -- '--- %s\n' "$log" >&2 && tail -n 25 "$log" >&2
    done
    exit 1
}
skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}

# A pid that was noted long ago may be another's by now: only what this test has started is killed.
is_mine() { [ "$(ps -o ppid= -p "$1" | tr -d ' ')" = $$ ] || grep -qsF "$T" "/proc/$1/environ" "/proc/$1/cmdline"; }

harness_finish() {
    local status=$1 pid
    set +e
    trap - EXIT INT TERM
    local data
    for data in "$T"/.postgres-*; do
        [ -e "$data" ] && postgres_stop "$(cut -d' ' -f1 "$data")" "$(cut -d' ' -f2- "$data")" immediate >/dev/null 2>&1
    done
    while read -r pid; do is_mine "$pid" && kill -9 "$pid" 2>/dev/null; done <"$T/pids"
    wait 2>/dev/null
    [ ! -e "$T/.networks" ] || while read -r network; do ip netns del "$network"; done <"$T/.networks"
    [ ! -e "$T/.store-ports" ] || xargs rm -f <"$T/.store-ports"
    awk -v top="$T/" 'index($2, top) == 1 {print $2}' /proc/mounts | xargs -r umount
    if grep -l "Sanitizer: \|runtime error: " "$T"/*.log 2>/dev/null; then
        grep -h -A 25 "Sanitizer: \|runtime error: " "$T"/*.log >&2
        status=1
    fi
    if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
        printf 'failed with status %s at line %s\n' "$status" "${BASH_LINENO[0]:-?}" >&2
    fi
    [ -n "${TIDEMARK_TEST_KEEP:-}" ] && printf 'kept: %s\n' "$T" || rm -rf "$T"
    exit "$status"
}
trap 'harness_finish $?' EXIT
trap 'exit 130' INT TERM

as_postgres() { runuser -u postgres -- "$@"; }

# ---- PostgreSQL ----------------------------------------------------------------------------------------------
bindir() { "$TOP/tests/scripts/get-postgres.sh" "$1"; }
mark_of() { printf '%s/.postgres-%s' "$T" "$(printf '%s' "$1" | md5sum | cut -c1-12)"; }

postgres_init() {
    local major=$1 data=$2
    shift 2
    install -d -o postgres -g postgres -m 700 "$data"
    as_postgres "$(bindir "$major")/initdb" -A trust -U postgres -E UTF8 --locale=C -N "$@" -D "$data" >/dev/null
    cat >>"$data/postgresql.conf" <<X
port = $PGPORT
listen_addresses = ''
unix_socket_directories = '$T/run'
fsync = off
max_wal_size = 4GB
X
}
postgres_start() {
    local major=$1 data=$2
    printf '%s %s\n' "$major" "$data" >"$(mark_of "$data")"
    as_postgres "$(bindir "$major")/pg_ctl" -D "$data" -l "$T/run/$(basename "$data").log" -w -t 120 start >/dev/null ||
        fail "PostgreSQL $major does not start: $(tail -n 20 "$T/run/$(basename "$data").log")"
    # pg_ctl does not wait for the end of a recovery, until when nothing can be written
    [ -e "$data/standby.signal" ] || wait_for 60 recovery_is_over
}
recovery_is_over() { [ "$(sql postgres -c 'select pg_is_in_recovery()')" = f ]; }
postgres_stop() { # a busy disk takes its time for the last checkpoint
    local major=$1 data=$2 mode=${3:-fast}
    as_postgres "$(bindir "$major")/pg_ctl" -D "$data" -m "$mode" -w -t 240 stop >/dev/null
    rm -f "$(mark_of "$data")"
}
sql() {
    local database=$1
    shift
    "$PG15/psql" -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"
}
# The configuration files are in force: new sessions have them, and every process of the server has been told.
reload_conf() {
    local before
    before=$(sql postgres -c "select pg_conf_load_time()")
    sql postgres -c "select pg_reload_conf()" >/dev/null
    wait_for 30 loaded_since "$before"
}
loaded_since() { [ "$(sql postgres -c "select pg_conf_load_time() > '$1'")" = t ]; }
pgbench() { "$PG15/pgbench" "$@"; }
# pgbench in the background until writer_stop, or the end of the test: 500 transactions a second, as one without a limit
# takes all processors, and fills the log with GiB
writer_start() { # DATABASE
    "$PG15/pgbench" -n -c 4 -R 500 -T 3600 "$1" >"$T/pgbench.log" 2>&1 &
    WRITER_PID=$!
    echo "$WRITER_PID" >>"$T/pids"
}
writer_stop() {
    kill -0 "$WRITER_PID" 2>/dev/null || fail "pgbench ended by itself: $(tail -n 5 "$T/pgbench.log")"
    end_process "$WRITER_PID"
}

# ---- Tidemark --------------------------------------------------------------------------------------------------
tidemark() { "$BUILD/tidemark" "$@"; }

spawn() { # LOG CMD… as postgres, in the background, in the network namespace $SPAWN_NET; its pid is in $SPAWNED
    local log=$1
    shift
    ${SPAWN_NET:+nsenter "--net=/run/netns/$SPAWN_NET"} setpriv --reuid=postgres --regid=postgres --init-groups "$@" >>"$log" 2>&1 &
    SPAWNED=$!
    echo "$SPAWNED" >>"$T/pids"
    # until it is another program, this shell's traps are its own: a signal would be caught and lost
    while [ "$(readlink "/proc/$SPAWNED/exe")" = "$(readlink "/proc/$$/exe")" ]; do sleep 0.01; done
}
coordinator_start() { # [OPTION…]
    install -d -o postgres -g postgres -m 700 "$T/coordinator"
    cat >"$T/coordinator.yaml" <<X
listen: ${COORDINATOR_LISTEN:-tcp://127.0.0.1:$AGENT_PORT}
control_socket: $TIDEMARK_CONTROL_SOCKET
state_dir: $T/coordinator
${COORDINATOR_MORE:-}
X
    spawn "$T/coordinator.log" "$BUILD/tidemark-coordinator" -c "$T/coordinator.yaml" "$@"
    COORDINATOR_PID=$SPAWNED
    wait_for 20 tidemark version
}
agent_config() { # DATA: the configuration of agent db-a, to be changed by a test before agent_start
    install -d -o postgres -g postgres -m 700 "$T/agent"
    cat >"$T/agent.yaml" <<X
coordinators: [tcp://127.0.0.1:$AGENT_PORT]
cluster: test
node: db-a
state_dir: $T/agent
instances:
  - tenant: main
    engine: postgres
    data_dir: $1
    conninfo: "host=$T/run port=$PGPORT user=postgres dbname=postgres"
restore_roots: [$T/restore]
X
}
agent_start() {
    spawn "$T/agent.log" "$BUILD/tidemark-agent" -c "$T/agent.yaml"
    AGENT_PID=$SPAWNED
}
node_is() { tidemark nodes | finds "$1"; }
daemons_start() {
    [ -d "$T/repo" ] || install -d -o postgres -g postgres "$T/repo"
    coordinator_start
    agent_config "$1"
    agent_start
    wait_for 20 node_is primary
}
end_process() { # PID [SIGNAL]; one that does not end within 90 s fails the test and says where it stands
    local deadline=$((SECONDS + 90)) task
    kill "-${2:-TERM}" "$1" 2>/dev/null || true
    while kill -0 "$1" 2>/dev/null; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            for task in "/proc/$1/task"/*; do echo "$(cat "$task/comm"): $(cat "$task/wchan" "$task/syscall" 2>/dev/null | tr '\0\n' '  ')" >&2; done
            ! command -v gdb >/dev/null || gdb -p "$1" -batch -ex 'thread apply all bt' 2>/dev/null | grep -E '^(Thread|#)' >&2
            fail "process $1 ($(cat "/proc/$1/comm")) does not end by signal ${2:-TERM}"
        fi
        sleep 0.02
    done
    wait "$1" 2>/dev/null || true
}
coordinator_kill() { end_process "$COORDINATOR_PID" "${1:-KILL}"; }
agent_kill() { end_process "$AGENT_PID" "${1:-KILL}"; }
daemons_stop() {
    agent_kill TERM
    coordinator_kill TERM
}
runner_pids() { pgrep -P "$AGENT_PID" || true; }

# ---- assertions --------------------------------------------------------------------------------------------------
expect_out() {
    local want=$1 got
    shift
    got=$("$@") || fail "'$*' ended with status $?"
    [ "$got" = "$want" ] || fail "'$*' printed '$got' instead of '$want'"
}
# the command fails with exactly this status and says this text (a fixed string) on either stream
expect_fail() {
    local status=$1 text=$2 got out
    shift 2
    set +e
    out=$("$@" 2>&1)
    got=$?
    set -e
    [ "$got" -eq "$status" ] || fail "'$*' ended with status $got instead of $status: $out"
    case $out in
    *"$text"*) ;;
    *) fail "'$*' said '$out', which does not contain '$text'" ;;
    esac
}
expect_json() {
    local got
    got=$(jq -r "$2" "$1") || fail "jq $2 on $(cat "$1")"
    [ "$got" = "$3" ] || fail "$2 is '$got' instead of '$3' in $(cat "$1")"
}
# grep -q at the end of a pipe: it reads all, as who writes into a pipe that nobody reads dies, and the pipe with it
finds() { grep "$@" >/dev/null; }
wait_for() { # SECONDS CMD…: how long it takes at most where nothing else runs; it is no measurement
    local deadline=$((SECONDS + ($1 > PATIENCE_S ? $1 : PATIENCE_S))) began pause_us pause
    shift
    while true; do
        began=${EPOCHREALTIME/[^0-9]/}
        ! "$@" >/dev/null 2>&1 || return 0
        [ "$SECONDS" -lt "$deadline" ] || fail "still not true after a while: $*"
        # what is costly to ask is asked less often: others need the processor for what is waited for
        pause_us=$((3 * (${EPOCHREALTIME/[^0-9]/} - began)))
        pause_us=$((pause_us < 50000 ? 50000 : pause_us > 500000 ? 500000 : pause_us))
        printf -v pause '0.%06d' $pause_us
        sleep "$pause"
    done
}
