#!/usr/bin/env python3
"""What a restore must hold, told by PostgreSQL's own pg_waldump.

usage: waldump_expect.py WALDUMP WAL_DIR START [--path DIR…] TARGET…

Reads all transaction records from START on in the order of the log and prints, for each TARGET,
a line "TARGET<tab>COUNT<tab>MD5" of the xids whose commit lies before the stop point, sorted.
TARGET: time:2026-…Z   lsn:0/…   xid:N   name:TEXT   end
"""
import hashlib
import re
import subprocess
import sys
from datetime import datetime, timezone

LINE = re.compile(
    r"^rmgr: (\S+)\s+len .*?tx:\s+(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), prev ([0-9A-F]+/[0-9A-F]+), desc: (\S+)(.*)$")
TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def moment(text):
    text = text.rstrip("Z").replace("T", " ")
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc)


def records(waldump, wal_dir, start, timeline):
    command = [waldump, "-p", wal_dir, "-s", start, "-t", str(timeline)]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    for line in out.splitlines():
        m = LINE.match(line)
        if not m:
            continue
        rmgr, tx, at, _, what, rest = m.groups()
        if rmgr == "Transaction" and what in ("COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"):
            time = TIME.search(rest)
            prepared = re.match(r"\s+(\d+):", rest)
            yield what, lsn(at), int(prepared.group(1)) if prepared else int(tx), moment(time.group(1)), None
        elif rmgr == "XLOG" and what == "RESTORE_POINT":
            yield what, lsn(at), 0, None, rest.strip()


def expected(all_records, target):
    kind, _, value = target.partition(":")
    kept = set()
    for what, at, xid, time, name in all_records:
        if kind == "time" and time is not None and time > moment(value):
            break
        if kind == "lsn" and at > lsn(value):
            break
        if what.startswith("COMMIT"):
            kept.add(xid)
        if kind == "xid" and xid == int(value):
            break
        if kind == "name" and name is not None and name.split(" ")[0] == value:
            break
    return kept


def main():
    waldump, wal_dir, start, timeline = sys.argv[1:5]
    everything = list(records(waldump, wal_dir, start, int(timeline)))
    ledger = None
    targets = sys.argv[5:]
    if targets and targets[0].startswith("ledger:"):
        with open(targets.pop(0)[7:], encoding="ascii") as f:
            ledger = {int(line) for line in f}
    for target in targets:
        kept = expected(everything, target)
        if ledger is not None:
            kept &= ledger
        text = ",".join(str(x) for x in sorted(kept))
        print(f"{target}\t{len(kept)}\t{hashlib.md5(text.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
