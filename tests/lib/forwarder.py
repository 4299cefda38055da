#!/usr/bin/env python3
"""A TCP connection's other half: forwards what comes to a port of its own to another one, both on loopback.

    forwarder.py PORT       prints the port it listens on, and ends with its parent

It stands in for a network that can be cut: stopped by a signal it is silent both ways, as a network without a link is.
"""
import asyncio
import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def serve(client_reader, client_writer):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    except OSError:
        client_writer.close()
        return
    await asyncio.gather(pump(client_reader, writer), pump(reader, client_writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
asyncio.run(main())
