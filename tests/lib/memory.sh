# shellcheck shell=bash
# Sourced behind harness.sh: how much memory processes took at most.
#
#   memory_watch PID NAME    from now on, until it ends; with NAME "children": every child of PID, the highest of all
#   memory_end               the watchers end
#   memory_of NAME           KiB, the highest resident set
#   memory_below NAME KIB    fails when it took more, or when nothing was seen
# The kernel keeps a process's peak, so looking now and then is enough. Sanitizers keep shadows and quarantines of
# their own: there the memory says nothing.
MEMORY_WATCHERS=()

memory_look() { # PID FILE
    local kib
    kib=$(awk '/^VmHWM/ {print $2}' "/proc/$1/status" 2>/dev/null) || true
    [ -z "$kib" ] || [ "$kib" -le "$(cat "$2" 2>/dev/null || echo 0)" ] && return
    echo "$kib" >"$2.new" && mv "$2.new" "$2" # it may be ended between the two
}
memory_watch() {
    local pid=$1 name=$2
    rm -f "$T/memory.$name"
    (
        trap - EXIT
        set +e
        while kill -0 "$pid" 2>/dev/null; do
            if [ "$name" = children ]; then
                for child in $(pgrep -P "$pid"); do memory_look "$child" "$T/memory.$name"; done
            else
                memory_look "$pid" "$T/memory.$name"
            fi
            sleep 0.05
        done
    ) &
    MEMORY_WATCHERS+=("$!")
    echo "$!" >>"$T/pids"
    disown "$!"
}
memory_end() {
    [ "${#MEMORY_WATCHERS[@]}" = 0 ] || kill "${MEMORY_WATCHERS[@]}" 2>/dev/null || true
    MEMORY_WATCHERS=()
}
memory_of() { cat "$T/memory.$1" 2>/dev/null || echo 0; }
memory_below() {
    local kib
    kib=$(memory_of "$1")
    echo "   $1: $kib KiB at most"
    [ "$kib" -gt 0 ] || fail "the memory of $1 was never seen"
    [ -n "${TIDEMARK_SANITIZED:-}" ] || [ "$kib" -lt "$2" ] || fail "$1 took $kib KiB of memory, allowed are $2"
}
