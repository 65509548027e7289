"""Small requests at a steady rate, one connection each: `steady_requests.py ADDRESS PORT INTERVAL_MS`.

Prints a row per request: start (s, CLOCK_MONOTONIC), duration (s), backend name or "-", error or "-". Runs until it is
killed. A request fails after half a second without a complete response.
"""

import asyncio
import sys
import time

TIMEOUT = 0.5


async def request(address, port):
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        return answer.rsplit(b"\r\n\r\n", 1)[1].split()[0].decode()
    finally:
        writer.close()


async def timed_request(address, port):
    start = time.monotonic()
    backend, error = "-", "-"
    try:
        backend = await asyncio.wait_for(request(address, port), TIMEOUT)
    except asyncio.TimeoutError:
        error = "timeout"
    except (OSError, IndexError) as exception:
        error = type(exception).__name__
    print(f"{start:.4f} {time.monotonic() - start:.4f} {backend} {error}", flush=True)


async def main(address, port, interval):
    running = set()
    due = time.monotonic()
    while True:
        task = asyncio.create_task(timed_request(address, port))
        running.add(task)
        task.add_done_callback(running.discard)
        due += interval
        await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 1000))
