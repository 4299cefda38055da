#!/usr/bin/env python3
"""Stored log compared with the source's own: no byte lost, doubled or changed.

    log_chain_check.py REPOSITORY PG_WAL [--covers LSN] [--lineages N] [--runs N] [--from LSN]

A reader of its own, by the rules of proto/README.md: of every lineage the chunks that count, in order. All their bytes
must be those of the segments in PG_WAL of the lineage's timeline, which must all still be there; the running digests
must be those of the bytes. The newest lineage's last run must reach LSN. There must be exactly N (1) lineages, and
exactly N (1) runs of chunks in all; --from: bytes before are not compared, their segments are gone.
Prints one JSON object; any violation ends with status 1 and says where. Marks are removed while a repository is in use;
nothing else may vanish.
"""
import argparse
import hashlib
import json
import os
import re
import sys

import format_reader
from format_reader import Bad, Object, need, unpack_list

SEGMENT = 16 << 20
CHUNK = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.([0-9a-f]{8})$")


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def show(at):
    return "%X/%X" % (at >> 32, at & 0xFFFFFFFF)


def raw_of(o):
    """All frames, neighbours decompressed by one call."""
    out, i = [], 0
    while i < len(o.frames):
        place, _, _, flags = o.frames[i]
        end, raw = place, 0
        while i < len(o.frames) and o.frames[i][3] == flags:
            end, raw = end + o.frames[i][2], raw + o.frames[i][1]
            i += 1
        body = o.data[place:end]
        out.append(format_reader.zstd(body, raw) if flags else body)
    return b"".join(out)


class Source:
    def __init__(self, path):
        self.path, self.name, self.data = path, None, b""

    def read(self, timeline, at, length):
        out = []
        while length > 0:
            number = at // SEGMENT
            name = "%08X%08X%08X" % (timeline, number >> 8, number & 0xFF)
            if name != self.name:
                try:
                    with open(os.path.join(self.path, name), "rb") as f:
                        self.data = f.read()
                except FileNotFoundError:
                    raise Bad("the source does not keep %s any more: nothing to compare with" % name)
                self.name = name
            piece = self.data[at % SEGMENT:at % SEGMENT + length]
            out.append(piece)
            at, length = at + len(piece), length - len(piece)
        return b"".join(out)


class Lineage:
    def __init__(self, top):
        self.top = top
        self.root = self.open("lineage.mpk").root()
        self.label = self.root.get("label", "")
        self.writers = [self.open("writer/" + n).root() for n in self.names("writer")]

    def names(self, room):
        path = os.path.join(self.top, room)
        return sorted(n for n in os.listdir(path) if not n.startswith(".")) if os.path.isdir(path) else []

    def open(self, name):
        path = os.path.join(self.top, name)
        with open(path, "rb") as f:
            data = f.read()
        try:
            return Object(data)
        except Bad as e:
            raise Bad("%s: %s" % (path, e))

    def count(self, absent):
        """Chunks that count: (from, to, name); and how many do not."""
        found, others = [], 0
        names = [(CHUNK.match(n), n) for n in self.names("chunk")]
        need(all(m for m, _ in names), "a chunk of another name in " + self.top)
        keys = [(int(m[1], 16), -int(m[2], 16), -int(m[3], 16), n) for m, n in names]
        for at, term, counter, name in sorted(keys):
            epoch = (-term, -counter)
            root = self.open("chunk/" + name).root()
            need((root["from"], root["term"], root["counter"]) == (at, *epoch), "%s: its root says another name" % name)
            fence = min([w["from"] for w in self.writers if (w["term"], w["counter"]) > epoch], default=1 << 64)
            if root["to"] > fence or root["to"] <= absent or (found and at < found[-1][1]):
                others += 1
                continue
            found.append((at, root["to"], name))
        return found, others


def check_lineage(lineage, source, absent, begin):
    chunks, others = lineage.count(absent)
    runs, digest, pending, boundary, step = [], None, b"", 0, 1 << 20
    total = 0
    for at, to, name in chunks:
        o = lineage.open("chunk/" + name)
        raw = raw_of(o)
        need(len(raw) == to - at, "%s has %d bytes, not %d" % (name, len(raw), to - at))
        skip = min(max(begin - at, 0), len(raw))
        want = source.read(int(lineage.label), at + skip, len(raw) - skip)
        if raw[skip:] != want:
            first = next(i for i in range(len(want)) if raw[skip + i] != want[i])
            raise Bad("%s differs from the source's log at %s" % (name, show(at + skip + first)))
        total += len(raw)
        if not runs or runs[-1][1] != at:
            runs.append([at, at])
            digest, pending, boundary = bytes(32), b"", (at + step - 1) // step * step
        runs[-1][1] = to
        # D(B + step) = SHA-256(D(B) | bytes), claimed at each multiple in (from, to]
        claimed = dict(map(tuple, unpack_list(o.sections[5]))) if 5 in o.sections else {}
        pending += raw[max(boundary - at, 0):]
        while len(pending) >= step:
            digest = hashlib.sha256(digest + pending[:step]).digest()
            pending, boundary = pending[step:], boundary + step
            need(claimed.pop(boundary, None) == digest, "%s: running digest at %s" % (name, show(boundary)))
        need(not claimed, "%s: digests at other places: %s" % (name, [show(b) for b in claimed]))
    return {"label": lineage.label, "runs": [[show(a), show(b)] for a, b in runs], "chunks": len(chunks), "others": others,
            "writers": len(lineage.writers), "bytes": total, "to": runs[-1][1] if runs else 0,
            "created": lineage.root["created"],
            "gaps": [[show(w["gapFrom"]), show(w["from"])] for w in lineage.writers if w.get("gap")]}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("repository")
    p.add_argument("pg_wal")
    p.add_argument("--covers", type=lsn, default=0)
    p.add_argument("--from", dest="begin", type=lsn, default=0)
    p.add_argument("--lineages", type=int, default=1)
    p.add_argument("--runs", type=int, default=1)
    a = p.parse_args()
    try:
        tops = []
        for top, _, files in os.walk(a.repository):
            if "lineage.mpk" in files:
                tops.append(top)
        need(len(tops) == a.lineages, "there are %d lineages: %s" % (len(tops), tops))
        result = []
        for top in sorted(tops):
            lineage, absent = Lineage(top), 0
            room = os.path.join(top, "../../truncate")
            for name in os.listdir(room) if os.path.isdir(room) else []:
                with open(os.path.join(room, name), "rb") as f:
                    t = Object(f.read()).root()
                if t["lineage"].hex() == os.path.basename(top):
                    absent = max(absent, t["from"])
            result.append(check_lineage(lineage, Source(a.pg_wal), absent, a.begin))
        runs = sum(len(r["runs"]) for r in result)
        need(runs == a.runs, "there are %d runs, not %d: %s" % (runs, a.runs, json.dumps(result)))
        newest = max(result, key=lambda r: r["created"])
        need(newest["to"] >= a.covers, "stored up to %s only, not %s" % (show(newest["to"]), show(a.covers)))
        print(json.dumps(result))
        return 0
    except Bad as e:
        print("log_chain_check: %s" % e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
