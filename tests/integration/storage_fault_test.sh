#!/usr/bin/env bash
# Faults between a storage driver and a real store, one script at a time: what was asked for is done all the same or
# fails cleanly, as each script says, and whatever is in the store afterwards is whole and right.
# shellcheck disable=SC1010 # "done" is a word of scripts here
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
. "$TOP/tests/lib/fault_proxy.sh"
TOOL=$BUILD/tests/integration/storage_tool
SMALL=1000000 BIG=20000000 # one request; three parts
N=0

STORE=s3 # or azblob

direct() { "$TOOL" --secret "$T/secret" "$DIRECT" "$@"; }
faulty() { "$TOOL" --timeout "$TIMEOUT_MS" --secret "$T/secret" "$FAULTY" "$@"; }
uploads() { # Azure does not tell, and drops them by itself
    [ "$STORE" = s3 ] || { echo 0 && return; }
    s3 GET "/faults?uploads=" | grep -c "<UploadId>" || true
}

# script TITLE OPTIONS… -- CMD… <<rules: CMD of storage_tool through the proxy; {} is this script's name
#   done              it succeeds
#   fails TEXT        it fails with status 1 and says TEXT
#   there SIZE        afterwards the object is there, and each byte as written (seed: the script's number)
#   absent            … it is not there
#   timeout MS        deadline of a call, else 60 s
#   faults N[+]       so many requests met a fault, or at least so many
#   requests N        so many requests in all
#   uploads N         so many unfinished uploads are left (0), and the sweep removes them
script() {
    local title=$1 want='' text='' size='' faults='' requests='' left=0 status=0 name
    N=$((N + 1))
    name=o/$N
    TIMEOUT_MS=60000
    shift
    while [ "$1" != -- ]; do
        case $1 in
        done) want=0 && shift ;;
        fails) want=1 text=$2 && shift 2 ;;
        there) size=$2 && shift 2 ;;
        absent) size=none && shift ;;
        timeout) TIMEOUT_MS=$2 && shift 2 ;;
        faults) faults=$2 && shift 2 ;;
        requests) requests=$2 && shift 2 ;;
        uploads) left=$2 && shift 2 ;;
        *) fail "$title: no option '$1'" ;;
        esac
    done
    shift
    printf '%2d %s\n' "$N" "$title"
    fault_rules
    faulty "${@//\{\}/$name}" >"$T/out" 2>&1 || status=$?
    TITLE=$title
    [ "$status" = "$want" ] || wrong "status $status instead of $want: $(cat "$T/out")"
    [ -z "$text" ] || grep -qF -- "$text" "$T/out" || wrong "it said '$(cat "$T/out")', which does not contain '$text'"
    check_store "$name" "$size" "$left"
    check_log "$faults" "$requests"
}
wrong() { fail "$N $TITLE: $*
$(tail -n 30 "$FAULT_LOG")"; }
check_store() { # NAME SIZE|none UPLOADS
    local got
    case $2 in
    '') ;;
    none)
        got=$(direct list "$1")
        [ -z "$got" ] || wrong "the store has '$got'"
        ;;
    *) got=$(direct get "$1" "$2" "$N" 2>&1) || wrong "what is stored: $got" ;;
    esac
    got=$(uploads)
    [ "$got" = "$3" ] || wrong "$got unfinished uploads instead of $3"
    [ "$3" = 0 ] || [ "$(direct sweep)" = "$3" ] || wrong "not all unfinished uploads can be swept"
    [ "$(uploads)" = 0 ] || wrong "unfinished uploads stay"
}
check_log() { # FAULTS REQUESTS
    local got
    got=$(fault_count ' [a-z][a-z-]*( [^ ]+)*$')
    case $1 in
    '') [ "$got" -gt 0 ] || wrong "no request met a fault" ;;
    *+) [ "$got" -ge "${1%+}" ] || wrong "$got faults instead of $1" ;;
    *) [ "$got" = "$1" ] || wrong "$got faults instead of $1" ;;
    esac
    [ -z "$2" ] || [ "$(fault_count .)" = "$2" ] || wrong "$(fault_count .) requests instead of $2"
}

stores_need ceph azurite
ceph_start
(umask 077 && printf '%s\n' "access_key=$S3_ACCESS" "secret_key=$S3_SECRET" >"$T/secret")
s3 PUT /faults
fault_proxy_start "$CEPH_HTTP"
DIRECT="s3://faults/r?provider=ceph&endpoint=$CEPH_HTTP"
FAULTY="s3://faults/r?provider=ceph&endpoint=$FAULT_URL"

step "one request"
script "slow down, twice" done there $SMALL faults 2 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ first=2 : answer 503 SlowDown
X
script "an internal error that was none: the object is there" done there $SMALL -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : answer-after 500 InternalError
X
script "reset inside the body" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : reset-request 300000
X
script "the answer is lost: ours is not called another's" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : lost
X
script "refused early, and closed" done there $SMALL -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : early 503 SlowDown
X
script "a wrong ETag" done there $SMALL -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : header-answer ETag "00000000000000000000000000000000"
X
script "a bit flips on the way" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : flip-request 1234
X
script "a slow line" done there $SMALL -- put {} $SMALL $((N + 1)) <<X
PUT /o/ : slow 500000
X
script "never anything but slow down" fails "SlowDown" absent timeout 4000 faults 3+ -- put {} $SMALL $((N + 1)) <<X
PUT /o/ : answer 503 SlowDown
X
script "no answer ever" fails "(retryable)" absent timeout 3000 -- put {} 100 $((N + 1)) <<X
PUT /o/ : hang
X
script "no answer once" done there 100 faults 1 -- put {} 100 $((N + 1)) <<X
PUT /o/ nth=1 : hang
X
script "an expired token that nobody renews" fails "ExpiredToken" absent -- put {} $SMALL $((N + 1)) <<X
PUT /o/ : answer 400 ExpiredToken
X
script "not allowed: said at once" fails "AccessDenied" absent faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ : answer 403 AccessDenied
X
direct put o/$((N + 1)) $SMALL $((N + 1))
script "another's object, made after we looked" fails "it already exists" there $SMALL faults 3 -- put {} 500 99 <<X
HEAD /o/ nth=1 : answer 404
PUT /o/ first=2 : answer 500 InternalError
X

step "parts"
script "slow down, some parts" done there $BIG faults 2 -- put {} $BIG $((N + 1)) <<X
PUT partNumber= nth=1 : answer 503 SlowDown
PUT partNumber= nth=3 : answer 503 SlowDown
X
script "reset inside a part" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=2 nth=1 : reset-request 5000000
X
script "a part's answer is lost" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=2 nth=1 : lost
X
script "a part's ETag is wrong" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=2 nth=1 : header-answer ETag "00000000000000000000000000000000"
X
script "a bit of a part flips" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=2 nth=1 : flip-request 7654321
X
script "the beginning's answer is lost: an upload is left over" done there $BIG uploads 1 -- put {} $BIG $((N + 1)) <<X
POST \?uploads nth=1 : lost
X
script "an error inside the end's 200" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
POST uploadId= nth=1 : answer 200 InternalError
X
script "… which had its effect" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
POST uploadId= nth=1 : answer-after 200 InternalError
X
script "the end's answer is lost" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
POST uploadId= nth=1 : lost
X
script "the end's answer is cut" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
POST uploadId= nth=1 : close-answer 60
X
script "… and its length agrees" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
POST uploadId= nth=1 : shorten-answer 60
X
script "never an end" fails "InternalError" absent timeout 5000 -- put {} $BIG $((N + 1)) <<X
POST uploadId= : answer 500 InternalError
X
script "never an end by its body" fails "InternalError" absent timeout 5000 -- put {} $BIG $((N + 1)) <<X
POST uploadId= : answer 200 InternalError
X
script "a part is not allowed: the upload is given up" fails "AccessDenied" absent faults 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=3 : answer 403 AccessDenied
X
script "neither a part nor giving up is allowed: left over" fails "AccessDenied" absent uploads 1 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=2 : answer 403 AccessDenied
DELETE uploadId= : answer 403 AccessDenied
X
direct put o/$((N + 1)) $BIG $((N + 1))
script "another's object, seen after a lost answer" fails "it already exists" there $BIG faults 1 -- put {} $BIG 99 <<X
PUT partNumber=1 nth=1 : lost
X

step "the writer is killed"
N=$((N + 1)) TITLE="killed inside an upload" TIMEOUT_MS=60000
fault_rules <<X
PUT partNumber=3 : hang
X
"$TOOL" --secret "$T/secret" "$FAULTY" put o/$N $BIG $N seal >"$T/out" 2>&1 &
echo $! >>"$T/pids" && KILLED=$! && disown $!
wait_for 20 grep -q 'partNumber=2.* 200 ' "$FAULT_LOG"
end_process "$KILLED" KILL
check_store o/$N none 1

step "reading"
direct put r/x $BIG 77
direct put r/y 10 78
script "slow down" done faults 2 -- get r/x $BIG 77 <<X
GET /r/x first=2 : answer 503 SlowDown
X
script "reset inside the answer" done faults 3 -- get r/x $BIG 77 <<X
GET /r/x nth=1 : reset-answer 100000
GET /r/x nth=3 : reset-answer 0
GET /r/x nth=5 : close-answer 4999999
X
script "fewer bytes than asked for" done faults 1 -- get r/x $BIG 77 <<X
GET /r/x nth=1 : shorten-answer 100
X
script "always fewer bytes" fails "cannot read 'r/x'" timeout 4000 -- get r/x $BIG 77 <<X
GET /r/x : shorten-answer 100
X
script "no answer" fails "(retryable)" timeout 3000 -- get r/y 10 78 <<X
GET /r/y : hang
X
script "looking fails: that is not absence" fails "cannot stat 'r/x'" timeout 3000 -- stat r/x <<X
HEAD /r/x : answer 503 SlowDown
X
grep -qF "(retryable)" "$T/out" || fail "it is not called retryable: $(cat "$T/out")"
script "not allowed is not absence, either" fails "cannot stat 'r/x'" faults 1+ -- stat r/x <<X
HEAD /r/x : answer 403
X
! grep -qi "no such\|not found" "$T/out" || fail "forbidden is called absent: $(cat "$T/out")"

step "listing"
for n in 1 2 3 4 5; do direct put "l/$n" 10 "$n"; done
five() { [ "$(cat "$T/out")" = "$(printf 'l/%d 10\n' 1 2 3 4 5)" ] || fail "$N: the list is '$(cat "$T/out")'"; }
script "slow down" done faults 1 -- list l/ <<X
GET list-type nth=1 : answer 503 SlowDown
X
five
script "the answer is cut" done faults 2 -- list l/ <<X
GET list-type nth=1 : close-answer 500
GET list-type nth=2 : reset-answer 700
X
five
script "… and its length agrees; an error instead of a list" done faults 3 -- list l/ <<X
GET list-type nth=1 : shorten-answer 400
GET list-type nth=2 : answer 200 InternalError
GET list-type nth=3 : answer 200 SlowDown
X
five
script "always shorter: no shorter list" fails "IncompleteList" faults 3 -- list l/ <<X
GET list-type : shorten-answer 400
X
script "always an error instead of a list: no empty list" fails "InternalError" timeout 4000 -- list l/ <<X
GET list-type : answer 200 InternalError
X
script "an error that does not pass instead of a list" fails "AccessDenied" faults 1 -- list l/ <<X
GET list-type : answer 200 AccessDenied
X
script "always cut" fails "cannot list 'r/l/'" timeout 4000 -- list l/ <<X
GET list-type : close-answer 700
X
script "no words" fails "cannot list 'r/l/'" timeout 4000 -- list l/ <<X
GET list-type : answer 200
X

step "removing"
script "lost, and an error inside a 200" done faults 2 -- remove l/1 l/2 l/none <<X
POST delete nth=1 : lost
POST delete nth=2 : answer 200 InternalError
X
[ "$(direct list l/)" = "$(printf 'l/%d 10\n' 3 4 5)" ] || fail "after removing there is $(direct list l/)"
script "never done is no success" fails "cannot remove" timeout 4000 -- remove l/3 l/4 <<X
POST delete : answer 500 InternalError
X
[ "$(direct list l/)" = "$(printf 'l/%d 10\n' 3 4 5)" ] || fail "after removing there is $(direct list l/)"

step "everything at once, 5 seeds"
for seed in 1 2 3 4 5; do
    script "seed $seed" done there $BIG -- put {} $BIG $((N + 1)) <<X
seed $seed
PUT /o/ chance=0.2 : answer 503 SlowDown
PUT /o/ chance=0.1 : reset-request 200000
PUT /o/ chance=0.1 : lost
POST /o/ chance=0.3 : answer 500 InternalError
POST uploadId= chance=0.3 : lost
HEAD /o/ chance=0.3 : reset-answer 0
X
    direct sweep >/dev/null
done

step "by TLS, where payloads are not signed"
tls_make
fault_proxy_start "$CEPH_HTTP" tls
FAULTY="s3://faults/r?provider=ceph&endpoint=$FAULT_URL&ca-file=$TLS/ca.pem"
script "a bit flips" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : flip-request 1234
X
script "a bit of a part flips, another part is reset" done there $BIG faults 2 -- put {} $BIG $((N + 1)) <<X
PUT partNumber=1 nth=1 : flip-request 7654321
PUT partNumber=2 nth=1 : reset-request 100000
X
script "bits flip always" fails "BadDigest" absent timeout 3000 -- put {} 1000 $((N + 1)) <<X
PUT /o/ : flip-request 500
X
script "the answer is lost" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : lost
X
script "reset inside the answer" done faults 1 -- get r/x $BIG 77 <<X
GET /r/x nth=1 : reset-answer 100000
X

step "Azure"
azurite_start
az PUT "/faults?restype=container"
fault_proxy_start "$AZURITE_HTTP"
STORE=azblob
DIRECT="azblob://faults/r?endpoint=$AZURITE_HTTP/$AZURITE_ACCOUNT"
FAULTY="azblob://faults/r?endpoint=$FAULT_URL/$AZURITE_ACCOUNT"
(umask 077 && printf '%s\n' "AZURE_STORAGE_ACCOUNT=$AZURITE_ACCOUNT" "AZURE_STORAGE_KEY=$AZURITE_KEY" >"$T/secret")
script "busy, twice" done there $SMALL faults 2 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ first=2 : answer 503 ServerBusy
X
script "the answer is lost: ours is not called another's" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : lost
X
script "an error that was none" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : answer-after 500 OperationTimedOut
X
script "a bit flips on the way, in the service's words" done there $SMALL faults 1 -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : answer 400 Md5Mismatch
X
# Azurite calls it an InvalidOperation, which would not pass
script "… and in truth" fails "contentMD5" absent -- put {} $SMALL $((N + 1)) <<X
PUT /o/ nth=1 : flip-request 1234
X
script "not allowed" fails "AuthorizationFailure" absent -- put {} $SMALL $((N + 1)) <<X
PUT /o/ : answer 403 AuthorizationFailure
X
script "blocks: busy, reset, lost" done there $BIG faults 3 -- put {} $BIG $((N + 1)) <<X
PUT comp=block& nth=1 : answer 503 ServerBusy
PUT comp=block& nth=2 : reset-request 5000000
PUT comp=block& nth=3 : lost
X
script "the end's answer is lost" done there $BIG faults 1 -- put {} $BIG $((N + 1)) <<X
PUT comp=blocklist nth=1 : lost
X
script "never an end" fails "InternalError" absent timeout 4000 -- put {} $BIG $((N + 1)) <<X
PUT comp=blocklist : answer 500 InternalError
X
direct put r/x $BIG 77
script "reading: reset, fewer bytes, busy" done faults 3 -- get r/x $BIG 77 <<X
GET /r/x nth=1 : reset-answer 100000
GET /r/x nth=2 : shorten-answer 100
GET /r/x nth=3 : answer 503 ServerBusy
X
script "looking fails: that is not absence" fails "(retryable)" timeout 3000 -- stat r/x <<X
HEAD /r/x : answer 503
X
script "the list is cut" done faults 1 -- list r/ <<X
GET comp=list nth=1 : close-answer 200
X
[ "$(cat "$T/out")" = "r/x $BIG" ] || fail "the list is '$(cat "$T/out")'"
script "the list is always cut" fails "cannot list" timeout 3000 -- list r/ <<X
GET comp=list : close-answer 200
X
