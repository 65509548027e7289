"""Cluster south with a gateway in user space: Geneve between a UDP socket and a TUN device, written after RFC 8926.

It shares no code with the gateway under test: the kernel computes and checks the UDP checksum over IPv6, and this
program the Geneve header. Run as a program it is that gateway; imported, UserSpaceGenevePeer puts it into a fleet.
"""

import fcntl
import ipaddress
import json
import os
import select
import socket
import struct
import sys

DEVICE = "geneve0"
PORT = 6081
ETHERNET_INSIDE = 0x6558
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def open_tun(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def addresses(packet):
    """Source and destination of an IP packet."""
    size, at = (4, 12) if packet[0] >> 4 == 4 else (16, 8)
    return tuple(ipaddress.ip_address(packet[start:start + size]) for start in (at, at + size))


def inner_of(datagram):
    """The IP packet inside a Geneve datagram; None if there is none."""
    if len(datagram) < 8:
        return None
    first, flags, protocol, word = struct.unpack("!BBHI", datagram[:8])
    options = (first & 0x3F) * 4
    if first >> 6 != 0 or flags & 0x80 or protocol != ETHERNET_INSIDE or word & 0xFF or len(datagram) < 22 + options:
        raise ValueError(f"not a Geneve header: {datagram[:8].hex()}")
    return datagram[22 + options:]


def serve(settings):
    """`settings`: local address, routes (prefix → remote address), identities (source address → VNI)."""
    local = ipaddress.ip_address(settings["local"])
    routes = [(ipaddress.ip_network(prefix), remote) for prefix, remote in settings["routes"].items()]
    identities = {ipaddress.ip_address(source): vni for source, vni in settings["identities"].items()}
    sock = socket.socket(socket.AF_INET if local.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind((settings["local"], PORT))
    tun = open_tun(DEVICE)
    print("ready", flush=True)
    while True:
        for ready in select.select([tun, sock], [], [])[0]:
            if ready is sock:
                inner = inner_of(sock.recv(65536))
                if inner:
                    os.write(tun, inner)
                continue
            packet = os.read(tun, 65536)
            source, destination = addresses(packet)
            remote = next((to for prefix, to in routes if destination in prefix), None)
            if remote is None or source not in identities:
                continue  # what the kernel sends of its own accord: router solicitations
            ethernet = bytes.fromhex("0249000000010249000000020800" if packet[0] >> 4 == 4 else
                                     "02490000000102490000000286dd")
            header = struct.pack("!BBHI", 0, 0, ETHERNET_INSIDE, identities[source] << 8)
            sock.sendto(header + ethernet + packet, (remote, PORT))


def make_peer_class():
    from kernel_peer import SOUTH, KernelPeer
    from fleet import plan
    from fleet.shell import wait_until

    class UserSpaceGenevePeer(KernelPeer):
        """As KernelPeer, but with this program in place of the kernel's device."""

        def add_device(self):
            routes = {prefix: self.remote(plan.cluster(name)) for name in ("east", "north")
                      for prefix in plan.cluster(name).pod_cidrs}
            identities = {address: pod.identity for pod in SOUTH.pods() for address in (pod.ipv4, pod.ipv6)}
            settings = {"local": self.address, "routes": routes, "identities": identities}
            daemon = self.node.start("geneve-peer", [sys.executable, os.path.abspath(__file__), json.dumps(settings)],
                                     os.path.join(self.fleet.folder, "log", "geneve-peer.log"))
            self.fleet.daemons.append(daemon)
            wait_until(lambda: "ready" in daemon.log_tail(), what="the Geneve peer is ready")
            self.node.ip(f"link set {DEVICE} mtu {self.mtu} up")

        def route(self, pod, cluster):
            return f"dev {DEVICE}"

    return UserSpaceGenevePeer


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
else:
    UserSpaceGenevePeer = make_peer_class()
