"""What routers of the underlay mark: congestion reaches the pods, and nothing else of the outer header does."""

import itertools
import os
import unittest

from fleet_case import FleetCase, plan, pod, url, wait_until
from fleet.traffic import curl

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = ["/usr/bin/python3", f"{HERE}/traffic_classes.py"]
PORT = 9000


class Marks(FleetCase):
    """The router marks congestion (CE) on tunnel packets of ECN-capable transports, and on those of 1,000 bytes and
    more whatever they say."""

    numbers = itertools.count()

    def netns(self, name):
        return self.fleet.pod(*name.split("-", 1))

    @classmethod
    def prepare(cls):
        router = cls.fleet.topology.namespaces["router"]
        large = 1000 + 50
        router.run(["nft", "-f", "-"], stdin=f"""
            table ip marks {{
              chain forward {{
                type filter hook forward priority 0
                udp dport 8472 ip ecn != not-ect ip ecn set ce
                udp dport 8472 ip length >= {large} ip ecn set ce
              }}
            }}\n""")

    def seen(self, server, client, classes):
        """The traffic classes of datagrams as they were sent and as they came."""
        target, source = pod(server), pod(client)
        rows = []
        for address, own in ((target.ipv4, source.ipv4), (target.ipv6, source.ipv6)):
            log = f"{self.fleet.folder}/log/watch-{next(self.numbers)}"
            watch = self.netns(server).start("watch", [*CLASSES, "watch", "99", address, str(PORT)], log)
            wait_until(lambda log=log: "ready" in lines(log), what="the watcher is ready")
            self.netns(client).run([*CLASSES, "say", str(PORT), own, address, *classes, "252"])
            wait_until(lambda log=log: any(line.startswith("252>") for line in lines(log)), what="the last datagram")
            watch.stop()
            rows.append(lines(log)[1:])
        return rows

    def test_a_mark_of_the_underlay_reaches_the_pod_and_its_dscp_is_its_own(self):
        classes = {"0": 0, "1": 3, "2": 3, "3": 3, "184": 184, "186": 187, "252": 252}
        for server, client in (("west-web-0", "east-client"), ("north-web-0", "west-client")):
            for rows in self.seen(server, client, list(classes)[:-1]):
                self.assertEqual(rows, [f"{sent}>{came}" for sent, came in classes.items()], (server, client))

    def test_a_marked_packet_without_ecn_is_lost_and_counted(self):
        before = self.drops("west-1").get("ecn_not_capable", 0)
        for rows in self.seen("west-web-0", "east-client", ["0:1100", "2:1100"]):
            self.assertEqual(rows, ["2>3", "252>252"])
        self.assertEqual(self.drops("west-1").get("ecn_not_capable", 0) - before, 2)

    def test_tcp_between_pods_hears_of_congestion(self):
        client, server = self.netns("east-client"), self.netns("west-web-0")
        for netns in (client, server):
            netns.run(["sysctl", "-qw", "net.ipv4.tcp_ecn=1"])
        body = os.path.join(self.fleet.folder, "body")
        with open(body, "wb") as file:
            file.write(bytes(3_000_000))
        for address in (pod("west-web-0").ipv4, pod("west-web-0").ipv6):
            status, _ = curl(client, url(address, plan.cluster("west").http_port), "--data-binary", f"@{body}",
                             "-o", "/dev/null", timeout=60)
            self.assertEqual(status, 0)
        for name in ("IpExtInCEPkts", "Ip6InCEPkts"):
            self.assertGreater(nstat(server, name), 100, name)


def lines(log):
    with open(log, encoding="ascii") as file:
        return file.read().split()


def nstat(netns, name):
    text = netns.run(["nstat", "-asz", name]).stdout
    return int(text.split(name)[1].split()[0])


if __name__ == "__main__":
    unittest.main()
