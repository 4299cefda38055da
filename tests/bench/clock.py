#!/usr/bin/env python3
"""Runs a command, waits for it and for all that it leaves behind (daemons too), and writes

    WALL_MS CPU_MS PEAK_RSS_KIB

to a file: wall time until the command ended, user and system time of everything, and the highest resident
set of any one process.

    clock.py OUT CMD…
"""
import ctypes
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36

if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit("clock.py: " + os.strerror(ctypes.get_errno()))
started = time.monotonic()
status = subprocess.call(sys.argv[2:])
wall = time.monotonic() - started
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write("%d %d %d\n" % (wall * 1000, (used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss))
sys.exit(status)
