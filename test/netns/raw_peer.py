"""Two ends of protocols for which the kernel has no sockets, or none here: GRE, ESP, SCTP, any number.

    raw_peer.py answer PROTOCOL ADDRESS...                      answers what comes to these addresses, for ever
    raw_peer.py ask PROTOCOL SOURCE DESTINATION [PORT]          prints `answered`, `no answer`, or what is wrong with it

An answer is what was asked in capitals. SCTP packets have ports and a checksum, which both ends check, and no chunks.
"""

import select
import socket
import struct
import sys

SCTP = 132
TIMEOUT_S = 2
SIZE = 600  # bytes of what is asked


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def crc32c(data):
    """As SCTP has it (RFC 9260, appendix A)."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return struct.pack("<I", ~crc & 0xffffffff)


def packet_of(protocol, data, ports=(0, 0)):
    """What stands behind the IP header."""
    if protocol != SCTP:
        return data
    start = struct.pack("!HHI", *ports, 0x5eed)
    return start + crc32c(start + bytes(4) + data) + data


def read(protocol, packet):
    """The data and the ports of a packet; without the data where its checksum is wrong."""
    if protocol != SCTP:
        return packet, (0, 0)
    good = crc32c(packet[:8] + bytes(4) + packet[12:]) == packet[8:12]
    return packet[12:] if good else b"checksum", struct.unpack("!HH", packet[:4])


def behind_ip(address, packet):
    """Raw IPv4 sockets give the IP header, too."""
    return packet if ":" in address else packet[(packet[0] & 15) * 4:]


def raw(protocol, address):
    sock = socket.socket(family_of(address), socket.SOCK_RAW, protocol)
    sock.bind((address, 0))
    return sock


def answer(protocol, *addresses):
    sockets = {raw(protocol, address): address for address in addresses}
    while True:
        for sock in select.select(list(sockets), [], [])[0]:
            packet, sender = sock.recvfrom(65535)
            data, ports = read(protocol, behind_ip(sockets[sock], packet))
            if data == data.lower():  # no answer of another one's
                sock.sendto(packet_of(protocol, data.upper(), ports[::-1]), sender[:1] + (0,))


def ask(protocol, source, destination, port="0"):
    data = f"{source} asks {destination} ".encode().ljust(SIZE, b"x")
    ports = (40000, int(port))
    with raw(protocol, source) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.sendto(packet_of(protocol, data, ports), (destination, 0))
        try:
            packet, sender = sock.recvfrom(65535)
        except TimeoutError:
            return "no answer"
    answered, back = read(protocol, behind_ip(source, packet))
    if answered != data.upper() or sender[0] != destination or (protocol == SCTP and back != ports[::-1]):
        return f"{sender[0]} with ports {back} answers {answered[:60]}"
    return "answered"


def main(what, *words):
    return {"answer": answer, "ask": ask}[what](int(words[0]), *words[1:])


if __name__ == "__main__":
    print(main(*sys.argv[1:]) or "")
