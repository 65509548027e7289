"""What kernel_geneve.py sends, made where scapy is: printed as JSON, {direction: {family: {name: packets in hex}}}."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

from fleet_case import pod  # noqa: E402
from kernel_chain import rows  # noqa: E402
from kernel_peer import SOUTH  # noqa: E402

from scapy.all import IP, UDP, IPv6, Raw  # noqa: E402

MARKED = 100  # bytes of data; each byte more asks the router for the next ECN field in the outer header


def cells(source, target):
    """{"inner outer": packet} of each pair of ECN fields."""
    four, six = {}, {}
    for outer in range(4):
        for inner in range(4):
            udp = UDP(sport=9100 + outer * 4 + inner, dport=4712) / Raw(b"." * (MARKED + outer))
            four[f"{inner} {outer}"] = [IP(src=source.ipv4, dst=target.ipv4, tos=inner, id=7) / udp]
            six[f"{inner} {outer}"] = [IPv6(src=source.ipv6, dst=target.ipv6, tc=inner, fl=7) / udp]
    return {"4": four, "6": six}


def both_families(source, target, port):
    found = rows(source, (target.ipv4, target.ipv6), port)
    return {str(version): {name: packets for name, packets in found.items() if packets[0].version == version}
            for version in (4, 6)}


def main():
    south = next(entry for entry in SOUTH.pods() if entry.name == "client")
    east = pod("east-client")
    made = {"to the gateway": both_families(south, east, 20000), "to the kernel": both_families(east, south, 30000),
            "marked, to the gateway": cells(south, east), "marked, to the kernel": cells(east, south)}
    print(json.dumps({way: {family: {name: [bytes(packet).hex() for packet in packets]
                                     for name, packets in named.items()} for family, named in families.items()}
                      for way, families in made.items()}))


if __name__ == "__main__":
    main()
