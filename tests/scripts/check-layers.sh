#!/usr/bin/env bash
# The layer law, checked from the #include lines and, for pure rooms, from the names they use.
#
#   common <- proto <- agent | coordinator      these two never include each other
#   engines are known by agent/engine/engine.h only
#   rooms (folders) include each other without cycles
#   the brains have no clock, no randomness, no input or output
#   libraries do not log
#   no other top-level folder
#
# Prints each violation; exit status 1 when there is one. Files over 600 lines are mentioned only.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C

bad=0
complain() {
    printf '%s\n' "$*"
    bad=$((bad + 1))
}

# "file:included" for every #include "…" of our own
includes() {
    find "$@" -name '*.[ch]' -print0 2>/dev/null | sort -z |
        xargs -0 -r grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' | sed -E 's/:[^"]*"/:/; s/"$//'
}

all=$(includes common proto agent coordinator)

while IFS=: read -r file target; do
    [ -n "$file" ] || continue
    from=${file%%/*} to=${target%%/*}
    case $from:$to in
    common:common | proto:common | proto:proto | agent:common | agent:proto | agent:agent) ;;
    coordinator:common | coordinator:proto | coordinator:coordinator) ;;
    *) complain "$file includes $target: $from may not know $to" ;;
    esac
    [ -e "$target" ] || complain "$file includes $target, which does not exist"

    case $target in # engines
    agent/engine/engine.h) ;;
    agent/engine/*/*)
        engine=${target#agent/engine/} engine=agent/engine/${engine%%/*}/
        case $file in
        "$engine"* | agent/engine/engine.c) ;;
        *) complain "$file includes $target: engines are known by agent/engine/engine.h only" ;;
        esac
        ;;
    common/log.h)
        case $file in
        common/log.c | agent/main.c | coordinator/main.c) ;;
        common/* | proto/* | */brain/* | agent/engine/* | agent/backup/* | agent/restore/* | coordinator/state/*)
            complain "$file includes $target: libraries never log" ;;
        esac
        ;;
    esac

    case $file in # pure rooms
    */brain/*)
        case $target in
        common/loop.h | common/mailbox.h | common/workers.h | common/spawn.h | common/fd.h | common/fs.h | common/throttle.h | common/storage/*)
            complain "$file includes $target: a brain does nothing by itself" ;;
        esac
        ;;
    esac
done <<<"$all"

# names a brain may not use: clocks, randomness, waiting, input and output
impure='clock_real_us|clock_mono_us|clock_gettime|gettimeofday|time|rand|rand_r|random|drand48|getrandom|random_bytes|arc4random|nanosleep|usleep|sleep|getenv|getpid|open|openat|read|write|socket|pthread_create|printf|fprintf'
for room in coordinator/brain agent/brain; do
    [ -d "$room" ] || continue
    while IFS= read -r hit; do
        [ -n "$hit" ] && complain "$hit: a brain has no clock, no randomness and no input or output"
    done < <(find "$room" -name '*.[ch]' -print0 | sort -z |
        xargs -0 -r awk -v words="$impure" '
            { line = $0 }
            # comments and texts do not count
            in_comment { if (sub(/^.*\*\//, "", line)) in_comment = 0; else next }
            { gsub(/\/\*[^*]*\*\//, "", line); gsub(/"([^"\\]|\\.)*"/, "\"\"", line); sub(/\/\/.*/, "", line) }
            sub(/\/\*.*$/, "", line) { in_comment = 1 }
            FNR == 1 && NR > 1 { in_comment = 0 }
            match(line, "(^|[^A-Za-z0-9_.>])(" words ")[[:space:]]*\\(") {
                call = substr(line, RSTART, RLENGTH); gsub(/[^A-Za-z0-9_]/, "", call)
                printf "%s:%d: calls %s\n", FILENAME, FNR, call
            }')
done

# cycles between folders: tsort prints the loop
edges=$(while IFS=: read -r file target; do
    from=${file%/*} to=${target%/*}
    # mains and the engine list stand above the folder they lie in
    case $file in agent/main.c | coordinator/main.c | coordinator/ctl/main.c | agent/engine/engine.c) continue ;; esac
    [ "$from" = "$to" ] || printf '%s %s\n' "$from" "$to"
done <<<"$all" | sort -u)
loops=$(tsort <<<"$edges" 2>&1 >/dev/null | sed 's/^tsort: //' || true)
[ -z "$loops" ] || complain "folders include each other in a circle:"$'\n'"$loops"

for entry in $(git ls-files 2>/dev/null | cut -d/ -f1 | sort -u); do
    case $entry in
    Makefile | README.md | LICENSE | .ci | .clang-format | .clang-tidy | .gitignore | .gitattributes) ;;
    common | proto | agent | coordinator | systemd | tests | packaging) ;;
    *) complain "$entry: no place for this at the top" ;;
    esac
done

long=$(find common proto agent coordinator tests -name '*.[ch]' -exec wc -l {} + | awk '$2 != "total" && $1 > 600 {print "  " $2 ": " $1}')
[ -z "$long" ] || printf 'long files (more than 600 lines), worth splitting:\n%s\n' "$long"

if [ "$bad" -gt 0 ]; then
    echo "layers: $bad violations"
    exit 1
fi
echo "layers: $(grep -c . <<<"$all") includes keep the law"
