#!/usr/bin/env bash
# Azure blobs by shared access signatures, of the account and of a container, and access tiers: Azurite takes or refuses
# them. A SAS that has ended, and one that lacks a right, are told with the verb that was denied.
. "$(dirname "$0")/../lib/harness.sh"
. "$TOP/tests/lib/stores.sh"
stores_need azurite
TOOL=$BUILD/tests/integration/storage_tool
ALL=rwdlc

sas() { # FILE CONTAINER PERMISSIONS SECONDS
    (umask 077 && printf 'AZURE_STORAGE_ACCOUNT=%s\nAZURE_STORAGE_SAS_TOKEN=%s\n' "$AZURITE_ACCOUNT" "$(az_sas "${@:2}")" >"$T/$1")
}
by() { # SECRET VERB…
    local secret=$1
    shift
    "$TOOL" --secret "$T/$secret" "azblob://box/o?endpoint=$ENDPOINT${TIER:+&access-tier=$TIER}" "$@"
}
tier_is() { expect_out "$1" bash -c "sed -n 's/^x-ms-access-tier: //p' <<<'$(az HEAD "/box/o/$2")'"; }

azurite_start
ENDPOINT=$AZURITE_HTTP/$AZURITE_ACCOUNT
az PUT "/box?restype=container"
az PUT "/other?restype=container"
sas account "" $ALL 3600
sas container box $ALL 3600

step "the tier that was asked for is the blob's, small and in blocks"
BIG=$((9 << 20))
for TIER in Hot Cool; do
    by container put $TIER 1000 1
    by account put $TIER-big $BIG 2
    by container put $TIER-sealed $BIG 3 seal
    tier_is $TIER $TIER
    tier_is $TIER $TIER-big
    tier_is $TIER $TIER-sealed
done
by account list >"$T/list"
expect_out 6 grep -c . "$T/list"
by account get Cool-big $BIG 2
by account remove Cool Cool-big Cool-sealed Hot-big Hot-sealed # enough for a batch
expect_out "Hot 1000" by account list
TIER=''

step "one that has ended, of another container, with a wrong signature: refused"
sas ended box $ALL -60
sas foreign other $ALL 3600
sed 's/sig=.../sig=AAA/' "$T/container" >"$T/forged"
chmod 600 "$T/forged"
denied() { # SECRET TEXT-BEFORE TEXT-BEHIND VERB…
    expect_fail 1 "$2" by "$1" "${@:4}"
    expect_fail 1 "$3" by "$1" "${@:4}"
    expect_fail 1 "HTTP 403 Authorization" by "$1" "${@:4}"
}
WHERE=$ENDPOINT/box
end=$(grep -o 'se=[^&]*' "$T/ended" | cut -c4- | sed 's/%3A/:/g')
has_ended="the SAS token from secret has ended at $end: $WHERE/"
for name in ended foreign forged; do
    if [ $name = ended ]; then from=$has_ended hint=$has_ended; else from=$WHERE/ hint="; credentials from secret"; fi
    denied $name "cannot commit 'x': ${from}o/x: PUT: " "$hint" put x 10 1
    denied $name "cannot stat 'Hot': ${from}o/Hot: HEAD: " "$hint" get Hot 1000 1
    denied $name "cannot list 'o/': ${from}: GET: " "$hint" list
    denied $name "cannot remove 'Hot': ${from}o/Hot: DELETE: " "$hint" remove Hot
done
expect_out "Hot 1000" by account list

step "without a right: the verb that is denied is named, and the storage test tells which it is"
without() { # RIGHTS STEP-THAT-FAILS VERB
    sas lacking box "$1" 3600
    if "$BUILD/tidemark-agent" storage test --storage "azblob://box/o?endpoint=$ENDPOINT" --secret-file "$T/lacking" >"$T/out" 2>&1; then
        fail "the storage test passes with '$1': $(cat "$T/out")"
    fi
    grep -qE "^$2  *failed  *cannot .* $3: HTTP 403 AuthorizationPermissionMismatch: .*; credentials from secret\$" "$T/out" ||
        fail "not told: $(cat "$T/out")"
}
without rwlc delete DELETE
by lacking put kept 10 1
mismatch="HTTP 403 AuthorizationPermissionMismatch: "
denied lacking "cannot remove 'kept': $WHERE/o/kept: DELETE: $mismatch" "; credentials from secret" remove kept
denied lacking "cannot remove 'Hot': $WHERE/o/Hot: DELETE: $mismatch" "; credentials from secret" remove Hot kept none more others
expect_out "Hot 1000
kept 10" bash -c "'$TOOL' --secret '$T/account' 'azblob://box/o?endpoint=$ENDPOINT' list | grep -v probe"
without rwdc list GET
denied lacking "cannot list 'o/': $WHERE/: GET: $mismatch" "; credentials from secret" list
without rdl write PUT
denied lacking "cannot commit 'x': $WHERE/o/x: PUT: $mismatch" "; credentials from secret" put x 10 1
denied lacking "cannot write 'x': $WHERE/o/x: PUT: $mismatch" "; credentials from secret" put x $BIG 1
without wdlc read GET
