"""A store further away: distance.py PORT UPSTREAM-PORT MS

Passes TCP connections on, on loopback, every byte MS milliseconds later than it came, each way; a new connection costs
one round trip of its own. As much may be under way as WINDOW says, so a connection's rate falls with the distance as
it does on a real line of some quality.
"""
import asyncio
import sys

CHUNK = 262144
WINDOW = 4 << 20


async def carry(reader, writer, delay_s):
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(WINDOW // CHUNK)
    queue = asyncio.Queue()

    async def deliver():
        while True:
            due, data = await queue.get()
            wait_s = due - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            room.release()
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def take():
        data = b"?"
        while data:
            await room.acquire()
            data = await reader.read(CHUNK)
            queue.put_nowait((loop.time() + delay_s, data))

    await asyncio.gather(deliver(), take())


async def main(port, upstream, delay_s):
    async def connected(reader, writer):
        other = None
        try:
            await asyncio.sleep(2 * delay_s)
            there, other = await asyncio.open_connection("127.0.0.1", upstream, limit=CHUNK)
            await asyncio.gather(carry(reader, other, delay_s), carry(there, writer, delay_s))
        except OSError:
            pass
        finally:
            for end in (writer, other):
                if end:
                    end.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=CHUNK)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
