"""A proxy that fails as told: it stands between a client and an HTTP server, both on loopback.

    fault_proxy.py PORT UPSTREAM-PORT RULES LOG [CERTIFICATE-AND-KEY.pem]

Bytes pass unchanged, the Host header too: signatures stay valid, as servers check the host that was signed and not the
one they are. With a certificate clients speak TLS; the server behind is always spoken to in plain HTTP.

RULES is a file, read anew whenever its text has changed, and its counters begin at zero then. A line each:

    METHOD TARGET-REGEX [nth=N | first=N | after=N | every=N | chance=P] : ACTION [ARGUMENT…]

METHOD may be *; the expression is searched in path and query as sent; # begins a comment. Of the requests that match a
rule: nth, only the Nth; first, the first N; after, all but the first N; every, each Nth; chance, that part of them, as
the seed says ("seed N" on a line of its own, 1 by default); without condition all. The first rule that takes a request
decides, and every rule that it matches counts it. N bytes count bodies.

    answer STATUS [CODE [name=value…]]  answered here, the server sees nothing; the body is the error's XML; name=value
                                        are headers
    answer-after STATUS [CODE …]        … instead of what the server answered, which has done it
    early STATUS [CODE …]               answered before the body was read, then closed
    reset-request N                     reset after N bytes of the request's body went to the server
    lost                                the server did it, its answer is dropped: reset
    reset-answer N · close-answer N     reset, closed after N bytes of the answer's body
    shorten-answer N                    N bytes are cut off its end, the length in its header agrees
    header-answer NAME VALUE            a header is replaced
    flip-answer N · flip-request N      the byte at N is another one
    slow N                              N bytes a second, each way
    delay MS                            before anything is done
    hang                                no answer, until the client closes; the server sees nothing
    pass                                nothing is done: keeps later rules away

LOG gets a line for each request when it is over: number, method, target, bytes of its body, status (0: none), bytes of
the answer's body, and what was done to it ("-": nothing).
"""
import asyncio
import contextlib
import random
import re
import socket
import ssl
import struct
import sys

CHUNK = 65536
HEAD_MAX = 65536
LINGER_NOT = struct.pack("ii", 1, 0)
CONDITIONS = ("nth", "first", "after", "every", "chance")
# action: how many arguments at least
ACTIONS = {"answer": 1, "answer-after": 1, "early": 1, "reset-request": 1, "lost": 0, "reset-answer": 1,
           "close-answer": 1, "shorten-answer": 1, "header-answer": 2, "flip-answer": 1, "flip-request": 1, "slow": 1,
           "delay": 1, "hang": 0, "pass": 0}


class Gone(Exception):
    """The connection is to end, by a reset or in order."""

    def __init__(self, reset=True):
        super().__init__()
        self.reset = reset


class Rule:
    def __init__(self, line):
        left, colon, right = line.partition(" : ")
        words, self.action = left.split(), right.split()
        if not colon or len(words) < 2 or not self.action or self.action[0] not in ACTIONS \
                or len(self.action) <= ACTIONS[self.action[0]]:
            raise ValueError(f"cannot read the rule '{line}'")
        self.method, self.target, self.condition, self.seen = words[0], re.compile(words[1]), None, 0
        for word in words[2:]:
            name, _, value = word.partition("=")
            if name not in CONDITIONS or self.condition:
                raise ValueError(f"cannot read '{word}' in the rule '{line}'")
            self.condition = (name, float(value) if name == "chance" else int(value))

    def takes(self, method, target, dice):
        if self.method not in ("*", method) or not self.target.search(target):
            return False
        self.seen += 1
        name, n = self.condition or ("after", 0)
        return {"nth": self.seen == n, "first": self.seen <= n, "after": self.seen > n,
                "every": name == "every" and self.seen % n == 0, "chance": name == "chance" and dice.random() < n}[name]


class Rules:
    def __init__(self, path):
        self.path, self.text, self.rules, self.dice = path, None, [], None

    def action(self, method, target):
        """What to do to this request; ["pass"] when no rule takes it."""
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        if text != self.text:
            lines = [line.strip() for line in text.splitlines()]
            seeds = [int(line.split()[1]) for line in lines if line.startswith("seed ")]
            self.rules = [Rule(line) for line in lines if line and not line.startswith(("#", "seed "))]
            self.text, self.dice = text, random.Random(seeds[0] if seeds else 1)
        taken = [rule.action for rule in self.rules if rule.takes(method, target, self.dice)]  # all of them count
        return taken[0] if taken else ["pass"]


class Head:
    """The first line and the headers of a message, byte for byte."""

    def __init__(self, raw):
        self.lines = raw[:-4].split(b"\r\n")
        self.first = self.lines[0].decode("latin-1").split(" ", 2)

    def get(self, name):
        for line in self.lines[1:]:
            if line.lower().startswith(name.encode() + b":"):
                return line.split(b":", 1)[1].strip().decode("latin-1")
        return None

    def put(self, name, value):
        new = f"{name}: {value}".encode("latin-1")
        matches = [i for i, line in enumerate(self.lines) if i and line.lower().startswith(name.lower().encode() + b":")]
        if matches:
            self.lines[matches[0]] = new
        else:
            self.lines.append(new)

    def remove(self, name):
        self.lines = [line for i, line in enumerate(self.lines) if not i or not line.lower().startswith(name.encode() + b":")]

    def bytes(self):
        return b"\r\n".join(self.lines) + b"\r\n\r\n"


async def read_head(reader):
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as e:
        if e.partial:
            raise Gone() from e
        return None


async def body_pieces(reader, head, to_close):
    """The bytes of a body as they come: (framing before, content, framing behind)."""
    if (head.get("transfer-encoding") or "").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            rest = await reader.readexactly(size + 2)
            yield line, rest[:-2], rest[-2:]
            if size == 0:
                return
    length = head.get("content-length")
    if length is None:
        while to_close and (piece := await reader.read(CHUNK)):
            yield b"", piece, b""
        return
    left = int(length)
    while left > 0:
        piece = await reader.read(min(CHUNK, left))
        if not piece:
            raise Gone()
        left -= len(piece)
        yield b"", piece, b""


def flipped(piece, before, at):
    if before <= at < before + len(piece):
        piece = bytearray(piece)
        piece[at - before] ^= 0x20
    return bytes(piece)


class Connection:
    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.server_reader = self.server_writer = None

    async def run(self):
        reset = False
        try:
            while (head := await read_head(self.reader)) is not None:
                await self.request(head)
        except Gone as e:
            reset = e.reset
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        for writer in (self.writer, self.server_writer):
            if writer is None:
                continue
            if reset:
                # closed with this option a socket sends a reset; the TLS layer is not asked for a farewell either
                with contextlib.suppress(OSError):  # closed from the other side already
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                writer.transport.abort()
            else:
                writer.close()

    async def request(self, head):
        method, target = head.first[0], head.first[1]
        self.action = action = self.proxy.rules.action(method, target)
        self.sent = self.got = self.status = 0
        note = "-" if action == ["pass"] else " ".join(action)
        try:
            await self.act(head, method, action[0], action[1:])
        finally:
            self.proxy.note(method, target, self.sent, self.status, self.got, note)

    async def act(self, head, method, verb, args):
        if verb == "delay":
            await asyncio.sleep(int(args[0]) / 1000)
        elif verb == "hang":
            await self.read_all()
            raise Gone()
        elif verb == "early":
            await self.answer(method, args, close=True)
            # what still comes is read, or closing would reset before the answer was seen
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.read_all(), 1)
            raise Gone(reset=False)
        elif verb == "answer":
            if head.get("expect"):
                self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            async for _, piece, _ in body_pieces(self.reader, head, False):
                self.sent += len(piece)
            await self.answer(method, args)
            return
        # a connection to the server for each request: one that it closed when idle would be a fault nobody asked for
        self.server_reader, self.server_writer = \
            await asyncio.open_connection("127.0.0.1", self.proxy.upstream, limit=HEAD_MAX)
        upload = asyncio.ensure_future(self.upload(head, verb, args))
        try:
            await self.download(method, verb, args, upload)
            await upload
            self.server_writer.close()
        finally:
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)

    async def read_all(self):
        while await self.reader.read(CHUNK):
            pass

    async def pace(self, verb, args, size):
        if verb == "slow":
            await asyncio.sleep(size / int(args[0]))

    async def upload(self, head, verb, args):
        server = self.server_writer
        server.write(head.bytes())
        limit = int(args[0]) if verb == "reset-request" else None
        if limit == 0:
            raise Gone()
        async for before, piece, behind in body_pieces(self.reader, head, False):
            if limit is not None and self.sent + len(piece) >= limit:
                server.write(before + piece[:limit - self.sent])
                await server.drain()
                self.sent = limit
                raise Gone()
            if verb == "flip-request":
                piece = flipped(piece, self.sent, int(args[0]))
            await self.pace(verb, args, len(piece))
            server.write(before + piece + behind)
            await server.drain()
            self.sent += len(piece)
        if limit is not None:
            raise Gone()

    async def answer_head(self, upload):
        """The server's, as soon as it is there: it may answer before it has read the whole body."""
        answer = asyncio.ensure_future(read_head(self.server_reader))
        try:
            await asyncio.wait({answer, upload}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                upload.result()  # raises what ended it
                await answer
        finally:
            if not answer.done():
                answer.cancel()
        head = answer.result()
        if head is None:
            raise Gone()
        return head

    async def download(self, method, verb, args, upload):
        head = await self.answer_head(upload)
        while head.first[1].startswith("1"):
            self.writer.write(head.bytes())
            head = await self.answer_head(upload)
        self.status = int(head.first[1])
        empty = method == "HEAD" or self.status in (204, 304)
        pieces = body_pieces(self.server_reader, head, True)
        if verb in ("lost", "answer-after"):
            if not empty:
                async for _ in pieces:
                    pass
            await upload
            self.status = 0
            if verb == "lost":
                raise Gone()
            await self.answer(method, args)
            return
        limit = None
        if verb in ("reset-answer", "close-answer"):
            limit = int(args[0])
        elif verb == "shorten-answer" and not empty:
            await self.shortened(head, pieces, int(args[0]))
            return
        elif verb == "header-answer":
            head.put(args[0], " ".join(args[1:]))
        self.writer.write(head.bytes())
        await self.writer.drain()
        if not empty:
            await self.answer_body(pieces, verb, args, limit)
        if verb in ("reset-answer", "close-answer"):
            await self.writer.drain()
            raise Gone(reset=verb == "reset-answer")
        if (head.get("connection") or "").lower() == "close" or \
                not empty and head.get("content-length") is None and head.get("transfer-encoding") is None:
            raise Gone(reset=False)

    async def answer_body(self, pieces, verb, args, limit):
        async for before, piece, behind in pieces:
            if verb == "flip-answer":
                piece = flipped(piece, self.got, int(args[0]))
            if limit is not None and self.got + len(piece) >= limit:
                piece, behind = piece[:limit - self.got], b""
            await self.pace(verb, args, len(piece))
            self.writer.write(before + piece + behind)
            await self.writer.drain()
            self.got += len(piece)
            if limit is not None and self.got >= limit:
                return

    async def shortened(self, head, pieces, less):
        body = b"".join([piece async for _, piece, _ in pieces])
        body = body[:max(0, len(body) - less)]
        head.remove("transfer-encoding")
        head.put("Content-Length", len(body))
        self.writer.write(head.bytes() + body)
        await self.writer.drain()
        self.got = len(body)

    async def answer(self, method, args, close=False):
        """An answer of our own, as S3 and Azure word theirs."""
        status, code = int(args[0]), args[1] if len(args) > 1 else ""
        body = ""
        if code:
            body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>a fault that was ' \
                   f"asked for</Message><RequestId>fault-proxy</RequestId></Error>"
        lines = [f"HTTP/1.1 {status} Fault", f"Content-Length: {len(body)}", "x-amz-request-id: fault-proxy"]
        if code:
            lines += ["Content-Type: application/xml", f"x-ms-error-code: {code}"]
        lines += [": ".join(word.split("=", 1)) for word in args[2:]] + (["Connection: close"] if close else [])
        if method == "HEAD":
            body = ""
        self.status, self.got = status, len(body)
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        await self.writer.drain()


class Proxy:
    def __init__(self, upstream, rules, log):
        self.upstream, self.rules, self.log, self.number = upstream, Rules(rules), open(log, "a", encoding="utf-8"), 0

    def note(self, method, target, sent, status, got, what):
        self.number += 1
        self.log.write(f"{self.number} {method} {target} {sent} {status} {got} {what}\n")
        self.log.flush()

    async def serve(self, port, certificate):
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)

        async def connected(reader, writer):
            await Connection(self, reader, writer).run()

        server = await asyncio.start_server(connected, "127.0.0.1", port, limit=HEAD_MAX, ssl=context)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    port_, upstream_, rules_, log_, *certificate_ = sys.argv[1:]
    asyncio.run(Proxy(int(upstream_), rules_, log_).serve(int(port_), certificate_[0] if certificate_ else None))
