"""A Cilium node that balances with DSR by Geneve, in user space.

    geneve_balancer.py DEVICE OWN-ADDRESS GATEWAY VIP:PORT=BACKEND:PORT...      (IPv6 addresses in brackets)

It shares no code with the gateway. What the kernel routes to DEVICE, which it makes, goes to the backend with the
client's source, in Geneve with VNI 2 (world); the DSR option is in TCP's SYNs and in all of UDP. It prints a line for
what comes back by its tunnel, probes apart.
"""

import fcntl
import os
import select
import socket
import struct
import sys

GENEVE_PORT, WORLD, HEALTH = 6081, 2, 4
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
TCP, UDP = 6, 17
TCP_CHECKSUM, UDP_CHECKSUM = 16, 6
SYN, ACK = 2, 16


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def dsr_option(vip, port):
    """Class 0x014b, type 0x81, words of the body; address, port, padding."""
    address = socket.inet_pton(socket.AF_INET6 if ":" in vip else socket.AF_INET, vip)
    body = address + struct.pack("!HH", port, 0)
    return struct.pack("!HBB", 0x014b, 0x81, len(body) // 4) + body


def geneve(vni, option, packet):
    ether = bytes.fromhex("02000000000a02000000000b") + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd")
    return struct.pack("!BBHI", len(option) // 4, 0, 0x6558, vni << 8) + option + ether + packet


class Packet:
    """An IP packet with TCP or UDP, without options or extension headers; None of `parse` where it is another."""

    def __init__(self, data):
        self.v4 = data[0] >> 4 == 4
        self.at = 20 if self.v4 else 40
        self.data = bytearray(data)
        self.protocol = data[9] if self.v4 else data[6]
        self.source, self.destination = ((data[12:16], data[16:20]) if self.v4 else (data[8:24], data[24:40]))
        self.ports = struct.unpack("!HH", data[self.at:self.at + 4])

    @classmethod
    def parse(cls, data):
        plain = (data[0] == 0x45 and data[9] in (TCP, UDP)) or (data[0] >> 4 == 6 and data[6] in (TCP, UDP))
        return cls(data) if plain else None

    def opens(self):
        flags = self.data[self.at + 13]
        return self.protocol == UDP or flags & (SYN | ACK) == SYN

    def send_to(self, address, port):
        """Rewrites the destination, with a hop less, and every checksum."""
        self.data[8 if self.v4 else 7] -= 1
        return self.rewritten(16 if self.v4 else 24, address, self.at + 2, port)

    def say_from(self, address, port):
        """Rewrites the source, and every checksum."""
        return self.rewritten(12 if self.v4 else 8, address, self.at, port)

    def rewritten(self, place, address, port_place, port):
        packed = socket.inet_pton(socket.AF_INET if self.v4 else socket.AF_INET6, address)
        self.data[place:place + len(packed)] = packed
        self.data[port_place:port_place + 2] = port.to_bytes(2, "big")
        if self.v4:
            self.data[10:12] = b"\0\0"
            self.data[10:12] = checksum(bytes(self.data[:20])).to_bytes(2, "big")
        at = self.at + (TCP_CHECKSUM if self.protocol == TCP else UDP_CHECKSUM)
        self.data[at:at + 2] = b"\0\0"
        segment = bytes(self.data[self.at:])
        addresses = bytes(self.data[12:20] if self.v4 else self.data[8:40])
        pseudo = addresses + struct.pack("!II", len(segment), self.protocol)
        self.data[at:at + 2] = (checksum(pseudo + segment) or 0xffff).to_bytes(2, "big")
        return bytes(self.data)


def read_end(text):
    address, port = text.rsplit(":", 1)
    return address.strip("[]"), int(port)


def open_tun(name):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def returned(data):
    """The inner packet of what has come by the tunnel, unless it is a probe."""
    options = (data[0] & 0x3f) * 4
    vni = int.from_bytes(data[4:7], "big")
    return None if vni == HEALTH else data[8 + options + 14:]


def main(device, own, gateway, *services):
    backends = {}
    for service in services:
        vip, backend = map(read_end, service.split("="))
        backends[vip] = backend
    tun = open_tun(device)
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    tunnel = socket.socket(family, socket.SOCK_DGRAM)
    tunnel.bind((own, GENEVE_PORT))
    print("ready", flush=True)
    while True:
        for ready in select.select([tun, tunnel], [], [])[0]:
            if ready is tunnel:
                packet = returned(tunnel.recv(65535))
                if packet is not None:
                    print(f"returned {packet.hex()}", flush=True)
                continue
            packet = Packet.parse(os.read(tun, 65535))
            if packet is None:
                continue
            vip = socket.inet_ntop(socket.AF_INET if packet.v4 else socket.AF_INET6, packet.destination)
            backend = backends.get((vip, packet.ports[1]))
            if backend is not None:
                option = dsr_option(vip, packet.ports[1]) if packet.opens() else b""
                tunnel.sendto(geneve(WORLD, option, packet.send_to(*backend)), (gateway, GENEVE_PORT))


if __name__ == "__main__":
    main(*sys.argv[1:])
