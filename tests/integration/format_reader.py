#!/usr/bin/env python3
"""A second reader of Tidemark's storage format, written from proto/README.md alone.

    format_reader.py REPOSITORY                 every object; every committed backup's chain, files and log
    format_reader.py --object FILE…             single objects (a leading mode byte of the test corpus is skipped)
    format_reader.py --checkpointed DIRECTORY   of a backup under way: the data objects that its checkpoints count, and their bytes

Standard library and the zstd program only. Checked: structure, all lengths, names, the SHA-256 digests that chain
metadata, CRC32C of every file part, running digests of log. XXH3 is left to the reader in C: it has no
implementation in the standard library. Prints one JSON object; any violation ends with status 1 and says where.
"""
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

KINDS = {1: "repository", 2: "identity", 3: "data", 4: "chunk", 5: "plan", 6: "segment", 7: "manifest", 8: "tombstone",
         9: "lineage", 10: "writer", 11: "checkpoint", 12: "mark", 13: "log index", 14: "truncation", 15: "intent"}
KNOWN_SECTIONS = {1, 2, 3, 4, 5, 6, 7}
EPOCH = "([0-9a-f]{16})\\.([0-9a-f]{8})"


class Bad(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Bad(what)


# ---- msgpack ----------------------------------------------------------------------------------------------------
def unpack(data, at=0):
    """One value at `at`: (value, next offset)."""
    need(at < len(data), "msgpack: cut off")
    t = data[at]
    at += 1

    def number(fmt):
        size = struct.calcsize(fmt)
        need(at + size <= len(data), "msgpack: cut off")
        return struct.unpack_from(fmt, data, at)[0], at + size

    def body(length, start):
        need(start + length <= len(data), "msgpack: cut off")
        return data[start:start + length], start + length

    def array(count, start):
        items = []
        for _ in range(count):
            item, start = unpack(data, start)
            items.append(item)
        return items, start

    def mapping(count, start):
        result = {}
        for _ in range(count):
            key, start = unpack(data, start)
            need(isinstance(key, str) and key not in result, "msgpack: bad key")
            result[key], start = unpack(data, start)
        return result, start

    if t < 0x80:
        return t, at
    if t < 0x90:
        return mapping(t & 15, at)
    if t < 0xA0:
        return array(t & 15, at)
    if t < 0xC0:
        text, at = body(t & 31, at)
        return text.decode(), at
    if t >= 0xE0:
        return t - 256, at
    if t in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[t], at
    if t in (0xC4, 0xC5, 0xC6):
        length, at = number({0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}[t])
        return body(length, at)
    if 0xCC <= t <= 0xD3:
        return number([">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"][t - 0xCC])
    if t in (0xD9, 0xDA, 0xDB):
        length, at = number({0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}[t])
        text, at = body(length, at)
        return text.decode(), at
    if t in (0xDC, 0xDD):
        count, at = number(">H" if t == 0xDC else ">I")
        return array(count, at)
    if t in (0xDE, 0xDF):
        count, at = number(">H" if t == 0xDE else ">I")
        return mapping(count, at)
    raise Bad("msgpack: type 0x%02x" % t)


def unpack_all(data):
    value, end = unpack(data)
    need(end == len(data), "bytes behind the record")
    return value


def unpack_list(data):
    """An integer, and that many values."""
    count, at = unpack(data)
    items = []
    for _ in range(count):
        item, at = unpack(data, at)
        items.append(item)
    need(at == len(data), "bytes behind the list")
    return items


# ---- checksums --------------------------------------------------------------------------------------------------
def make_crc_table():
    table = []
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = make_crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    table = CRC_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def zstd(data, raw_length):
    raw = subprocess.run(["zstd", "-d", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    need(len(raw) == raw_length, "a zstd frame of another length")
    return raw


# ---- the object -------------------------------------------------------------------------------------------------
class Object:
    def __init__(self, data, name=None):
        self.data = data
        need(len(data) >= 128 + 18 + 64, "too short")
        header, trailer = data[:128], data[-64:]
        need(header[:8] == bytes.fromhex("8954444d4b0d0a1a"), "header magic")
        need(trailer[56:] == bytes.fromhex("1a4b4d44540d0a89"), "trailer magic")
        version, kind, required, _, cipher, compression, frame_bytes, block = struct.unpack_from(">HHIIHHII", header, 8)
        need(version == 1 and required == 0 and cipher == 0 and compression in (0, 1), "something newer")
        need(0 < frame_bytes <= 4194304 and 0 < block <= 65536 and frame_bytes % block == 0, "frame or block size")
        need(not any(header[32:80]) and not any(header[96:112]), "bytes that must be zero")
        self.kind, self.nonce = KINDS[kind], header[80:96]
        offset, length, zero = struct.unpack_from(">QII", trailer)
        need(zero == 0 and offset + length + 64 == len(data) and offset >= 128, "trailer lengths")
        footer = data[offset:offset + length]
        self.digest = hashlib.sha256(header + footer).digest()
        need(self.digest == trailer[16:48], "digest")
        self.parse_footer(footer, offset, name, frame_bytes)

    def parse_footer(self, footer, offset, name, frame_bytes):
        frames, sections, self.raw_bytes, name_length = struct.unpack_from(">IIQH", footer)
        at = 18 + name_length
        self.name = footer[18:at].decode()
        need(name is None or self.name == name, "stored as " + self.name)
        self.frames, place = [], 128
        for _ in range(frames):
            raw, stored, flags = struct.unpack_from(">III", footer, at)
            need(0 < stored <= raw <= frame_bytes and flags in (0, 1) and (flags or raw == stored), "frame lengths")
            self.frames.append((place, raw, stored, flags))
            place, at = place + stored, at + 44
        need(place == offset and sum(f[1] for f in self.frames) == self.raw_bytes, "frames do not fill the object")
        self.sections, last = {}, 0
        for _ in range(sections):
            ident, flags, raw, stored = struct.unpack_from(">HHII", footer, at)
            at += 12
            need(ident > last and flags < 4 and at + stored <= len(footer), "section")
            need(ident in KNOWN_SECTIONS or not flags & 1, "required section %d" % ident)
            body = footer[at:at + stored]
            self.sections[ident] = zstd(body, raw) if flags & 2 else body
            last, at = ident, at + stored
        need(at == len(footer), "bytes behind the sections")

    def frame(self, i):
        place, raw, stored, flags = self.frames[i]
        body = self.data[place:place + stored]
        return zstd(body, raw) if flags else body

    def raw(self):
        return b"".join(self.frame(i) for i in range(len(self.frames)))

    def records(self):
        for i in range(len(self.frames)):
            body, at = self.frame(i), 0
            while at < len(body):
                length, = struct.unpack_from(">I", body, at)
                need(at + 4 + length <= len(body), "a record runs over its frame")
                yield body[at + 4:at + 4 + length]
                at += 4 + length

    def root(self):
        return unpack_all(self.sections[1])


def events(section):
    """The events of a chunk: dicts in log order."""
    result, last = [], {"at": 0, "time": 0, "xid": 0}
    for kind, at, back, length, time, xid, *name in unpack_list(section):
        need(kind in (1, 2, 3, 4) and len(name) <= 1 and min(at, back, length) >= 0, "event")
        at += last["at"]
        need(back <= at, "an event before the log")
        last = {"kind": kind, "at": at, "previous": at - back, "end": at + length,
                "time": (time + last["time"] + 2**63) % 2**64 - 2**63, "xid": (xid + last["xid"]) % 2**64,
                "name": name[0] if name else ""}
        result.append(last)
    return result


# ---- a repository -----------------------------------------------------------------------------------------------
class Repository:
    def __init__(self, path):
        self.path = path
        self.totals = {"objects": 0, "backups": 0, "ranges": 0, "files": 0, "fileBytes": 0, "logBytes": 0}

    def open(self, name, ref=None):
        with open(os.path.join(self.path, name), "rb") as f:
            data = f.read()
        try:
            o = Object(data, name)
            if ref is not None:
                need(len(data) == ref["z"] and o.digest == ref["d"] and o.raw_bytes == ref["r"], "not what metadata names")
        except Bad as e:
            raise Bad("%s: %s" % (name, e))
        return o

    def data(self, base, backup, r):
        o = self.open(base + r["o"], r)
        root = o.root()
        need((root["backup"], root["range"], root["start"], root["end"]) == (backup, r["i"], r["s"], r["e"]), "wrong range")
        files, extents, raw, at = unpack_list(o.sections[2]), unpack_list(o.sections[3]), o.raw(), 0
        for n, (kind, path, link, mode, _, offset, length, last, crc) in enumerate(files):
            need(kind in (1, 2, 3) and path and mode <= 0o7777 and isinstance(last, bool), "file entry")
            need(not any(p in (".", "..") for p in path.split("/")), "path " + path)
            body = b""
            while at < len(extents) and extents[at][0] == n:
                _, source, file_offset, size, raw_offset = extents[at]
                need(source == 0 and file_offset == offset + len(body) and raw_offset + size <= len(raw), "extent")
                body += raw[raw_offset:raw_offset + size]
                at += 1
            need(len(body) == length, "extents do not cover " + path)
            need(kind != 1 or crc32c(body) == crc, "CRC of " + path)
            self.totals["files"] += 1
            self.totals["fileBytes"] += length
        need(at == len(extents), "extents of no file")

    def chunk(self, base, ref, state):
        o = self.open(base + ref["o"], ref)
        root, raw = o.root(), o.raw()
        need((root["lineage"], root["from"], root["to"]) == (ref["l"], ref["f"], ref["t"]), "wrong chunk")
        need(len(raw) == root["to"] - root["from"], "chunk length")
        need(state is None or state["to"] == root["from"], "hole in the log")
        segment = root.get("segmentBytes", 0)
        if state is None:
            # a lineage began before the task's chunk: its digest is known from the first boundary on
            state = {"digest": None if ref.get("k") else bytes(32), "pending": b"", "at": root["from"]}
        claimed = dict(map(tuple, unpack_list(o.sections[5]))) if 5 in o.sections else {}
        state["pending"] += raw
        while segment and len(state["pending"]) >= segment - state["at"] % segment:
            size = segment - state["at"] % segment
            block, state["pending"], state["at"] = state["pending"][:size], state["pending"][size:], state["at"] + size
            says = claimed.pop(state["at"], None)
            digest = says if state["digest"] is None else hashlib.sha256(state["digest"] + block).digest()
            need(says is not None and says == digest, "running digest at %d" % state["at"])
            state["digest"] = digest
        need(not claimed, "digests at other places")
        state["to"] = root["to"]
        self.totals["logBytes"] += len(raw)
        return state

    def backup(self, base, backup):
        manifest = self.open("%sbackup/%s/manifest.mpk" % (base, backup))
        root = manifest.root()
        scope = base.rstrip("/").split("/")
        need([root["cluster"], root["tenant"], root["incarnation"]] == scope and root["backup"] == backup, "another's manifest")
        expected, number, log, counts, last_log = b"", 0, None, [0, 0, 0, 0], None
        for record in manifest.records():
            kind, item = record[0], unpack_all(record[1:])
            counts[kind] += 1
            if kind == 1:
                need(item["s"] == expected, "a segment does not follow")
                for r in map(unpack_all, self.open(base + item["o"], item).records()):
                    need(expected is not None and r["s"] == expected and r["i"] == number, "range %d does not follow" % number)
                    need((r["t"], r["c"]) <= (root["term"], root["counter"]), "epoch above the manifest's")
                    need(r["o"] == "backup/%s/data/%08x-%016x.%08x" % (backup, r["i"], r["t"], r["c"]), "foreign object")
                    self.data(base, backup, r)
                    expected, number = r["e"] or None, number + 1
                need((item["e"] or None) == expected, "a segment ends elsewhere")
            elif kind == 2:
                own = "backup/%s/log/" % backup
                need(item["o"].startswith("log/%s/chunk/" % item["l"].hex() if item.get("k") else own), "foreign log")
                log = self.chunk(base, item, log)
                last_log = item
        need(expected is None and number == root["ranges"], "the key space is not covered")
        need(counts[1:] == [root.get("segments", 0), root.get("logObjects", 0), root.get("problems", 0)], "counts")
        if root.get("logTo", 0) > root.get("logFrom", 0):
            need(last_log is not None and last_log["t"] >= root["logTo"], "the log ends early")
        self.totals["backups"] += 1
        self.totals["ranges"] += number

    def log_chunk(self, name, lineage, entry=None):
        """One chunk of the log task: its root, proven against its name, its events and what a roll-up says."""
        o = self.open(name)
        root, match = o.root(), re.search("chunk/([0-9a-f]{16})-" + EPOCH + "$", name)
        need((root["from"], root["term"], root["counter"]) == tuple(int(x, 16) for x in match.groups()), "another's name")
        need(root["lineage"].hex() == lineage and root["to"] - root["from"] == len(o.raw()), "chunk")
        found = events(o.sections[7]) if 7 in o.sections else []
        need(len(found) == root.get("events", 0), "events")
        times = [e["time"] for e in found if e["kind"] in (1, 2)]
        need((min(times, default=0), max(times, default=0)) == (root.get("minTime", 0), root.get("maxTime", 0)), "times")
        if entry is not None:
            need((entry["f"], entry["t"], entry["d"], entry["r"]) ==
                 (root["from"], root["to"], o.digest, o.raw_bytes), "not what the roll-up says")
        return root

    def log(self, base, lineage, names):
        """What counts of one lineage, by the rules: its runs."""
        below = "%slog/%s/" % (base, lineage)
        rooms = {room: [n for n in names if n.startswith(below + room + "/")] for room in ("writer", "chunk", "index", "mark")}
        writers = [self.open(n).root() for n in rooms["writer"]]
        truncations = [self.open(n).root() for n in names if n.startswith(base + "truncate/")]
        absent = max([t["from"] for t in truncations if t["lineage"].hex() == lineage], default=0)
        for name in rooms["index"]:
            o, at = self.open(name), None
            root, entries = o.root(), list(map(unpack_all, o.records()))
            for e in entries:
                need(at is None or e["f"] == at, "a hole in %s" % name)
                chunk = "%schunk/%016x-%016x.%08x" % (below, e["f"], e["e"], e["c"])
                if chunk in rooms["chunk"]:
                    self.log_chunk(chunk, lineage, e)
                at = e["t"]
            need((root["from"], root["to"], root["chunks"]) == (entries[0]["f"], at, len(entries)), "root of %s" % name)
        chunks = [self.log_chunk(n, lineage) for n in rooms["chunk"]]
        runs = []
        for c in sorted(chunks, key=lambda c: (c["from"], -c["term"], -c["counter"])):
            fence = min([w["from"] for w in writers if (w["term"], w["counter"]) > (c["term"], c["counter"])], default=1 << 64)
            if c["to"] > fence or c["to"] <= absent or (runs and c["from"] < runs[-1][1]):
                continue
            if runs and runs[-1][1] == c["from"]:
                runs[-1][1] = c["to"]
            else:
                runs.append([c["from"], c["to"]])
        marks = [self.open(n).root() for n in rooms["mark"]]
        need(all(m["lineage"].hex() == lineage for m in marks), "another's mark")
        return {"runs": runs, "chunks": len(chunks), "events": sum(c.get("events", 0) for c in chunks), "marks": len(marks)}

    def read(self):
        names = []
        for top, _, files in os.walk(self.path):
            rel = os.path.relpath(top, self.path)
            names += [f if rel == "." else rel + "/" + f for f in files if not f.startswith(".tmp-")]
        need(self.open("tidemark.mpk").root()["version"] == 1, "repository version")
        for name in sorted(names):
            self.open(name)
            self.totals["objects"] += 1
            match = re.fullmatch(r"(.*/)backup/([0-9TZ]+-[0-9a-f]{8})/manifest\.mpk", name)
            if match and match.group(1) + "backup/" + match.group(2) + "/deleted.mpk" not in names:
                self.backup(*match.groups())
            match = re.fullmatch(r"(.*/)log/([0-9a-f]{32})/lineage\.mpk", name)
            if match:
                self.totals.setdefault("lineages", {})[match.group(2)] = self.log(*match.groups(), sorted(names))
        return self.totals


def checkpoint(o):
    """What a checkpoint says of itself."""
    root, ranges = o.root(), [unpack_all(record) for record in o.records()]
    need(len(ranges) == root.get("results", 0), "results")
    need("begin" not in root or hashlib.sha256(root["begin"]).digest() == root["beginDigest"], "digest of begin")
    for r in ranges:
        need(r["i"] < root["planRanges"] and r["t"] <= root["term"] and r["s"] < r["e"], "range %d" % r["i"])
        need(r["o"] == "backup/%s/data/%08x-%016x.%08x" % (root["backup"], r["i"], r["t"], r["c"]), "foreign object")


def checkpointed(directory):
    """The data objects that the checkpoints of a backup count, by the rules: those of the newest plan and start."""
    objects = []
    try:
        names = sorted(n for n in os.listdir(os.path.join(directory, "checkpoint")) if not n.startswith("."))
    except FileNotFoundError:
        names = []
    for name in names:
        try:
            with open(os.path.join(directory, "checkpoint", name), "rb") as f:
                o = Object(f.read())
        except FileNotFoundError:
            continue  # it is being swept
        if o.kind == "checkpoint":
            checkpoint(o)
            objects.append(o)
    newest = [o.root() for o in objects if "begin" in o.root()][-1:]
    counted = {}
    for o in objects:
        root = o.root()
        if not newest or any(root[k] != newest[0][k] for k in ("planTerm", "planCounter", "planRanges", "started")):
            continue
        for r in map(unpack_all, o.records()):
            if os.path.exists(os.path.join(directory, "data", os.path.basename(r["o"]))):
                counted[r["i"]] = max(counted.get(r["i"], (0, 0)), (r["t"], r["c"], os.path.basename(r["o"]), r["r"]))
    return ["%s %d" % counted[i][2:] for i in sorted(counted)]


def main(arguments):
    try:
        if arguments[:1] == ["--object"]:
            kinds = []
            for path in arguments[1:]:
                with open(path, "rb") as f:
                    data = f.read()
                o = Object(data[1:] if data[:1] in (b"o", b"h") else data)
                o.raw()
                if o.kind in ("segment", "plan", "log index", "checkpoint"):
                    list(map(unpack_all, o.records()))
                if o.kind not in ("segment", "plan"):
                    o.root()
                if o.kind == "chunk" and 7 in o.sections:
                    need(len(events(o.sections[7])) == o.root()["events"], "events")
                if o.kind == "checkpoint":
                    checkpoint(o)
                kinds.append(o.kind)
            print(json.dumps({"objects": len(kinds), "kinds": sorted(set(kinds))}))
        elif arguments[:1] == ["--checkpointed"]:
            print("".join(line + "\n" for line in checkpointed(arguments[1])), end="")
        else:
            print(json.dumps(Repository(arguments[0]).read()))
        return 0
    except Bad as e:
        print("format_reader: %s" % e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
