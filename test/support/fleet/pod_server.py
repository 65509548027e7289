"""The servers of a backend pod: HTTP and UDP echo, both families. `pod_server.py NAME HTTP_PORT UDP_PORT`.

GET returns one line: "<name> <client address>". POST returns the request's body. UDP returns "<name> " followed by the
datagram.
"""

import asyncio
import sys

MAX_BODY = 64 << 20


async def read_head(reader):
    """Request line and headers, or None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    line, *rest = head.split("\r\n")
    headers = {}
    for row in rest:
        key, found, value = row.partition(":")
        if found:
            headers[key.strip().lower()] = value.strip()
    return line, headers


async def serve_http(name, reader, writer):
    try:
        while (request := await read_head(reader)) is not None:
            line, headers = request
            length = min(int(headers.get("content-length", "0")), MAX_BODY)
            if headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(length)
            if not line.startswith("POST"):
                body = f"{name} {writer.get_extra_info('peername')[0]}\n".encode()
            close = headers.get("connection", "").lower() == "close"
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                         f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n".encode() + body)
            await writer.drain()
            if close:
                break
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


class UdpEcho(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name = name.encode() + b" "

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(self.name + data, address)


async def main(name, http_port, udp_port):
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(lambda r, w: serve_http(name, r, w), ["0.0.0.0", "::"], http_port, backlog=1024)
    await loop.create_datagram_endpoint(lambda: UdpEcho(name), local_addr=("::", udp_port))  # both families
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
