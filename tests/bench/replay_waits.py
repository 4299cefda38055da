#!/usr/bin/env python3
"""How much of its time a server that replays log waits for log: looks 200 times a second at what the startup
process of the server in DATA_DIR is doing, until that process has come and gone (or SECONDS have passed).

    replay_waits.py DATA_DIR SECONDS

prints: looks, looks at which it slept in a read of a file below pg_wal, or until a restore_command ended.
That it also sleeps for data pages, and in the end for the checkpointer, does not count. Needs root.
"""
import os
import sys
import time

READS = {0, 17, 19, 295}  # read, pread64, readv, preadv on x86_64
WAITS = {61, 230}  # wait4: a restore_command runs; clock_nanosleep: a pause before it is asked again


def startup_of(data_dir):
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink("/proc/%s/cwd" % name) != data_dir:
                continue
            with open("/proc/%s/cmdline" % name, "rb") as f:
                if f.read().startswith(b"postgres: startup"):
                    return name
        except OSError:
            pass
    return None


def waits_for_log(pid):
    with open("/proc/%s/stat" % pid, encoding="ascii") as f:
        if f.read().rsplit(")", 1)[1].split()[0] not in "SD":
            return False  # it works, or waits for a processor
    with open("/proc/%s/syscall" % pid, encoding="ascii") as f:
        fields = f.read().split()
    if not fields or not fields[0].isdigit():
        return False  # "running"
    number = int(fields[0])
    if number in WAITS:
        return True
    return number in READS and "/pg_wal/" in os.readlink("/proc/%s/fd/%d" % (pid, int(fields[1], 16)))


def main():
    data_dir, until = os.path.realpath(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    pid, looks, waits = None, 0, 0
    while time.monotonic() < until:
        if pid is None:
            pid = startup_of(data_dir)
        else:
            try:
                waits += waits_for_log(pid)
                looks += 1
            except OSError:
                if not os.path.exists("/proc/%s/fd" % pid):
                    break
        time.sleep(0.005 if pid else 0.02)
    print(looks, waits)


main()
