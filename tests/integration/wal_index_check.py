#!/usr/bin/env python3
"""Compares what the log reader and index say with what pg_waldump and the server say.

wal_index_check.py records RECORDS WALDUMP EPOCH INDEX   every record as pg_waldump has it; every event, too
wal_index_check.py index RECORDS INDEX                   the index holds exactly what the records hold
wal_index_check.py ledger INDEX LEDGER                   lines "c|a XID TIME": ends of transactions as the server knows them
wal_index_check.py pages INDEX FROM_LSN FILE…            lines "TS/DB/REL PATH": every page changed since is told

Prints what differs (the first ten) and ends with 1, or says how much agreed.
"""
import collections
import re
import struct
import sys
from datetime import datetime, timezone

KINDS = {"COMMIT": 1, "COMMIT_PREPARED": 1, "ABORT": 2, "ABORT_PREPARED": 2, "PREPARE": 3, "RESTORE_POINT": 4}
FORKS = {None: 0, "": 0, "main": 0, "fsm": 1, "vm": 2, "init": 3}
ALL = 255


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def complain(differences, agreed):
    for line in differences[:10]:
        print(line)
    if differences:
        print(f"{len(differences)} differences")
        sys.exit(1)
    print(agreed)


def read_records(path):
    """{lsn: (prev, length, xid, [ref])}; ref = (tablespace, database, relation, fork, block)"""
    records = collections.OrderedDict()
    for line in open(path):
        words = line.split()
        refs = []
        for word in words[7:]:
            relation, fork, block, _ = word.split(":")
            refs.append((*map(int, relation.split("/")), int(fork), int(block)))
        assert len(refs) == int(words[6])
        records[lsn(words[1])] = (lsn(words[2]), int(words[3]), int(words[4]), refs)
    return records


class Index:
    def __init__(self, path):
        self.events, self.refs, self.limits, self.settings, self.spaces = [], set(), {}, [], []
        self.searches, self.flags, self.last = [], set(), []
        for line in open(path, errors="surrogateescape"):
            words = line.rstrip("\n").split(" ")
            if words[0] == "event":
                kind, at, before, end, time, xid = words[1:7]
                self.events.append((int(kind), lsn(at), lsn(before), lsn(end), int(time), int(xid), " ".join(words[7:])))
            elif words[0] == "ref":
                relation, fork, block = words[1].split(":")
                self.refs.add((*map(int, relation.split("/")), int(fork), int(block)))
            elif words[0] == "limit":
                relation, fork = words[1].split(":")
                key = (*map(int, relation.split("/")), int(fork))
                self.limits[key] = min(self.limits.get(key, 1 << 32), int(words[2]))
            elif words[0] == "flags":
                self.flags.add(int(words[1]))
            elif words[0] == "search":
                self.searches.append(tuple(map(lsn, words[1:])))
            elif words[0] == "last":
                self.last.append(lsn(words[1]))
            elif words[0] in ("setting", "space"):
                (self.settings if words[0] == "setting" else self.spaces).append(words[1:])


HEAD = re.compile(r"rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: (\S+), prev (\S+), desc: (.*)")
REF = re.compile(r"blkref #\d+: rel (\d+)/(\d+)/(\d+)(?: fork (\w+))? blk (\d+)")
END = re.compile(r"(COMMIT_PREPARED|ABORT_PREPARED|COMMIT|ABORT) (?:(\d+): )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) UTC")
PREPARE = re.compile(r"PREPARE gid (.*?): (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) UTC")
POINT = re.compile(r"RESTORE_POINT (.*)")


def micros(text):
    when = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=timezone.utc)
    return int((when - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000000 + 0.5)


def read_waldump(path):
    records, ends = collections.OrderedDict(), []
    for line in open(path, errors="surrogateescape"):
        head = HEAD.match(line)
        if not head:
            raise SystemExit(f"not understood: {line}")
        rmgr, length, xid, at, before, text = head.groups()
        refs = [(int(t), int(d), int(r), FORKS[f], int(b)) for t, d, r, f, b in REF.findall(text)]
        records[lsn(at)] = (lsn(before), int(length), int(xid), refs)
        if rmgr == "Transaction":
            if m := END.match(text):
                ends.append((KINDS[m[1]], lsn(at), lsn(before), micros(m[3]), int(m[2] or xid), ""))
            elif m := PREPARE.match(text):
                ends.append((3, lsn(at), lsn(before), micros(m[2]), None, m[1]))
        elif rmgr == "XLOG" and (m := POINT.match(text)):
            ends.append((4, lsn(at), lsn(before), None, 0, m[1]))
    return records, ends


def check_records(records_path, waldump_path, epoch, index_path):
    ours = read_records(records_path)
    theirs, ends = read_waldump(waldump_path)
    index = Index(index_path)
    bad = [f"{at:X}: {ours.get(at)} instead of {record}" for at, record in theirs.items() if ours.get(at) != record]
    bad += [f"{at:X}: not in pg_waldump" for at in ours if at not in theirs]
    if len(ends) != len(index.events):
        bad.append(f"{len(index.events)} events instead of {len(ends)}")
    for want, got in zip(ends, index.events):
        kind, at, before, time, xid, name = want
        name = name.encode(errors="surrogateescape")[:63].decode(errors="ignore")  # as it is cut
        full = got[5] if xid is None else xid and (int(epoch) << 32 | xid)
        if (kind, at, before, got[4] if time is None else time, full, name) != (*got[:3], got[4], got[5], got[6]):
            bad.append(f"event {got} instead of {want}")
    kinds = collections.Counter(e[0] for e in index.events)
    assert kinds[1] > 100 and kinds[2] > 10 and kinds[3] > 1 and kinds[4] > 1, kinds
    complain(bad, f"{len(theirs)} records, {sum(len(r[3]) for r in theirs.values())} block references, "
             f"{len(ends)} events agree with pg_waldump")


def check_index(records_path, index_path):
    records = read_records(records_path)
    index = Index(index_path)
    refs = {ref for record in records.values() for ref in record[3]}
    bad = [f"missing {ref}" for ref in refs - index.refs] + [f"not in the log: {ref}" for ref in index.refs - refs]
    order = list(records)
    after = dict(zip(order, order[1:]))
    for kind, at, before, end, *_ in index.events:
        if at not in records or records[at][0] != before:
            bad.append(f"event at {at:X}: no record, or another before it than {before:X}")
        # the next record starts there, or behind the page header that stands there
        elif at in after and not end <= after[at] <= end + 40:
            bad.append(f"event at {at:X} ends at {end:X}, the next record begins at {after[at]:X}")
    for limit, found, earlier in index.searches:
        want = max(at for at in order if at <= limit)
        if found != want or earlier != max(at for at in order if at < want):
            bad.append(f"search {limit:X}: {found:X} {earlier:X}")
    if index.last[-1] != order[-1]:
        bad.append(f"the last record is {order[-1]:X}, not {index.last[-1]:X}")
    if index.flags & {1, 3}:
        bad.append("marked incomplete")
    assert index.searches
    complain(bad, f"{len(refs)} different blocks, {len(index.limits)} limits, {len(index.settings)} settings, "
             f"{len(index.spaces)} spaces, {len(index.searches)} searches")


def check_ledger(index_path, ledger_path):
    index = Index(index_path)
    ends = {e[5]: e for e in index.events if e[0] in (1, 2) and e[5]}
    bad, count = [], 0
    for line in open(ledger_path):
        what, xid, time = line.split()
        count += 1
        got = ends.get(int(xid))
        if not got or got[0] != (1 if what == "c" else 2) or (time != "-" and got[4] != int(time)):
            bad.append(f"transaction {xid}: {got} instead of {line.strip()}")
    assert count > 50, count
    complain(bad, f"{count} transactions agree with the server")


def check_pages(index_path, start, list_path):
    index = Index(index_path)
    start, bad, count, changed = lsn(start), [], 0, 0

    def told(key, block):
        relation = key[:3]
        return (*key, block) in index.refs or any(
            index.limits.get(k, 1 << 32) <= block for k in (key, (*relation, ALL), (*relation[:2], 0, ALL)))

    for line in open(list_path):
        name, path = line.split()
        relation = tuple(map(int, name.split("/")))
        suffix = path.rsplit("/", 1)[1].split(".")[0].split("_")
        key = (*relation, FORKS[suffix[1] if len(suffix) > 1 else None])
        data = open(path, "rb").read()
        for block in range(len(data) // 8192):
            high, low = struct.unpack_from("<II", data, block * 8192)
            count += 1
            if (high << 32 | low) > start:
                changed += 1
                if not told(key, block):
                    bad.append(f"{name} {path} block {block}: changed at {high:X}/{low:X}, not told")
    assert changed > 1000, changed
    complain(bad, f"{changed} of {count} pages changed, all are told")


if __name__ == "__main__":
    {"records": check_records, "index": check_index, "ledger": check_ledger, "pages": check_pages}[sys.argv[1]](*sys.argv[2:])
