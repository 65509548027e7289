"""Packets as one pod sends them and as they arrive at another, byte for byte."""

import subprocess

SEND = """
import socket, sys, time
for packet in map(bytes.fromhex, sys.argv[1:]):
    six = packet[0] >> 4 == 6
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]) if six
                            else socket.inet_ntoa(packet[16:20]), 0))
    time.sleep(0.02)
"""
# Prints what arrives for one address, until it is told to end.
RECEIVE = """
import ipaddress, socket, sys, threading
own = ipaddress.ip_address(sys.argv[1]).packed
at = 24 if len(own) == 16 else 16
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
packets.bind(("eth0", 0))
print("listening", flush=True)
def receive():
    while True:
        packet, address = packets.recvfrom(65535)
        discovery = len(own) == 16 and packet[6] == 58 and 133 <= packet[40] <= 137
        if address[2] != socket.PACKET_OUTGOING and packet[at:at + len(own)] == own and not discovery:
            print(packet.hex(), flush=True)
threading.Thread(target=receive, daemon=True).start()
sys.stdin.read()
"""
# Nobody answers, so that a connection is what the test makes of it.
HUSH = """
table inet hush {
  chain received {
    type filter hook input priority 0; policy drop;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  }
}
"""


def arrivals(sender, receiver, address, packets):
    """What arrives for the address when the packets are sent."""
    watch = subprocess.Popen(receiver.enter(["/usr/bin/python3", "-c", RECEIVE, address]), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout.readline() == "listening\n"
        sender.run(["/usr/bin/python3", "-c", SEND, *(bytes(packet).hex() for packet in packets)])
        sender.run(["sleep", "0.5"])
    finally:
        out = watch.communicate()[0]
    return [bytes.fromhex(line) for line in out.split()]


def without_hops(packet):
    """The packet without what each router changes."""
    out = bytearray(packet)
    if packet[0] >> 4 == 6:
        out[7] = 0
    else:
        out[8] = 0
        out[10:12] = b"\0\0"
    return bytes(out)
