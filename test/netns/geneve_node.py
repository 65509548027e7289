"""A Cilium node that takes the DSR option by Geneve, in user space.

    geneve_node.py DEVICE BACK-DEVICE OWN-ADDRESS GATEWAY IDENTITY

What comes in its tunnel goes to the kernel by DEVICE, which it makes, and on to the pods. An option beside a SYN or a
UDP datagram says in whose name the pod's answers leave; a SYN without one says that it is their own. Answers, which the
kernel routes to DEVICE, leave over IPv4 as they are, by BACK-DEVICE, as where the client's node is known; over IPv6 in
the tunnel to the gateway. It prints a line for each packet: what it asks, of whom, and for whom.
"""

import os
import select
import socket
import struct
import sys

from geneve_balancer import ACK, GENEVE_PORT, SYN, TCP, Packet, geneve, open_tun, returned

DSR = bytes.fromhex("014b81")


def options_of(data):
    """The DSR options of a tunnel packet: address and port of each."""
    found, at, end = [], 8, 8 + (data[0] & 0x3f) * 4
    while at < end:
        body = data[at + 4:at + 4 + (data[at + 3] & 0x1f) * 4]
        if data[at:at + 3] == DSR:
            address = body[:-4]
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            found.append((socket.inet_ntop(family, address), struct.unpack("!H", body[-4:-2])[0]))
        at += 4 + len(body)
    return found


class Node:
    def __init__(self, tun, back, tunnel, gateway, identity):
        self.tun, self.back, self.tunnel, self.gateway, self.identity = tun, back, tunnel, gateway, identity
        self.names = {}  # of connections as the backend has them

    def received(self, data):
        inner = returned(data)
        packet = Packet.parse(inner) if inner else None
        if packet is None:
            return
        options = options_of(data)
        connection = (packet.protocol, packet.destination, packet.ports[1], packet.source, packet.ports[0])
        flags = packet.data[packet.at + 13] if packet.protocol == TCP else 0
        if options:
            self.names[connection] = options[0]
        elif flags & (SYN | ACK) == SYN:
            self.names.pop(connection, None)
        kind = "udp" if packet.protocol != TCP else "syn" if flags & SYN else "tcp"
        family = socket.AF_INET if packet.v4 else socket.AF_INET6
        print("came", kind, len(options), *(options[0] if options else ("-", "-")),
              socket.inet_ntop(family, packet.source), int.from_bytes(data[4:7], "big"), flush=True)
        os.write(self.tun, inner)

    def answered(self, data):
        packet = Packet.parse(data)
        if packet is None:
            return
        name = self.names.get((packet.protocol, packet.source, packet.ports[0], packet.destination, packet.ports[1]))
        answer = packet.say_from(*name) if name else data
        if packet.v4:
            os.write(self.back, answer)
        else:
            self.tunnel.sendto(geneve(self.identity, b"", answer), (self.gateway, GENEVE_PORT))


def main(device, back_device, own, gateway, identity):
    tun, back = open_tun(device), open_tun(back_device)
    tunnel = socket.socket(socket.AF_INET6 if ":" in own else socket.AF_INET, socket.SOCK_DGRAM)
    tunnel.bind((own, GENEVE_PORT))
    node = Node(tun, back, tunnel, gateway, int(identity))
    print("ready", flush=True)
    while True:
        for ready in select.select([tun, tunnel], [], [])[0]:
            if ready is tunnel:
                node.received(tunnel.recv(65535))
            else:
                node.answered(os.read(tun, 65535))


if __name__ == "__main__":
    main(*sys.argv[1:])
