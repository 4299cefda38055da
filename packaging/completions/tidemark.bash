# bash completion for tidemark(1) and tidemark-agent(1): words come from the programs themselves, so they cannot grow stale.

_tidemark() {
    local cur prev command word
    COMPREPLY=()
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in -*) ;; *) command=$word && break ;; esac
    done
    if [ -z "${command:-}" ]; then
        COMPREPLY=($(compgen -W "$(tidemark --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p') --socket --help --version" -- "$cur"))
        return
    fi
    case $prev in
    -f | --filename | --socket | --data-dir | --wal-dir | --from-file)
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    -o | --output)
        COMPREPLY=($(compgen -W "wide json yaml" -- "$cur"))
        return
        ;;
    --for)
        COMPREPLY=($(compgen -W "Scheduled Prepare Running Complete Failed Pause Stopped Fail Deleting" -- "$cur"))
        return
        ;;
    --clean-policy)
        COMPREPLY=($(compgen -W "Retain OnFailure Delete" -- "$cur"))
        return
        ;;
    --on-hold-limit)
        COMPREPLY=($(compgen -W "alert release" -- "$cur"))
        return
        ;;
    --source)
        COMPREPLY=($(compgen -W "primary standby" -- "$cur"))
        return
        ;;
    --to)
        COMPREPLY=($(compgen -W "latest immediate xid: name:" -- "$cur"))
        return
        ;;
    --compression)
        COMPREPLY=($(compgen -W "zstd none" -- "$cur"))
        return
        ;;
    --secret | --full-backup-secret)
        COMPREPLY=($(compgen -W "$(tidemark get secrets 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur"))
        return
        ;;
    --backup)
        COMPREPLY=($(compgen -W "$(tidemark get backup 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur"))
        return
        ;;
    esac
    case $cur in
    -*)
        COMPREPLY=($(compgen -W "$(tidemark "$command" --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)" -- "$cur"))
        return
        ;;
    esac
    case $command in
    log)
        if [ "$prev" = "$command" ]; then
            COMPREPLY=($(compgen -W "start pause resume stop status search truncate" -- "$cur"))
        else
            COMPREPLY=($(compgen -W "$(tidemark log status 2>/dev/null | awk 'NR > 1 { if ($0 == "") exit; print $1 }')" -- "$cur"))
        fi
        ;;
    rebuild)
        [ "$prev" != "$command" ] || COMPREPLY=($(compgen -W "confirm status" -- "$cur"))
        ;;
    storage)
        if [ "$prev" = "$command" ]; then
            COMPREPLY=($(compgen -W test -- "$cur"))
        else
            COMPREPLY=($(compgen -f -- "$cur") $(compgen -W "$(tidemark get backup 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur"))
        fi
        ;;
    create)
        [ "$prev" != "$command" ] || COMPREPLY=($(compgen -W secret -- "$cur"))
        ;;
    get | describe | delete | edit | wait | retry)
        if [ "$prev" = "$command" ]; then
            COMPREPLY=($(compgen -W "backup restore backupschedule compactbackup secret" -- "$cur"))
        else
            COMPREPLY=($(compgen -W "$(tidemark get "$prev" 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur"))
        fi
        ;;
    esac
}
complete -F _tidemark tidemark

_tidemark_agent() {
    local cur prev command word
    COMPREPLY=()
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in list | search | verify | restore | storage) command=$word && break ;; esac
    done
    case $prev in
    -c | --config | --secret-file | --full-backup-secret-file | --data-dir | --wal-dir | --restore-root)
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    -o | --output)
        COMPREPLY=($(compgen -W json -- "$cur"))
        return
        ;;
    --to)
        COMPREPLY=($(compgen -W "latest immediate xid: name:" -- "$cur"))
        return
        ;;
    --storage | --full-backup-storage)
        COMPREPLY=($(compgen -W "file:// s3:// azblob://" -- "$cur"))
        return
        ;;
    storage)
        COMPREPLY=($(compgen -W test -- "$cur"))
        return
        ;;
    esac
    if [ -z "${command:-}" ]; then
        COMPREPLY=($(compgen -W "list search verify restore storage --config --check-config --help --version" -- "$cur"))
        return
    fi
    [ "$command" != storage ] || command="storage test"
    # the command's words apart
    COMPREPLY=($(compgen -W "$(tidemark-agent $command --help 2>/dev/null | grep -o -- '--[a-z-]*' | sort -u)" -- "$cur"))
}
complete -F _tidemark_agent tidemark-agent
