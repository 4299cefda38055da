# shellcheck shell=bash
# Sourced by what provides servers from a registry: keeps what was fetched once.
#
#   keep DIRECTORY LOCK FUNCTION    FUNCTION fills the directory, which is new and empty; nothing when it is there
keep() {
    local home=$1 pause
    [ ! -e "$home/.complete" ] || return 0
    mkdir -p "${home%/*}"
    # one at a time: tests may run side by side
    exec 9>"$2"
    flock 9
    [ ! -e "$home/.complete" ] || return 0
    # a registry that does not answer once is asked again
    for pause in 2 10 0; do
        rm -rf "$home"
        mkdir -p "$home"
        "$3" && break
        [ $pause != 0 ] || exit 1
        sleep $pause
    done
    chmod a+rX "${home%/*}"
    chmod -R a+rX "$home"
    touch "$home/.complete"
}
