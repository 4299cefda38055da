# shellcheck shell=bash
# Sourced behind harness.sh by tests that need a kernel of their own: User-Mode-Linux, with this host's files as its
# root file system, read-only. It boots in two seconds, has its own network, mounts and modules, and cannot change anything
# of the host.
#
#   uml_need                     skips the test where there is no User-Mode-Linux or it does not boot
#   uml_run SECONDS SCRIPT [MIB] boots, runs SCRIPT in there as root (uml_init.sh says with what), shows what it prints;
#                                status: the script's; 124 when it took longer
#   uml_run_systemd …            the same with systemd as the first process there, SCRIPT being a service of it, and with copies
#                                of /etc and of nothing but the most needed of /var that can be written (uml_systemd.sh)

uml_boot() { # SECONDS SCRIPT MIB
    # TMPDIR: where the guest's memory is; /dev/shm may be small
    TMPDIR=$T timeout --kill-after=10 "$1" linux.uml "mem=${3}M" "uml_dir=$T/" "umid=uml-$$" rootfstype=hostfs rootflags=/ ro \
        "init=$TOP/tests/lib/uml_init.sh" "GUEST_TOP=$TOP" "GUEST_SCRIPT=$2" "GUEST_INPUT=$T" "TIDEMARK_BUILD=$BUILD" ${UML_SYSTEMD:+"GUEST_SYSTEMD=1"} \
        con=null con0=fd:0,fd:1 quiet </dev/null 2>"$T/uml.log" | sed -u 's|\r$||'
}
uml_need() {
    local said
    command -v linux.uml >/dev/null || skip "there is no User-Mode-Linux here (tests/scripts/deps.sh --fault)"
    said=$(uml_boot 60 /bin/true 256 || true)
    case $said in
    *"guest: status 0"*) ;;
    *) skip "User-Mode-Linux does not boot here: $(printf '%s\n' "$said" | cat - "$T/uml.log" | grep . | tail -n 3 | tr '\n' ' ')" ;;
    esac
}
uml_run() { # SECONDS SCRIPT [MIB]
    local status
    uml_boot "$1" "$2" "${3:-1024}" | tee "$T/guest.out" | grep --line-buffered -v '^guest: \|reboot: System halted$' || true
    status=$(sed -n 's/^guest: status \([0-9]*\)$/\1/p' "$T/guest.out")
    return "${status:-124}"
}
uml_run_systemd() { UML_SYSTEMD=1 uml_run "$@"; }
