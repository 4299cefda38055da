# Sourced behind harness.sh by tests that need real object stores: each is started on loopback below $T, on ports that
# are free, and ended by the exit trap or by its _stop.
#
#   stores_need ceph|swift|azurite …   skips the test where one of them is not installed (deps.sh --check does that)
#   free_port                      prints a port that nothing listens on, another one each time
#   tls_make                       a CA of the test's own, and a server certificate for 127.0.0.1 and localhost:
#                                  $TLS/ca.pem $TLS/server.pem (certificate and key) $TLS/server.crt $TLS/server.key
#   ceph_start [sts] [cold] [bluestore]   Ceph RGW. $CEPH_HTTP and $CEPH_HTTPS are its endpoints (the second after tls_make
#                                  only); sts: AssumeRole is there, too; cold: a storage class COLD is; bluestore:
#                                  objects on disk, not in memory.
#                                  $CEPH_KMS_KEY is a key of its for SSE-KMS, over https only
#   ceph_role NAME USER            a role that may do anything with buckets, for the user to assume
#   ceph_assume ACCESS SECRET ROLE SECONDS   assumes it; prints access_key=…, secret_key=…, session_token=…
#   ceph_user NAME ACCESS SECRET [radosgw-admin options]   one is there from the start: $S3_ACCESS, $S3_SECRET
#   ceph_stop · ceph_gateway_stop · ceph_gateway_start     all of it, or the gateway alone: what is stored stays
#   swift_start · swift_stop       OpenStack Swift with its S3 interface. $SWIFT_HTTP, $SWIFT_ACCESS, $SWIFT_SECRET.
#                                  Knows no conditional create
#   azurite_start [tls|oauth]      Azure blobs. $AZURITE_HTTP, $AZURITE_ACCOUNT, $AZURITE_KEY; tls: https only, after
#   azurite_stop                   tls_make; oauth: that, and bearer tokens are accepted, too
#   s3 [ENDPOINT ACCESS SECRET --] METHOD PATH [FILE] [header: value]…   one signed request of a client that shares
#                                  nothing with the code under test; prints the body; without --: this test's Ceph.
#                                  Status 22 when the answer is an error
#   az METHOD PATH [FILE] [header: value]…   the same for Azurite; PATH begins behind the account
#   az_sas CONTAINER|"" PERMISSIONS SECONDS  prints a SAS token of a container, or of the account, for so long
#
# All of them run as root.
CEPH=$T/ceph SWIFT=$T/swift AZURITE=$T/azurite TLS=$T/tls
CEPH_HTTP='' CEPH_HTTPS='' CEPH_KMS_KEY=test-key SWIFT_HTTP='' AZURITE_HTTP=''
S3_ACCESS=AKIATIDEMARKTEST0001 S3_SECRET=tidemark/secret+of=the/tests0123456789ab
SWIFT_ACCESS=test:tester SWIFT_SECRET=testing
AZURITE_ACCOUNT=tidemarktest AZURITE_KEY=$(printf 'tidemark tests, not a secret at all' | base64)

stores_need() {
    local store
    for store in "$@"; do
        case $store in
        ceph) command -v radosgw ceph-mon ceph-osd ceph >/dev/null || skip "no Ceph RGW here: tests/scripts/deps.sh --check" ;;
        swift)
            # the distribution's python3: that is whose modules they are
            command -v memcached >/dev/null && /usr/bin/python3 -c 'import swift.common.middleware.s3api' 2>/dev/null ||
                skip "no OpenStack Swift here: tests/scripts/deps.sh --check"
            ;;
        azurite) "$TOP/tests/scripts/get-azurite.sh" >/dev/null || skip "no Azurite here: it comes from npm" ;;
        *) fail "no store is called '$store'" ;;
        esac
    done
}

# Away from the coordinators' ports, from 6800 to 7300, where the OSD of any test's Ceph takes what it likes, and from
# where outgoing connections take one. A port is noted as this test's from when it is chosen: it is bound only later,
# and tests run side by side.
STORE_PORT=$((7400 + $$ * 61 % 4600))
claim_port() {
    local note=/var/tmp/tidemark-test-port.$1 owner
    (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 1
    owner=$(cat "$note" 2>/dev/null) && ! kill -0 "$owner" 2>/dev/null && rm -f "$note"
    (set -o noclobber && echo $$ >"$note") 2>/dev/null || return 1
    echo "$note" >>"$T/.store-ports"
}
free_port() {
    local port
    port=$(cat "$T/.store-port" 2>/dev/null || echo "$STORE_PORT")
    while ! claim_port "$port"; do port=$((port < 11999 ? port + 1 : 7400)); done
    echo $((port < 11999 ? port + 1 : 7400)) >"$T/.store-port"
    echo "$port"
}
answers() { curl -ks -o /dev/null --max-time 5 "$1"; }
store_spawn() { # LOG CMD…: in the background, as root; its pid is in $SPAWNED
    local log=$1
    shift
    "$@" >>"$log" 2>&1 &
    SPAWNED=$!
    disown "$SPAWNED" # the shell need not tell that it was killed
    echo "$SPAWNED" >>"$T/pids"
}
# Until it answers; one that has ended will not. Polled closely: the servers are there within seconds.
store_wait() { # PID LOG CMD…
    local pid=$1 log=$2 deadline=$((SECONDS + PATIENCE_S))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || fail "the store has ended: $(tail -n 20 "$log")"
        [ "$SECONDS" -lt "$deadline" ] || fail "the store does not answer: $(tail -n 20 "$log")"
        sleep 0.05
    done
}
store_end() { # PIDFILE…: those that still run
    local file pid
    for file in "$@"; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        rm -f "$file"
        kill -9 "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
        sed -i "/^$pid\$/d" "$T/pids" # another process may get the number
    done
}

tls_make() {
    mkdir -p "$TLS"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Tidemark test CA" \
        -keyout "$TLS/ca.key" -out "$TLS/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=store" -keyout "$TLS/server.key" \
        -out "$TLS/server.csr" 2>/dev/null
    openssl x509 -req -in "$TLS/server.csr" -CA "$TLS/ca.pem" -CAkey "$TLS/ca.key" -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost") \
        -out "$TLS/server.crt" 2>/dev/null
    cat "$TLS/server.crt" "$TLS/server.key" >"$TLS/server.pem"
    chmod 755 "$TLS"
    chmod 644 "$TLS/ca.pem"
}

# ---- Ceph RGW: one monitor, one OSD, one gateway ---------------------------------------------------------------
ceph_conf() { # STS OBJECTSTORE
    local tls=''
    CEPH_HTTP=http://127.0.0.1:$(free_port)
    if [ -e "$TLS/server.pem" ]; then
        CEPH_HTTPS=https://127.0.0.1:$(free_port)
        tls="ssl_endpoint=${CEPH_HTTPS#https://} ssl_certificate=$TLS/server.pem"
    fi
    # without tcp_nodelay each request on a kept connection waits 40 ms for an acknowledgement
    cat >"$CEPH/ceph.conf" <<X
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon_host = v1:127.0.0.1:$(free_port)
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_osd_full_ratio = 0.99
mon_osd_nearfull_ratio = 0.98
mon_osd_backfillfull_ratio = 0.98
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_fast_shutdown = true
osd_objectstore = $2
osd_memory_target = 939524096
memstore_device_bytes = 4294967296
bluestore_block_size = 17179869184
bluestore_cache_autotune = false
bluestore_cache_size = 134217728
paxos_propose_interval = 0.1
paxos_min_wait = 0.02
log_file = $CEPH/log/\$name.log
log_to_stderr = false
run_dir = $CEPH/run
admin_socket = $CEPH/run/\$name.asok
[mon.a]
mon_data = $CEPH/mon
[osd.0]
osd_data = $CEPH/osd
[client.rgw.a]
rgw_frontends = beast endpoint=${CEPH_HTTP#http://} $tls tcp_nodelay=1
rgw_s3_auth_use_sts = $1
rgw_sts_key = abcdefghijklmnop
rgw_sts_min_session_duration = 1
rgw_crypt_s3_kms_backend = testing
rgw_crypt_s3_kms_encryption_keys = $CEPH_KMS_KEY=$(printf 'tidemark tests, 32 bytes of a key' | head -c 32 | base64)
rgw_data = $CEPH
rgw_dns_name = s3.localhost
rgw_thread_pool_size = 32
rgw_run_sync_thread = false
rgw_enable_usage_log = false
rgw_enable_quota_threads = false
rgw_enable_ops_log = false
X
}
ceph_do() { "$@" >>"$CEPH/log/out.log" 2>&1 || fail "'$*': $(tail -n 20 "$CEPH/log/out.log")"; }
# As ceph_do, for a monitor that has just begun: for a moment it refuses everything. What is asked may be asked twice.
ceph_do_soon() {
    for _ in $(seq 60); do
        "$@" >>"$CEPH/log/out.log" 2>&1 && return
        sleep 0.25
    done
    ceph_do "$@"
}
ceph_start() {
    local sts=false cold=false objectstore=memstore option uuid
    for option in "$@"; do
        case $option in
        sts) sts=true ;;
        cold) cold=true ;;
        bluestore) objectstore=bluestore ;;
        *) fail "ceph_start: no option '$option'" ;;
        esac
    done
    rm -rf "$CEPH"
    mkdir -p "$CEPH/mon" "$CEPH/osd" "$CEPH/run" "$CEPH/log"
    ceph_conf "$sts" "$objectstore"
    export CEPH_CONF=$CEPH/ceph.conf
    local mon out=$CEPH/log/out.log
    mon=$(sed -n 's/^mon_host = //p' "$CEPH_CONF")
    ceph_do monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" --addv a "[$mon]" "$CEPH/monmap"
    ceph_do ceph-mon --mkfs -i a --monmap "$CEPH/monmap"
    store_spawn "$out" ceph-mon -f -i a
    echo "$SPAWNED" >"$CEPH/run/mon.pid"
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph_do_soon ceph osd new "$uuid"
    ceph_do ceph-osd -i 0 --mkfs --osd-uuid "$uuid"
    store_spawn "$out" ceph-osd -f -i 0
    echo "$SPAWNED" >"$CEPH/run/osd.pid"
    ceph_do_soon ceph osd crush add osd.0 1.0 root=default host=store
    ceph_user tester "$S3_ACCESS" "$S3_SECRET" # makes what a storage class belongs to
    if $cold; then ceph_storage_class COLD; fi
    ceph_gateway_start
}
ceph_gateway_start() {
    store_spawn "$CEPH/log/gateway.log" radosgw -f -n client.rgw.a
    echo "$SPAWNED" >"$CEPH/run/gateway.pid"
    store_wait "$SPAWNED" "$CEPH/log/client.rgw.a.log" answers "$CEPH_HTTP"
}
ceph_gateway_stop() { store_end "$CEPH/run/gateway.pid"; }
ceph_stop() { store_end "$CEPH"/run/*.pid; }
ceph_user() {
    local name=$1 access=$2 secret=$3
    shift 3
    radosgw-admin user create --uid="$name" --display-name="$name" --access-key="$access" --secret-key="$secret" "$@" \
        >>"$CEPH/log/out.log" 2>&1 || fail "radosgw-admin: $(tail -n 5 "$CEPH/log/out.log")"
}

# Before the gateway begins: one that is killed to read it again holds up the next change of users for half a minute.
ceph_storage_class() {
    local to=(--placement-id default-placement --storage-class "$1")
    ceph_do radosgw-admin zonegroup placement add --rgw-zonegroup default "${to[@]}"
    ceph_do radosgw-admin zone placement add --rgw-zone default "${to[@]}" --data-pool "default.rgw.$1"
}
ceph_role() {
    local who="arn:aws:iam:::user/$2"
    ceph_do radosgw-admin role create --role-name="$1" --assume-role-policy-doc='{"Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["'"$who"'"]}, "Action": ["sts:AssumeRole"]}]}'
    ceph_do radosgw-admin role-policy put --role-name="$1" --policy-name=all --policy-doc='{"Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}]}'
}
ceph_assume() {
    local answer field
    printf 'Action=AssumeRole&Version=2011-06-15&RoleSessionName=tests&RoleArn=arn:aws:iam:::role/%s&DurationSeconds=%s' \
        "$3" "$4" >"$T/assume.form"
    answer=$(STORE_KEY=$1 STORE_SECRET=$2 python3 "$TOP/tests/lib/store_client.py" sts "$CEPH_HTTP" POST / "$T/assume.form" \
        "content-type: application/x-www-form-urlencoded") || fail "AssumeRole: $answer"
    for field in access_key=AccessKeyId secret_key=SecretAccessKey session_token=SessionToken; do
        printf '%s=%s\n' "${field%=*}" "$(grep -o "<${field#*=}>[^<]*" <<<"$answer" | cut -d'>' -f2)"
    done
}

# ---- OpenStack Swift ---------------------------------------------------------------------------------------------
swift_server_conf() { # KIND PORT
    cat >"$SWIFT/etc/$1.conf" <<X
[DEFAULT]
devices = $SWIFT/srv
mount_check = false
bind_ip = 127.0.0.1
bind_port = $2
workers = 0
user = root
swift_dir = $SWIFT/etc
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
log_requests = false
X
}
swift_proxy_conf() { # PORT MEMCACHED-PORT
    local filter
    cat >"$SWIFT/etc/proxy.conf" <<X
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $1
workers = 0
user = root
swift_dir = $SWIFT/etc
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$2
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
X
    for filter in catch_errors gatekeeper healthcheck listing_formats bulk copy slo dlo; do
        printf '[filter:%s]\nuse = egg:swift#%s\n' $filter $filter >>"$SWIFT/etc/proxy.conf"
    done
}
swift_is_healthy() { [ "$(curl -s --max-time 5 "$SWIFT_HTTP/healthcheck")" = OK ]; }
swift_start() {
    local kind port servers=()
    rm -rf "$SWIFT"
    mkdir -p "$SWIFT/etc" "$SWIFT/srv/disk" "$SWIFT/run" "$SWIFT/log"
    cat >"$SWIFT/etc/swift.conf" <<X
[swift-hash]
swift_hash_path_prefix = tidemark
swift_hash_path_suffix = tests
[storage-policy:0]
name = gold
default = yes
X
    port=$(free_port)
    store_spawn "$SWIFT/log/memcached.log" memcached -u root -l 127.0.0.1 -p "$port" -m 16
    echo "$SPAWNED" >"$SWIFT/run/memcached.pid"
    for kind in account container object; do
        servers+=("$kind:$(free_port)")
        swift_server_conf $kind "${servers[-1]#*:}"
    done
    servers+=("proxy:$(free_port)")
    SWIFT_HTTP=http://127.0.0.1:${servers[-1]#*:}
    swift_proxy_conf "${servers[-1]#*:}" "$port"
    store_spawn "$SWIFT/log/servers.log" /usr/bin/python3 "$TOP/tests/lib/swift_servers.py" "$SWIFT/etc" "${servers[@]}"
    echo "$SPAWNED" >"$SWIFT/run/servers.pid"
    store_wait "$SPAWNED" "$SWIFT/log/servers.log" swift_is_healthy
    for kind in "${servers[@]}"; do
        store_wait "$SPAWNED" "$SWIFT/log/servers.log" answers "http://127.0.0.1:${kind#*:}/"
    done
}
swift_stop() { store_end "$SWIFT"/run/*.pid; }

# ---- Azurite -------------------------------------------------------------------------------------------------------
azurite_start() {
    local options=() port program
    program=$("$TOP/tests/scripts/get-azurite.sh")
    rm -rf "$AZURITE"
    mkdir -p "$AZURITE"
    port=$(free_port)
    AZURITE_HTTP=http://127.0.0.1:$port
    if [ -n "${1:-}" ]; then
        options+=(--cert "$TLS/server.crt" --key "$TLS/server.key")
        AZURITE_HTTP=https://127.0.0.1:$port
        [ "$1" != oauth ] || options+=(--oauth basic)
    fi
    AZURITE_ACCOUNTS="$AZURITE_ACCOUNT:$AZURITE_KEY" store_spawn "$AZURITE/out.log" node "$program" --blobHost 127.0.0.1 \
        --blobPort "$port" --location "$AZURITE" --disableTelemetry --skipApiVersionCheck --silent "${options[@]}"
    echo "$SPAWNED" >"$AZURITE/azurite.pid"
    store_wait "$SPAWNED" "$AZURITE/out.log" answers "$AZURITE_HTTP"
}
azurite_stop() { store_end "$AZURITE/azurite.pid"; }

s3() {
    local endpoint=$CEPH_HTTP access=$S3_ACCESS secret=$S3_SECRET
    if [ "${4:-}" = -- ]; then
        endpoint=$1 access=$2 secret=$3
        shift 4
    fi
    STORE_KEY=$access STORE_SECRET=$secret python3 "$TOP/tests/lib/store_client.py" s3 "$endpoint" "$@"
}
az() {
    STORE_KEY=$AZURITE_ACCOUNT STORE_SECRET=$AZURITE_KEY python3 "$TOP/tests/lib/store_client.py" azure \
        "$AZURITE_HTTP/$AZURITE_ACCOUNT" "$@"
}
az_sas() { STORE_KEY=$AZURITE_ACCOUNT STORE_SECRET=$AZURITE_KEY python3 "$TOP/tests/lib/store_client.py" sas "$@"; }
