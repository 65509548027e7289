"""What the worst member of the fleet claims: each claim is refused by name, at every gateway, and neither the others'
traffic nor the routes of their nodes change."""

import ipaddress

from fleet_case import FleetCase, SteadyTraffic, backends, addresses, plan, wait_until

HOSTILE = "north"
NODE = """\
apiVersion: v1
kind: Node
metadata: {{name: north-hostile}}
spec:
  podCIDR: {prefix}
  podCIDRs: ["{prefix}"]
status:
  addresses:
  - {{type: InternalIP, address: 203.0.113.200}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: hostile
  namespace: shop
  annotations: {{service.cilium.io/global: "true", isthmus.io/vip: "{vip}"}}
spec:
  ports: [{{name: http, protocol: TCP, port: 80}}]
"""
WEST_GATEWAY = plan.cluster("west").gateways[0].underlay
# What is claimed as a node's pod prefix, and an address whose route must not change.
PREFIXES = (("::/0", "2001:db8::1"), ("::/1", "2001:db8::1"), ("128.0.0.0/1", "198.18.0.1"),
            ("8.8.8.0/24", "8.8.8.8"), ("169.254.0.0/16", "169.254.169.254"), ("fe80::/32", "2001:db8::1"),
            (WEST_GATEWAY.rsplit(".", 1)[0] + ".0/24", WEST_GATEWAY),
            *((pool, str(ipaddress.ip_network(pool)[99])) for pool in plan.VIP_POOLS))
# A private address that a node of east needs itself.
NEEDED = "10.99.0.1"
VIPS = ("169.254.169.254", "8.8.8.8", "fe80::5", "224.0.0.5", WEST_GATEWAY,
        plan.cluster("west").node_ipv4(plan.cluster("west").nodes[0]), "10.201.0.1")


class HostileMember(SteadyTraffic, FleetCase):
    @classmethod
    def prepare(cls):
        cls.vips = cls.fleet.allocate()
        for cluster in plan.CLUSTERS:
            cls.fleet.hub.write_service(cluster)
        cls.fleet.wait_backends("shop/web", addresses(backends()))

    def route(self, address):
        east = plan.cluster("east")
        return self.fleet.node("east", east.nodes[0].name).run(["ip", "route", "get", address], check=False).stdout

    def problems(self, gateway):
        return [problem["what"] for problem in self.fleet.gateways[gateway].status()["problems"]]

    def refused(self, name, text, words, address):
        """Publishes the claim; every gateway of the others lists it with these words, and the route stays."""
        before = self.route(address)
        self.fleet.hub.write(f"clusters/{HOSTILE}/{name}.yaml", [text])
        for gateway in ("east-1", "west-1"):
            wait_until(lambda at=gateway: any(all(word in problem for word in words) for problem in self.problems(at)),
                       what=f"{gateway} lists {words}")
        self.assertEqual(self.route(address), before)
        self.fleet.hub.remove(f"clusters/{HOSTILE}/{name}.yaml")
        wait_until(lambda: not any(words[0] in problem for problem in self.problems("east-1")), what="the claim to go")

    def test_prefixes_are_refused_by_name_and_disturb_nobody(self):
        traffic = self.steady("prefixes")
        for prefix, address in PREFIXES:
            with self.subTest(prefix):
                self.refused("hostile-node", NODE.format(prefix=prefix), (f"prefix {prefix}", "of cluster north"),
                             address)
        self.assert_undisturbed(traffic)

    def test_what_a_node_needs_is_refused_there_and_allowed_elsewhere(self):
        node = self.fleet.node("east", plan.cluster("east").nodes[0].name)
        node.ip(f"addr add {NEEDED}/32 dev lo")
        self.addCleanup(node.ip, f"addr del {NEEDED}/32 dev lo")
        traffic = self.steady("needed")
        self.fleet.hub.write(f"clusters/{HOSTILE}/hostile-node.yaml", [NODE.format(prefix="10.99.0.0/24")])
        self.addCleanup(self.fleet.hub.remove, f"clusters/{HOSTILE}/hostile-node.yaml")
        words = (f"includes {NEEDED}, an address of this node (lo)", "prefix 10.99.0.0/24 of cluster north")
        wait_until(lambda: any(all(word in what for word in words) for what in self.problems("east-1")),
                   what="the problem is listed")
        west = self.fleet.node("west", plan.cluster("west").nodes[0].name)
        wait_until(lambda: "isthmus0" in west.run(["ip", "route", "get", "10.99.0.5"]).stdout, what="west has a route")
        self.assertNotIn("isthmus0", self.route("10.99.0.5"))
        self.assert_undisturbed(traffic)

    def test_vips_are_refused_by_name_and_disturb_nobody(self):
        traffic = self.steady("vips")
        for vip in VIPS:
            with self.subTest(vip):
                self.refused("hostile-service", SERVICE.format(vip=vip), (vip,), vip)
        self.assert_undisturbed(traffic)
