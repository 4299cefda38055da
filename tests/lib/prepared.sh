# shellcheck shell=bash
# Sourced behind harness.sh: transactions that are prepared on one server and committed on one that was restored from it;
# and the page checksums of any version.
#
#   PREPARED_TABLE              the SQL that makes the table of their rows
#   prepare GID                 begins one, with a row of its own and one in each of two subtransactions, and prepares it
#   prepared                    those that are open, sorted, in one line; on $PGPORT, as all of this
#   commit_prepared GIDS        of which the rows are there then, and no other's but those of GIDs behind --
#   pages_are_good MAJOR DIR    pg_checksums finds nothing; DIR is a stopped server's, and of no more use
PREPARED_TABLE="CREATE TABLE prepared (gid text PRIMARY KEY, n int)"
rows_of() { printf "INSERT INTO prepared VALUES ('%s', 1); SAVEPOINT a; INSERT INTO prepared VALUES ('%s 2', 2); SAVEPOINT b; INSERT INTO prepared VALUES ('%s 3', 3);" "$1" "$1" "$1"; }
prepare() { sql postgres -c BEGIN -c "$(rows_of "$1")" -c "PREPARE TRANSACTION '$1'"; }
prepared() { sql postgres -c "SELECT string_agg(gid, ' ' ORDER BY gid COLLATE \"C\") FROM pg_prepared_xacts"; }
commit_prepared() {
    local gid got want all=() open=1
    for gid in "$@"; do
        if [ "$gid" = -- ]; then open=0; continue; fi
        all+=("$gid")
        [ "$open" = 0 ] || sql postgres -c "COMMIT PREPARED '$gid'"
    done
    want=$(for gid in "${all[@]}"; do printf '%s:1\n%s 2:2\n%s 3:3\n' "$gid" "$gid" "$gid"; done | sort | paste -sd,)
    got=$(sql postgres -c "SELECT gid || ':' || n FROM prepared" | sort | paste -sd,)
    [ "$got" = "$want" ] || fail "prepared: '$got' instead of '$want'"
}
# pg_checksums is of 15; pages are the same in all of them, so it is shown another one's as if they were its own. It
# looks at pg_control, which from 17 on is another, and at the name of a tablespace's directory.
pages_are_good() {
    local own
    if [ "$1" -ge 17 ]; then
        [ -d "$T/of-15" ] || postgres_init 15 "$T/of-15" -k
        cp "$T/of-15/global/pg_control" "$2/global/pg_control"
    fi
    for own in "$2"/pg_tblspc/*/PG_*; do
        case $own in
        *"/PG_${1}_"*) [ "$1" -eq 15 ] || mv "$own" "$(dirname "$own")/PG_15_202209061" ;;
        *"/PG_*") ;; # no tablespace
        *) fail "another version's: $own" ;;
        esac
    done
    as_postgres "$PG15/pg_checksums" --check -D "$2" >"$T/checksums.log" 2>&1 || fail "pg_checksums: $(cat "$T/checksums.log")"
    grep -q "Bad checksums:  0" "$T/checksums.log" || fail "$(cat "$T/checksums.log")"
    [ "$(sed -n 's/^Blocks scanned: *//p' "$T/checksums.log")" -gt 2000 ] || fail "too few: $(cat "$T/checksums.log")"
}
