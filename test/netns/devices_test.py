"""Interfaces that change under the gateways: programs taken off, interfaces made anew, jumbo MTUs, losses."""

import re
import sys
import unittest

from fleet_case import FleetCase, backends, plan, pod, wait_until
from fleet import netns as fleet_netns
from fleet import topology
from fleet.traffic import curl, ping

METRICS = "http://127.0.0.1:9979/metrics"
HOLD_PORT = """
import socket, time
held = socket.socket()
held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
held.bind(("127.0.0.1", 9979))
held.listen()
print("listening", flush=True)
time.sleep(300)
"""
JUMBO = 9000
SIGSTOP, SIGCONT = 19, 18


class Devices(FleetCase):
    def problems(self, gateway):
        return [problem["what"] for problem in self.fleet.gateways[gateway].status()["problems"]]

    def up(self, gateway, device):
        return next(row["up"] for row in self.fleet.gateways[gateway].status()["devices"] if row["name"] == device)

    def reaches(self, source, destination):
        return ping(self.fleet.pod(*source.split("-", 1)), pod(destination).ipv4)

    def wait_reaches(self, source, destination):
        wait_until(lambda: self.reaches(source, destination), what=f"{source} reaches {destination}")

    def take_off(self, cluster, node, device):
        """False: the program is attached by a BPF link, and the kernel refused."""
        done = self.fleet.node(cluster, node).run(["ip", "link", "set", "dev", device, "xdp", "off"], check=False)
        return done.returncode == 0

    def metrics(self, cluster, node):
        return self.fleet.node(cluster, node).run(["curl", "-s", "--max-time", "2", METRICS], check=False).stdout

    def test_a_program_that_another_one_took_off_is_put_back_and_that_is_told(self):
        self.wait_reaches("east-client", "west-web-0")
        for cluster, gateway, device in (("east", "east-1", "isthmus0x"), ("west", "west-1", "eth0")):
            if self.take_off(cluster, "node1", device):
                wait_until(lambda g=gateway: any("XDP steer program" in what for what in self.problems(g)),
                           what=f"{gateway} tells of the program")
            self.wait_reaches("east-client", "west-web-0")

    def test_without_its_program_a_node_with_one_device_sends_nothing_in_clear(self):
        """North's gateway is stopped, so that nobody puts the program back."""
        router = self.fleet.topology.namespaces["router"]
        router.run(["nft", "add table ip leak; add chain ip leak seen { type filter hook forward priority 0; };"
                           "add rule ip leak seen iifname north oifname != north ip daddr 10.0.0.0/8 counter"])
        self.addCleanup(router.run, ["nft", "delete table ip leak"])
        self.wait_reaches("north-client", "west-web-0")
        gateway = self.fleet.gateways["north-1"]
        gateway.daemon.signal(SIGSTOP)
        try:
            self.take_off("north", "gw", "eth0")
            self.fleet.pod("north", "client").run(["ping", "-c", "5", "-i", "0.2", "-W", "1", pod("west-web-0").ipv4],
                                                  check=False)
            counted = re.search(r"packets (\d+)", router.run(["nft", "list table ip leak"]).stdout).group(1)
        finally:
            gateway.daemon.signal(SIGCONT)
        self.assertEqual(counted, "0")
        self.wait_reaches("north-client", "west-web-0")

    def test_an_underlay_interface_that_is_made_anew_is_taken_into_use(self):
        cluster = plan.cluster("west")
        entry, node = cluster.nodes[0], self.fleet.node("west", "node1")
        router = self.fleet.topology.namespaces["router"]
        self.wait_reaches("east-client", "west-web-0")
        node.ip("link del eth0")
        wait_until(lambda: not self.up("west-1", "eth0"), what="eth0 is shown as down")
        self.assertTrue(any("removed" in what for what in self.problems("west-1")), self.problems("west-1"))
        fleet_netns.connect(router, "west-node1", node, "eth0", 1)
        router.ip("link set west-node1 master west")
        node.ip(f"addr add {cluster.node_ipv4(entry)}/24 dev eth0",
                f"addr add {cluster.node_ipv6(entry)}/64 dev eth0 nodad",
                f"route add default via {cluster.site_ipv4}.1")
        wait_until(lambda: self.up("west-1", "eth0"), what="eth0 is up again")
        self.wait_reaches("east-client", "west-web-0")
        self.wait_reaches("west-client", "east-web-0")

    def test_a_local_device_that_was_removed_is_made_again_and_nothing_leaks_meanwhile(self):
        node = self.fleet.node("east", "node1")
        self.wait_reaches("east-client", "west-web-0")
        gateway = self.fleet.gateways["east-1"]
        gateway.daemon.signal(SIGSTOP)
        try:
            node.ip("link del isthmus0")
            for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
                self.assertNotEqual(node.run(["ip", "route", "get", address], check=False).returncode, 0, address)
        finally:
            gateway.daemon.signal(SIGCONT)
        wait_until(lambda: self.up("east-1", "isthmus0x"), what="isthmus0 was made again")
        self.wait_reaches("east-client", "west-web-0")

    def test_another_mtu_of_the_underlay_is_followed(self):
        node = self.fleet.node("west", "node1")
        self.addCleanup(node.ip, "link set eth0 mtu 1500")
        node.ip("link set eth0 mtu 1400")

        def local_mtu():
            return re.search(r"mtu (\d+)", node.run(["ip", "-o", "link", "show", "isthmus0"]).stdout).group(1)
        wait_until(lambda: local_mtu() == "1350", what="isthmus0 has what the tunnel leaves of 1400")
        wait_until(lambda: "mtu 1350" in node.run(["ip", "route", "show", "proto", "21"]).stdout,
                   what="so have its routes")
        self.wait_reaches("west-client", "east-web-0")

    def test_a_link_that_is_down_is_a_device_that_is_not_up(self):
        """South of west's node, the router's end of the pair goes down: eth0 loses its carrier."""
        router = self.fleet.topology.namespaces["router"]
        self.addCleanup(self.wait_reaches, "west-client", "east-web-0")
        self.addCleanup(router.ip, "link set west-node1 up")
        router.ip("link set west-node1 down")
        wait_until(lambda: 'isthmus_device_up{device="eth0",side="underlay"} 0' in self.metrics("west", "node1"),
                   what="isthmus_device_up is 0")
        self.assertTrue(any("no carrier" in what for what in self.problems("west-1")), self.problems("west-1"))

    def test_metrics_are_served_once_another_has_let_their_port_go(self):
        node, gateway = self.fleet.node("west", "node1"), self.fleet.gateways["west-1"]
        self.assertEqual(gateway.stop(), 0)
        holder = node.start("holder", [sys.executable, "-c", HOLD_PORT], f"{self.fleet.folder}/log/holder.log")
        self.addCleanup(holder.stop)
        wait_until(lambda: "listening" in holder.log_tail(), what="the port is taken")
        gateway.start()

        def port_taken():
            return any("9979" in str(problem) for problem in gateway.status()["problems"])
        wait_until(port_taken, what="the taken port is listed")
        holder.stop()
        wait_until(lambda: "isthmus_device_up" in self.metrics("west", "node1"), what="metrics are served")
        self.assertFalse(port_taken(), self.problems("west-1"))

    def test_what_is_lost_before_the_engine_is_among_the_drops(self):
        node, gateway = self.fleet.node("west", "node1"), self.fleet.gateways["west-1"]

        def foreign():
            return sum(loss["count"] for device in gateway.query("drops")["devices"] for loss in device["losses"]
                       if loss["name"] == "left_to_kernel.foreign_source")
        before = foreign()
        node.run(["ip", "addr", "add", "198.51.100.7/32", "dev", "lo"])  # of no node of the cluster
        self.addCleanup(node.run, ["ip", "addr", "del", "198.51.100.7/32", "dev", "lo"])
        node.run(["ping", "-c5", "-i0.1", "-W1", "-I", "198.51.100.7", pod("east-web-0").ipv4], check=False)
        wait_until(lambda: foreign() >= before + 5, what="foreign sources are counted")
        for device in gateway.query("drops")["devices"]:
            self.assertLessEqual({"rx_no_frame", "rx_ring_full", "oversize", "tx_refused",
                                  "dropped_by_steer.engine_down", "dropped_by_steer.longer_than_buffer"},
                                 {loss["name"] for loss in device["losses"]}, device["name"])
        page = self.metrics("west", "node1")
        for metric in ("device_no_frame", "device_receive_ring_full", "device_oversize", "device_send_refused",
                       "steer_engine_down_dropped", "steer_longer_than_buffer", "steer_foreign_source"):
            self.assertIn(f'isthmus_{metric}_total{{device="eth0",side="underlay"}}', page)

    def test_frames_for_other_hosts_are_left_alone(self):
        """A switch that floods: each datagram of east-client3 arrives once, though both gateways see every frame."""
        target = pod("west-web-0")
        log = f"{self.fleet.folder}/log/sink"
        sink = self.fleet.pod("west", "web-0").start(
            "sink", ["/usr/bin/python3", "-u", "-c",
                     "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 7002))\n"
                     "while True: print(s.recvfrom(99)[0].decode())"], log)
        self.addCleanup(sink.stop)
        wait_until(lambda: ":7002" in self.fleet.pod("west", "web-0").run(["ss", "-lun"]).stdout,
                   what="the sink listens")
        router = self.fleet.topology.namespaces["router"]
        ports = ("east-node1", "east-node2", "east-node3")
        for port in ports:
            router.run(["bridge", "link", "set", "dev", port, "learning", "off", "flood", "on"])
            self.addCleanup(router.run, ["bridge", "link", "set", "dev", port, "learning", "on"])
            router.run(["sh", "-c", f"for m in $(bridge fdb show dev {port} | grep -v permanent | cut -d' ' -f1);"
                                    f"do bridge fdb del $m dev {port} master; done"], check=False)
        self.wait_reaches("east-client3", "west-web-0")
        self.fleet.pod("east", "client3").run(
            ["/usr/bin/python3", "-c", "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
             f"for i in range(20): s.sendto(b'flood', ('{target.ipv4}', 7002)); time.sleep(0.02)"])

        def arrived():
            with open(log, encoding="ascii") as file:
                return file.read().count("flood")
        wait_until(lambda: arrived() >= 20, what="all datagrams")
        self.wait_reaches("east-client3", "west-web-0")  # copies would have arrived before
        self.assertEqual(arrived(), 20)
        counted = sum(row.get("left_to_kernel", {}).get("other_mac", 0) for name in ("east-1", "east-2")
                      for row in self.fleet.gateways[name].status()["devices"])
        self.assertGreater(counted, 0)


class StrictReversePath(FleetCase):
    @classmethod
    def make_fleet(cls):
        before = dict(fleet_netns.NODE_SYSCTLS)
        cls.addClassCleanup(fleet_netns.NODE_SYSCTLS.update, before)
        fleet_netns.NODE_SYSCTLS.update({"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/default/rp_filter": "1"})
        return super().make_fleet()

    def test_packets_that_arrive_by_the_clusters_other_gateway_are_not_lost(self):
        client = self.fleet.pod("west", "client")
        for backend in backends("east"):
            url = f"http://{backend.ipv4}:{plan.cluster('east').http_port}/"
            self.assertEqual([curl(client, url, timeout=5)[0] for _ in range(8)], [0] * 8, backend.full_name)
        for node in ("node1", "node2"):
            self.assertEqual(self.fleet.node("east", node).run(
                ["cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter"]).stdout.strip(), "2")


class JumboLinks:
    """Mix-in for a FleetCase: every link of the fleet has an MTU of 9,000 bytes."""

    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, topology, "POD_ROUTE_MTU", topology.POD_ROUTE_MTU)
        topology.POD_ROUTE_MTU = JUMBO - 50
        fleet = super().make_fleet()
        build = fleet.build

        def build_with_jumbo_links():
            build()
            router = fleet.topology.namespaces["router"]
            for cluster in plan.CLUSTERS:
                for node in cluster.nodes:
                    router.ip(f"link set {cluster.name}-{node.name} mtu {JUMBO}")
                    fleet.node(cluster.name, node.name).ip(f"link set eth0 mtu {JUMBO}")
                for entry in cluster.pods():
                    fleet.node(cluster.name, entry.node).ip(f"link set pod-{entry.name} mtu {JUMBO}")
                    fleet.pod(cluster.name, entry.name).ip(f"link set eth0 mtu {JUMBO}")
                router.ip(f"link set {cluster.name} mtu {JUMBO}")
        fleet.build = build_with_jumbo_links
        return fleet


class JumboUnderlay(JumboLinks, FleetCase):
    def test_the_local_device_has_an_mtu_that_the_engine_carries_and_bulk_transfers_pass(self):
        link = self.fleet.node("east", "node1").run(["ip", "-o", "link", "show", "isthmus0"]).stdout
        self.assertIn("mtu 3456 ", link)
        client, target = self.fleet.pod("east", "client"), pod("west-web-0")
        self.assertTrue(ping(client, target.ipv4, size=3400, dont_fragment=True))
        self.fleet.pod("east", "client").run(["sh", "-c", "head -c 400000 /dev/zero > /tmp/ist-jumbo"])
        url = f"http://{target.ipv4}:{plan.cluster('west').http_port}/"
        self.assertEqual(client.run(["curl", "-s", "-o", "/dev/null", "-m", "20", "--data-binary", "@/tmp/ist-jumbo",
                                     url], check=False).returncode, 0)



class JumboPods(JumboLinks, FleetCase):
    """Pods' packets are as long as the underlay can carry them."""

    settings = {"local_mtu": JUMBO - 50}
    payload = JUMBO - 50 - 28

    def test_packets_of_full_size_pass_whole(self):
        for name in ("east", "north"):
            client = self.fleet.pod(name, "client")
            for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
                overhead = 20 if ":" in address else 0
                with self.subTest(name=name, to=address):
                    for size in (self.payload - overhead, 3800, 4100, 7700):
                        self.assertTrue(ping(client, address, size=size, dont_fragment=True), size)
                    self.assertTrue(ping(client, address, size=30_000), "in fragments")
        for gateway in self.fleet.gateways.values():
            status = gateway.status()
            self.assertEqual([row for row in status["problems"] if "MTU" in row["what"]], [])
            lost = {row["name"]: row["count"] for device in gateway.query("drops")["devices"]
                    for row in device["losses"]}
            self.assertEqual({name: lost.get(name, 0) for name in ("oversize", "rx_no_frame")},
                             {"oversize": 0, "rx_no_frame": 0})

    def test_bulk_transfers_both_ways(self):
        client, server = self.fleet.pod("east", "client"), pod("west-web-0")
        client.run(["sh", "-c", "head -c 20000000 /dev/zero > /tmp/ist-jumbo"])
        self.addCleanup(client.run, ["rm", "-f", "/tmp/ist-jumbo"])
        url = f"http://{server.ipv4}:{plan.cluster('west').http_port}/"
        self.assertEqual(client.run(["curl", "-s", "-o", "/dev/null", "-m", "30", "--data-binary", "@/tmp/ist-jumbo",
                                     url], check=False).returncode, 0)

    def test_path_mtus_are_those_of_the_underlay(self):
        def known():
            return {row["inner_mtu"] for row in self.fleet.gateways["east-1"].status()["peers"]} == {JUMBO - 50}
        wait_until(known, 60, 0.3, "path MTUs of 8,950 bytes")


if __name__ == "__main__":
    unittest.main()
