# Sourced behind stores.sh: a proxy that fails as told (fault_proxy.py says how).
#
#   fault_proxy_start ENDPOINT [tls]   $FAULT_URL is where clients go instead of http://127.0.0.1:PORT; tls: by https
#   fault_rules <<X … X                new rules, counters at zero, an empty log; none when there is no input
#   $FAULT_LOG                         what came and what was done
#   fault_count REGEX                  how many lines of it match
FAULT=$T/fault FAULT_RULES=$T/fault/rules FAULT_LOG=$T/fault/log FAULT_URL=''
FAULT_ROUND=0

fault_rules() {
    FAULT_ROUND=$((FAULT_ROUND + 1))
    { echo "# round $FAULT_ROUND" && cat; } >"$FAULT_RULES.new"
    : >"$FAULT_LOG"
    mv "$FAULT_RULES.new" "$FAULT_RULES"
}
fault_proxy_start() {
    local port
    mkdir -p "$FAULT"
    fault_rules </dev/null
    port=$(free_port)
    FAULT_URL=http${2:+s}://127.0.0.1:$port
    store_spawn "$T/fault_proxy.log" python3 "$TOP/tests/lib/fault_proxy.py" "$port" "${1##*:}" "$FAULT_RULES" "$FAULT_LOG" \
        ${2:+"$TLS/server.pem"}
    store_wait "$SPAWNED" "$T/fault_proxy.log" answers "$FAULT_URL"
    fault_rules </dev/null
}
fault_count() { grep -cE -- "$1" "$FAULT_LOG" || true; }
