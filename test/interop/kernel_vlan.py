"""Gateways and VLANs in a virtual machine (kernels_test.py), whose kernel has them.

    east   two VLANs of one interface: 100 for the underlay, 200 for its site, where its node with pods is
    west   a VLAN of a bridge for the underlay, and a veth pair to its own pods
    north  an interface without a VLAN, beside whose packets come others' with tags; those are its node's
"""

import json
import time
import unittest
from dataclasses import replace

from fleet_case import PROGRAM, FleetCase, plan, pod, wait_until
from fleet.numbered import AFTER, SETTLED
from fleet.topology import Topology
from fleet.traffic import ping
from kernel_flows_test import HandedDown
from mtu_test import pod_routes

INTERVAL = 0.02  # between two numbers: without hardware help, everything is slow
UNDERLAY, SITE = 100, 200
INTERFACES = {"east-1": ("eth0.100", "eth0.200"), "west-1": ("br0.100", None)}
EAST = plan.cluster("east")
CLUSTERS = (
    replace(EAST, nodes=(plan.Node("gw", 9, 11, queues=2),
                         plan.Node("node1", 1, 21, pods=("web-0", "web-1", "client"))),
            gateways=(replace(EAST.gateways[0], node="gw", underlay="198.51.101.11"),)),
    plan.cluster("west"), plan.cluster("north"))
# Others' VLANs on the way to north's gateway: device and its tags, outermost first, and the addresses of both ends.
OTHERS = {"eth0.300": (("802.1Q", 300),), "eth0.s7": (("802.1ad", 7),), "eth0.s8.9": (("802.1ad", 8), ("802.1Q", 9))}
# Sends frames that look like tunnel packets from west-1 to north-1 and like west's pods' to north's. Interface, MAC of
# the receiver, how often each.
LOOKALIKES = """
import socket, struct, sys
def checked(header):
    words = sum(struct.unpack("!10H", header))
    words = (words & 0xffff) + (words >> 16)
    return header[:10] + struct.pack("!H", ~(words + (words >> 16)) & 0xffff) + header[12:]
def udp(source, target, port, data):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, 17, 0, socket.inet_aton(source),
                         socket.inet_aton(target))
    return checked(header) + struct.pack("!HHHH", 40000, port, 8 + len(data), 0) + data
device, mac, count = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
inner = mac + b"\\2\\0\\0\\0\\0\\1\\x08\\0" + udp(sys.argv[4], sys.argv[5], 9, b"data")
vxlan = struct.pack("!II", 0x08000000, (2 << 16 | 1002) << 8) + inner
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((device, 0x0800))
    for _ in range(count):
        raw.send(mac + b"\\2\\0\\0\\0\\0\\2\\x08\\0" + udp(sys.argv[6], sys.argv[7], 8472, vxlan))
        raw.send(mac + b"\\2\\0\\0\\0\\0\\2\\x08\\0" + udp(sys.argv[5], sys.argv[4], 8472, b"data"))
"""
COUNT = 20


def add_vlan(netns, link, kind, number, name):
    netns.ip(f"link add link {link} name {name} type vlan protocol {kind} id {number}", f"link set {name} up")
    return name


def add_stacked(netns, link, name, tags):
    """A device with these tags, made of one for each."""
    for at, (kind, number) in enumerate(tags):
        link = add_vlan(netns, link, kind, number, name if at == len(tags) - 1 else f"{name}-{at}")
    return link


class VlanTopology(Topology):
    """East's gateway has its node's address in VLAN 200, and another in VLAN 100, to which the router has a bridge."""

    def _join_site(self, router, port, cluster, netns):
        if port == "west-node1":
            netns.ip("link add br0 type bridge", "link set br0 up", "link set eth0 master br0")
            router.ip(f"link set {add_vlan(router, port, '802.1Q', UNDERLAY, f'{port}.100')} master west")
            return add_vlan(netns, "br0", "802.1Q", UNDERLAY, "br0.100")
        if cluster.name != "east":
            return super()._join_site(router, port, cluster, netns)
        router.ip(f"link set {add_vlan(router, port, '802.1Q', SITE, f'{port}.200')} master east")
        if port == "east-gw":
            underlay = add_vlan(router, port, "802.1Q", UNDERLAY, f"{port}.100")
            router.ip(f"addr add 198.51.101.1/24 dev {underlay}")
            netns.ip(f"addr add 198.51.101.11/24 dev {add_vlan(netns, 'eth0', '802.1Q', UNDERLAY, 'eth0.100')}")
        return add_vlan(netns, "eth0", "802.1Q", SITE, "eth0.200")

    def _route_cluster(self, cluster, node):
        super()._route_cluster(cluster, node)
        if (cluster.name, node.name) == ("east", "gw"):
            self.node("east", "gw").ip("route replace default via 198.51.101.1")
            for prefix, hop in zip(cluster.pod_cidrs, (cluster.node_ipv4, cluster.node_ipv6)):
                self.node("east", "gw").ip(f"route add {prefix} via {hop(cluster.node('node1'))}")


class Vlans(HandedDown, FleetCase):
    settings = {"health": "{interval: 1s, misses: 16}", "interfaces": INTERFACES}
    gateways = ("east-1", "north-1")

    @classmethod
    def make_fleet(cls):
        plan.CLUSTERS = CLUSTERS
        fleet = super().make_fleet()
        fleet.topology = VlanTopology(fleet.prefix)
        fleet.start_resolvers = lambda: None  # there are no names
        return fleet

    @classmethod
    def prepare(cls):
        """There is no service."""

    def status(self, name):
        return self.fleet.gateways[name].status()

    def devices(self, name):
        return {device["name"]: device for device in self.status(name)["devices"]}

    def test_pods_reach_each_other_with_whatever_fits_the_tunnel(self):
        for source, target in (("east", "north"), ("west", "east"), ("north", "west")):
            client, server = self.fleet.pod(source, "client"), pod(f"{target}-web-0")
            for address, headers in ((server.ipv4, 28), (server.ipv6, 48)):
                with self.subTest(source=source, address=address):
                    self.assertTrue(ping(client, address, size=1450 - headers, dont_fragment=True), self.drops())
                    self.assertTrue(ping(client, address, size=3000), self.drops())

    def test_what_does_not_fit_the_tunnel_is_answered(self):
        client, server = pod_routes(self, "east"), pod("north-web-0")
        for address, size, said in ((server.ipv4, 1423, "mtu = 1450"), (server.ipv6, 1403, "mtu[ =]+1450")):
            told = client.run(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", str(size), address],
                              check=False)
            self.assertRegex(told.stdout + told.stderr, f"(?i){said}", (self.drops(), self.status("east-1")["packets"]))

    def test_devices_are_told_as_they_are(self):
        for name, vlans in (("east-1", {"eth0.100": True, "eth0.200": True}), ("west-1", {"br0.100": False})):
            status = self.status(name)
            self.assertEqual(status["problems"], [])
            for peer in status["peers"]:
                self.assertEqual((peer["path_mtu"], peer["path_mtu_source"], peer["inner_mtu"]),
                                 (1500, "device", 1450), peer)
            gateway = self.fleet.gateways[name]
            done = gateway.netns.run([PROGRAM, "doctor", "-o", "json", "--config", gateway.config], check=False)
            findings = json.loads(done.stdout)["findings"]
            self.assertEqual([each for each in findings if each["level"] in ("fails", "slow")], [])
            devices = self.devices(name)
            for vlan in vlans:
                self.assertRegex(devices[vlan]["mode"],
                                 r"^af_xdp generic copy, 1 queue .*, XDP forwards settled flows, of those that leave")
                self.assertEqual((devices[vlan]["up"], devices[vlan]["lost"]), (True, 0))
                for check, said in (("interfaces", f"{vlan} (driver 802.1Q VLAN Support): up, MTU 1500"),
                                    ("xdp-program", f"{vlan}: isthmus_steer, number ")):
                    self.assertTrue(any(each["check"] == check and each["level"] == "ok" and
                                        each["found"].startswith(said) for each in findings), (check, said, findings))

    def directions(self, name):
        """Of the settled connections: from which side they are, and which of their directions are handed down."""
        return {(row["from"], row["forward_handed_down"], row["reply_handed_down"])
                for row in self.fleet.gateways[name].query("connections")["connections"]
                if row["frontend_port"] == 7001 and row["state"] == "established"}

    def test_settled_flows_are_handed_down_and_outlive_a_kill(self):
        """What arrives by a VLAN device in generic mode also leaves by one; what arrives by the veth pair in native
        mode does not."""
        pairs = self.begin(("east-client", "north-web-0", pod("north-web-0").ipv4),
                           ("north-client", "east-web-0", pod("east-web-0").ipv6),
                           ("west-client", "east-web-1", pod("east-web-1").ipv4), kinds=SETTLED, interval=INTERVAL)
        for name in ("east-1", "north-1"):
            self.wait_handed_down(name, 4)
        wait_until(lambda: self.directions("west-1") == {("local", False, True)}, 60, what="the veth pair's flows")
        gateway = self.fleet.gateways["east-1"]
        gateway.kill()
        before = [pair.arrived() for pair in pairs]
        wait_until(lambda: all(pair.arrived() - then > 50 for pair, then in zip(pairs, before)), 60,
                   what="flows go on without their engine")
        gateway.start()
        self.fleet.wait_peers(timeout=150)
        self.assertEqual(gateway.status()["connections"]["start"], "adopted")
        self.wait_handed_down("east-1", 6)
        time.sleep(AFTER)
        self.assert_counted("east-1", self.assert_complete(pairs))

    def add_others(self):
        """Others' VLANs between the router and north's gateway; {device: the router's}."""
        router, node = self.fleet.topology.namespaces["router"], self.fleet.node("north", "gw")
        found = {}
        for number, (name, tags) in enumerate(OTHERS.items(), 1):
            far = add_stacked(router, "north-gw", name.replace("eth0", "vl"), tags)
            near = add_stacked(node, "eth0", name, tags)
            for netns, device, last in ((router, far, 1), (node, near, 2)):
                netns.ip(f"addr add 192.168.{number}.{last}/24 dev {device}")
            found[near] = far
        return found

    def count(self, device):
        """Counts tunnel packets that a device of north's gateway's node receives; returns how many there are."""
        node = self.fleet.node("north", "gw")
        node.run(["nft", f"add table netdev seen; add chain netdev seen in {{ type filter hook ingress device {device} "
                         f"priority 0; }}; add rule netdev seen in udp dport 8472 counter"])
        self.addCleanup(node.run, ["nft", "delete", "table", "netdev", "seen"], check=False)
        return lambda: int(node.run(["nft", "list", "table", "netdev", "seen"]).stdout.split(" packets ")[1].split()[0])

    def test_what_has_a_tag_is_the_nodes(self):
        router, node = self.fleet.topology.namespaces["router"], self.fleet.node("north", "gw")
        mac = json.loads(node.run(["ip", "-j", "link", "show", "eth0"]).stdout)[0]["address"]
        addresses = [pod("west-client").ipv4, pod("north-web-0").ipv4, "203.0.113.11", "192.0.2.11"]
        # Else this end keeps the tag beside the frame, where no XDP program sees it.
        router.run(["ethtool", "-K", "north-gw", "txvlan", "off", "tx-vlan-stag-hw-insert", "off"])

        def taken():
            return self.devices("north-1")["eth0"]["taken_by_steer"]["plain"], self.drops("north-1")
        for number, (near, far) in enumerate(self.add_others().items(), 1):
            with self.subTest(near):
                self.assertTrue(ping(router, f"192.168.{number}.2"))
                before, counted = taken(), self.count(near)
                router.run(["/usr/bin/python3", "-c", LOOKALIKES, far, mac, str(COUNT), *addresses])
                wait_until(lambda counted=counted: counted() == 2 * COUNT, what=f"the node has them all: {counted()}")
                self.assertEqual(taken(), before)
            self.doCleanups()


if __name__ == "__main__":
    unittest.main()
