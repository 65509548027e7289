"""A UDP datagram in fragments of one's own making, and its echo: `fragmented.py SOURCE DESTINATION PORT SIZE HOW`.

HOW: `in-order`, `reversed`, `twice` (each fragment), `overlapping` (each begins eight bytes before the last one's end),
`tail` (without the first one), `head` (without the last one). Prints `echoed`, `other data` or `no answer`.
"""

import socket
import struct
import sys

FRAGMENT = 1200  # bytes of each, without headers
TIMEOUT_S = 2


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff or 0xffff


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def datagram(source, destination, source_port, port, payload):
    length = 8 + len(payload)
    header = struct.pack("!HHHH", source_port, port, length, 0)
    pseudo = packed(source) + packed(destination) + struct.pack("!II", length, socket.IPPROTO_UDP)
    return header[:6] + struct.pack("!H", checksum(pseudo + header + payload)) + payload


def ip_packet(source, destination, number, offset, more, data):
    ends = packed(source) + packed(destination)
    if ":" in source:
        return (struct.pack("!IHBB", 6 << 28, 8 + len(data), 44, 64) + ends
                + struct.pack("!BBHI", socket.IPPROTO_UDP, 0, offset | more, number) + data)
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), number & 0xffff or 1, offset // 8 | more << 13, 64,
                       socket.IPPROTO_UDP, 0) + ends + data


def fragments(whole, overlap):
    """(offset, is not the last, data) of each."""
    pieces, offset = [], 0
    while offset < len(whole):
        start = max(offset - overlap, 0)
        pieces.append((start, offset + FRAGMENT < len(whole), whole[start:offset + FRAGMENT]))
        offset += FRAGMENT
    return pieces


def main(source, destination, port, size, how):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as answers, \
            socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        answers.bind((source, 0))
        answers.settimeout(TIMEOUT_S)
        source_port = answers.getsockname()[1]
        payload = bytes(i * 7 % 251 for i in range(size))
        whole = datagram(source, destination, source_port, port, payload)
        pieces = fragments(whole, 8 if how == "overlapping" else 0)
        pieces = {"reversed": pieces[::-1], "twice": [piece for piece in pieces for _ in "ab"], "tail": pieces[1:],
                  "head": pieces[:-1]}.get(how, pieces)
        for offset, more, data in pieces:
            raw.sendto(ip_packet(source, destination, source_port, offset, more, data), (destination, 0))
        try:
            answer = answers.recv(65535)
        except TimeoutError:
            return "no answer"
        return "echoed" if answer.partition(b" ")[2] == payload else "other data"


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
