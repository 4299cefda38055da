#!/usr/bin/env python3
"""Judges a restored directory by its backup_manifest, independently of Tidemark and of the server's version.

pg_verifybackup exists only for the distribution's PostgreSQL; it does not read the manifests of later
versions. This checks what it checks: the manifest's own SHA-256, every file's presence, size and CRC-32C,
and that no file is there which the manifest does not name.

    manifest_check.py DATA_DIR        exit 0 and one line, or 1 and every fault
"""
import ctypes
import hashlib
import json
import os
import subprocess
import sys
import tempfile

CRC_SOURCE = r"""
#include <stddef.h>
#include <stdint.h>
uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t n);
uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t n)
{
    static uint32_t table[8][256];
    if (table[0][1] == 0)
        for (int k = 0; k < 8; k++)
            for (uint32_t i = 0; i < 256; i++) {
                uint32_t c = k == 0 ? i : table[k - 1][i];
                if (k == 0)
                    for (int bit = 0; bit < 8; bit++)
                        c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0);
                else
                    c = table[0][c & 255] ^ (c >> 8);
                table[k][i] = c;
            }
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t lo = crc ^ (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^ table[5][lo >> 16 & 255] ^ table[4][lo >> 24]
            ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    while (n--)
        crc = table[0][(crc ^ *p++) & 255] ^ (crc >> 8);
    return crc;
}
"""

# What a started or startable restore may hold beside the manifest's files (pg_verifybackup's own list).
IGNORED = {"backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"}


def load_crc():
    folder = tempfile.mkdtemp()
    source = os.path.join(folder, "crc.c")
    library = os.path.join(folder, "crc.so")
    with open(source, "w") as out:
        out.write(CRC_SOURCE)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    function = ctypes.CDLL(library).crc32c_update
    function.restype = ctypes.c_uint32
    function.argtypes = [ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t]
    return function


def crc_of(path, update):
    crc = 0xFFFFFFFF
    with open(path, "rb") as source:
        while block := source.read(1 << 20):
            crc = update(crc, block, len(block))
    return crc ^ 0xFFFFFFFF


def main():
    root = sys.argv[1]
    faults = []
    raw = open(os.path.join(root, "backup_manifest"), "rb").read()
    manifest = json.loads(raw)
    head = raw[: raw.rindex(b'"Manifest-Checksum"')]
    if hashlib.sha256(head).hexdigest() != manifest["Manifest-Checksum"]:
        faults.append("the manifest's own checksum does not match")
    if not manifest["WAL-Ranges"]:
        faults.append("no WAL range")

    update = load_crc()
    named = set()
    for entry in manifest["Files"]:
        path = entry["Path"] if "Path" in entry else os.fsdecode(bytes.fromhex(entry["Encoded-Path"]))
        if path in named:
            faults.append(f"{path}: named twice")
        named.add(path)
        full = os.path.join(root, path)
        if not os.path.isfile(full):
            faults.append(f"{path}: missing")
        elif os.path.getsize(full) != entry["Size"]:
            faults.append(f"{path}: {os.path.getsize(full)} bytes instead of {entry['Size']}")
        elif entry["Checksum-Algorithm"] != "CRC32C":
            faults.append(f"{path}: algorithm {entry['Checksum-Algorithm']}")
        # PostgreSQL writes the checksum's four bytes in memory order, little-endian
        elif crc_of(full, update).to_bytes(4, "little").hex() != entry["Checksum"]:
            faults.append(f"{path}: checksum differs")

    for folder, folders, files in os.walk(root, followlinks=True):
        relative = os.path.relpath(folder, root)
        if relative == ".":
            folders[:] = [f for f in folders if f not in IGNORED]
            relative = ""
        for name in files:
            path = os.path.join(relative, name)
            if path not in named and path not in IGNORED:
                faults.append(f"{path}: not in the manifest")

    for fault in faults[:50]:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"manifest: {len(named)} files match")


main()
