#!/usr/bin/env bash
# Installs what is missing to build and test Tidemark, and nothing else. Debian/Ubuntu (apt) and Fedora/RHEL (dnf).
#
#   deps.sh           compiler, libraries, PostgreSQL 15 and tools: for make
#   deps.sh --demo    the same: make demo needs nothing more
#   deps.sh --check   also npm, which fetches PostgreSQL 13 to 18 and Azurite, and the object stores Ceph RGW and
#                     OpenStack Swift where the distribution has them: for make check
#   deps.sh --test    npm, clang, its tools, cppcheck and shellcheck: for make fuzz-smoke and make lint
#   deps.sh --fault   also User-Mode-Linux, and an NFS server and systemd to run in it: for make fault
#   deps.sh --bench   also pgBackRest: for make bench
#   deps.sh --list    prints the names of the packages and installs nothing (may come with the others)
#
# Says nothing when nothing is missing. Exit status 1 when something cannot be installed.
set -euo pipefail

want_npm='' want_stores='' want_test='' want_bench='' want_fault='' list=''
for option in "$@"; do
    case $option in
    --demo) ;;
    --check) want_npm=1 want_stores=1 ;;
    --test) want_npm=1 want_test=1 ;;
    --fault) want_fault=1 ;;
    --bench) want_bench=1 ;;
    --list) list=1 ;;
    *) echo "deps.sh: unknown option '$option'" >&2; exit 2 ;;
    esac
done

have() { command -v "$1" >/dev/null 2>&1; }

apt_names() {
    echo gcc make pkg-config libc6-dev libnng-dev libmsgpack-dev libcurl4-openssl-dev libzstd-dev \
        libsystemd-dev libyaml-dev libsqlite3-dev libpq-dev libjansson-dev libexpat1-dev libssl-dev libxxhash-dev \
        libcmocka-dev jq util-linux iproute2 procps python3
    # any distribution's newest will do where 15 is not to be had
    if [ -x /usr/lib/postgresql/15/bin/postgres ] || apt-cache show postgresql-15 >/dev/null 2>&1; then
        echo postgresql-15
    else
        echo postgresql
    fi
    if [ -n "$want_test" ]; then
        echo clang clang-format clang-tidy cppcheck shellcheck
    fi
    # nodejs from elsewhere brings its own npm, and conflicts with this package
    [ -z "$want_npm" ] || have npm || echo npm
    [ -z "$want_stores" ] || store_names
    [ -z "$want_bench" ] || echo pgbackrest zstd
    [ -z "$want_fault" ] || fault_names
}
# A kernel that runs as a process, and what makes a server, mounts and services in it.
fault_names() {
    echo kmod systemd
    apt-cache show --no-all-versions user-mode-linux nfs-common nfs-kernel-server rpcbind 2>/dev/null |
        sed -n 's/^Package: //p' || true
}
# Real object stores, and what speaks to them. Tests skip the ones that are not to be had.
store_names() {
    echo curl openssl
    apt-cache show --no-all-versions radosgw ceph-mon ceph-osd swift-proxy swift-account swift-container swift-object \
        memcached 2>/dev/null | sed -n 's/^Package: //p' || true
}
dnf_names() {
    echo gcc make pkgconf-pkg-config nng-devel msgpack-c-devel libcurl-devel libzstd-devel systemd-devel \
        libyaml-devel sqlite-devel libpq-devel jansson-devel expat-devel openssl-devel xxhash-devel libcmocka-devel \
        postgresql-server postgresql-contrib jq util-linux iproute procps-ng python3
    if [ -n "$want_test" ]; then
        echo clang clang-tools-extra compiler-rt cppcheck ShellCheck
    fi
    [ -z "$want_npm" ] || have npm || echo nodejs-npm
    [ -z "$want_stores" ] || echo curl openssl
    [ -z "$want_bench" ] || echo pgbackrest zstd
}

apt_missing() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null | cut -c1-2)" = ii ] || echo "$name"
    done
}
dnf_missing() {
    local name
    for name in "$@"; do
        rpm -q --whatprovides "$name" >/dev/null 2>&1 || echo "$name"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        echo "deps.sh: not root, and there is no sudo; as root run: $*" >&2
        return 1
    fi
}

if have apt-get; then
    names=$(apt_names)
    # a fresh system has no package lists, and then no postgresql-15 to be seen either
    if [ -z "$list" ] && [ -n "$(apt_missing $names)" ]; then
        as_root apt-get -q -o Acquire::Retries=3 update >/dev/null || echo "deps.sh: apt-get update failed, trying with the lists that are here" >&2
        names=$(apt_names)
    fi
    missing=$(apt_missing $names)
    install=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 --no-install-recommends install)
elif have dnf; then
    names=$(dnf_names)
    missing=$(dnf_missing $names)
    install=(dnf -q -y --setopt=install_weak_deps=False install)
else
    echo "deps.sh: neither apt-get nor dnf here; needed are: $(apt_names | tr '\n' ' ')" >&2
    exit 1
fi

if [ -n "$list" ]; then
    printf '%s\n' $names
    exit 0
fi
[ -n "$missing" ] || exit 0
echo "installing:" $missing
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086
as_root "${install[@]}" $missing >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "deps.sh: cannot install:" $missing >&2
    exit 1
}
