"""Steady small requests, each on a connection of its own: `steady_requests.py ADDRESS PORT INTERVAL_MS`.

Rows on standard output: start (s, CLOCK_MONOTONIC), duration (s), backend name or "-", error or "-". Runs until it is
ended. A request that has no answer after half a second has failed.
"""

import asyncio
import sys
import time

TIMEOUT = 0.5


async def one(address, port):
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        return answer.rsplit(b"\r\n\r\n", 1)[1].split()[0].decode()
    finally:
        writer.close()


async def timed(address, port):
    start = time.monotonic()
    backend, error = "-", "-"
    try:
        backend = await asyncio.wait_for(one(address, port), TIMEOUT)
    except asyncio.TimeoutError:
        error = "timeout"
    except (OSError, IndexError) as problem:
        error = type(problem).__name__
    print(f"{start:.4f} {time.monotonic() - start:.4f} {backend} {error}", flush=True)


async def main(address, port, interval):
    running = set()
    due = time.monotonic()
    while True:
        task = asyncio.create_task(timed(address, port))
        running.add(task)
        task.add_done_callback(running.discard)
        due += interval
        await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 1000))
