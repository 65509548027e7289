"""A path of the kernel's beside the fleet's: two pods, and two edges with nftables and a VXLAN tunnel between them."""

import logging

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.all import (  # noqa: E402  (after the logger is set)
    GRE, ICMP, IP, SCTP, TCP, UDP, ICMPv6EchoRequest, IPOption_NOP, IPv6, IPv6ExtHdrDestOpt, PadN, Raw, SCTPChunkInit)

from fleet.netns import NODE_SYSCTLS, POD_SYSCTLS, Namespace, connect  # noqa: E402


class KernelChain:
    """A pod, its edge, a far edge and a far pod, with the addresses of the fleet's. `rules`: nft's, of the near edge,
    whose interfaces are `inside` and `vx`."""

    def __init__(self, name, near, far, rules):
        self.spaces = {each: Namespace(f"{name}-{each}", POD_SYSCTLS if each.startswith("pod") else NODE_SYSCTLS)
                       for each in ("pod1", "edge1", "edge2", "pod2")}
        pod1, edge1, edge2, pod2 = self.spaces.values()
        connect(edge1, "under", edge2, "under")
        for number, (inside, edge, who) in enumerate(((pod1, edge1, near), (pod2, edge2, far)), 1):
            connect(inside, "eth0", edge, "inside")
            other = 3 - number
            tunnel = f"id 7 local 198.51.100.{number} remote 198.51.100.{other} dstport 8472 dev under"
            inside.ip(f"addr add {who.ipv4}/32 dev eth0", f"addr add {who.ipv6}/128 dev eth0",
                      "link set eth0 addrgenmode none", "route add 169.254.1.1 dev eth0",
                      "route add default via 169.254.1.1", "addr add fe80::2/64 dev eth0")
            inside.ip("route add default via fe80::1 dev eth0", family=("-6",))
            edge.ip("addr add 169.254.1.1/32 dev inside", "addr add fe80::1/64 dev inside",
                    f"route add {who.ipv4}/32 dev inside", f"route add {who.ipv6}/128 dev inside",
                    f"addr add 198.51.100.{number}/24 dev under",
                    f"link add vx type vxlan {tunnel}",
                    "link set vx mtu 1450 up", f"addr add 192.0.2.{number}/24 dev vx",
                    f"addr add 2001:db8::{number}/64 dev vx")
            for prefix in ("0.0.0.0/0 via 192.0.2.", "::/0 via 2001:db8::"):
                edge.ip(f"route add {prefix}{other} dev vx", family=("-6",) if ":" in prefix else ())
        edge1.run(["nft", "-f", "-"], stdin=rules)

    def remove(self):
        for each in self.spaces.values():
            each.remove()


def netmap_rules(own, alias):
    """Own prefixes and aliases, of both families, exchanged at the near edge."""
    rules = ""
    for family, mine, called in zip(("ip", "ip6"), own, alias):
        rules += (f"table {family} netmap {{\n"
                  f"  chain out {{ type nat hook postrouting priority srcnat;\n"
                  f"    oifname vx snat {family} prefix to {family} saddr map {{ {mine} : {called} }}\n  }}\n"
                  f"  chain in {{ type nat hook prerouting priority dstnat;\n"
                  f"    iifname vx dnat {family} prefix to {family} daddr map {{ {called} : {mine} }}\n  }}\n}}\n")
    return rules


def dnat_rules(vips, addresses, ports):
    """A service of one backend, in both families. `ports`: {protocol: (of the service, of the backend)}."""
    rules = ""
    for family, vip, backend in zip(("ip", "ip6"), vips, addresses):
        to = f"[{backend}]" if family == "ip6" else backend
        lines = "".join(f"    iifname inside {family} daddr {vip} {protocol} dport {asked} dnat to {to}:{port}\n"
                        for protocol, (asked, port) in ports.items())
        rules += (f"table {family} service {{\n  chain in {{ type nat hook prerouting priority dstnat;\n{lines}"
                  "  }\n}\n")
    return rules


def rows(source, target, port):
    """{name: packets} from one pod to another; `port` upwards are the source's."""
    def four(**more):
        return IP(src=source.ipv4, dst=target[0], id=port & 0xffff, **more)

    def six(**more):
        return IPv6(src=source.ipv6, dst=target[1], fl=port, **more)
    data = Raw(bytes(range(97, 97 + 25)))
    out = {}
    for family, ip in (("IPv4", four), ("IPv6", six)):
        udp = dict(sport=port, dport=4711)
        out |= {
            f"{family} UDP": [ip() / UDP(**udp) / data],
            f"{family} UDP without data": [ip() / UDP(sport=port + 1, dport=4711)],
            f"{family} UDP of one byte": [ip() / UDP(sport=port + 2, dport=4711) / Raw(b"x")],
            f"{family} UDP, full size": [ip() / UDP(sport=port + 3, dport=4711) / Raw(b"isthmus." * 160)],
            f"{family} UDP to another port": [ip() / UDP(sport=port + 4, dport=9) / data],
            f"{family} TCP SYN with options": [ip() / TCP(sport=port, dport=80, flags="S", seq=7, options=[
                ("MSS", 1200), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)])],
            f"{family} SCTP": [ip() / SCTP(sport=port, dport=80, tag=0) / SCTPChunkInit(init_tag=9)],
        }
        for bits in (0x01, 0x02, 0x03, 0xb8, 0xff):
            field = {"tos": bits} if family == "IPv4" else {"tc": bits}
            out[f"{family} traffic class {bits:#04x}"] = [ip(**field) / UDP(sport=port + 8 + bits, dport=4711) / data]
    out |= {
        "IPv4 UDP without a checksum": [four() / UDP(sport=port + 5, dport=4711, chksum=0) / data],
        "IPv4 UDP, not to be fragmented": [four(flags="DF") / UDP(sport=port + 6, dport=4711) / data],
        "IPv4 UDP behind an option": [four(options=[IPOption_NOP()] * 4) / UDP(sport=port + 7, dport=4711) / data],
        "IPv4 echo": [four() / ICMP(type=8, id=port & 0xffff, seq=1) / data],
        "IPv4 GRE": [four() / GRE(proto=0x0800) / IP(src="192.0.2.1", dst="192.0.2.2") / data],
        "IPv6 echo": [six() / ICMPv6EchoRequest(id=port & 0xffff, seq=1, data=b"isthmus")],
        "IPv6 UDP behind destination options": [
            six() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / UDP(sport=port + 7, dport=4711) / data],
    }
    return out
