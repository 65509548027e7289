"""Clusters whose nodes have no CIDRs for pods (Azure CNI with a pod subnet, ENI), in a ClusterMesh of real etcds: pods
are reached by what the ip cache says."""

from fleet_case import FleetCase, SteadyTraffic, backends, plan, pod, url, wait_until
from fleet.traffic import curl, curl_many, ping

WITHOUT = {"west", "north"}


class WithoutPodCidrs(SteadyTraffic, FleetCase):
    hub = "etcd"

    @classmethod
    def make_fleet(cls):
        plan.without_pod_cidrs = WITHOUT
        cls.addClassCleanup(setattr, plan, "without_pod_cidrs", set())
        return super().make_fleet()

    @classmethod
    def prepare(cls):
        cls.vips = cls.make_global()
        cls.east = cls.fleet.gateways["east-1"]

    def routes(self, cluster="east", family="-4"):
        node = plan.cluster(cluster).nodes[0].name
        listed = self.fleet.node(cluster, node).run(["ip", family, "route", "show", "dev", "isthmus0"]).stdout
        return {line.split()[0] for line in listed.splitlines()}

    def test_pods_are_reached_by_both_families_without_a_prefix(self):
        for cluster in WITHOUT:
            self.assertNotIn(plan.cluster(cluster).pod_cidrs[0], self.routes())
            target = pod(f"{cluster}-web-0")
            for address in (target.ipv4, target.ipv6):
                with self.subTest(address):
                    self.assertIsNotNone(ping(self.fleet.pod("east", "client"), address, count=1))
                    status, body = curl(self.fleet.pod("east", "client"),
                                        url(address, plan.cluster(cluster).http_port))
                    self.assertEqual((status, body.split()[:1]), (0, [target.full_name]))
        target = url(pod("north-web-0").ipv4, plan.cluster("north").http_port)
        status, body = curl(self.fleet.pod("west", "client"), target)
        self.assertEqual((status, body.split()[:1]), (0, ["north-web-0"]))

    def test_a_global_service_is_balanced_over_their_backends(self):
        for cluster in plan.CLUSTERS:
            seen = curl_many(self.fleet.pod(cluster.name, "client"), url(self.vips[0], 80), 60, "-4")
            self.assertEqual(seen["-"], 0, seen)
            self.assertEqual({name.split("-")[0] for name in seen if seen[name]}, {"east", "west", "north"}, seen)

    def test_adjoining_pods_have_one_route_and_one_that_goes_takes_its_own_along(self):
        west = plan.cluster("west")
        self.assertIn("10.2.1.10/31", self.routes())  # web-0 and web-1
        key = f"cilium/state/ip/v1/default/{pod('west-web-1').ipv4}"
        self.addCleanup(self.fleet.hub.publish, west)
        traffic = self.steady("route")
        self.fleet.hub.write_service(west, backends=[entry for entry in backends("west") if entry.name != "web-1"])
        self.addCleanup(self.fleet.hub.write_service, west)
        self.fleet.hub.etcds["west"].write({}, [key])
        wait_until(lambda: "10.2.1.10" in self.routes(), what="the route of web-0 alone")
        self.assertNotIn("10.2.1.10/31", self.routes())
        self.assert_undisturbed(traffic)

    def test_backends_on_their_nodes_network_are_reached(self):
        """Of west on the gateway's node, at a tunnel's end; of north on a node behind its gateway; of east on a node
        behind two gateways, and on one of these."""
        hosts = {"east": ("node3", "node1"), "west": ("node1",), "north": ("node1",)}
        on_nodes = []
        for name, nodes in hosts.items():
            cluster = plan.cluster(name)
            for node in nodes:
                address = cluster.node_ipv4(cluster.node(node))
                on_nodes.append(plan.Pod(name, node, f"host-{node}", address, "", True, 6))
                self.fleet.start_host_server(on_nodes[-1])
            self.fleet.hub.write_service(cluster, backends=[entry for entry in on_nodes if entry.cluster == name])
            self.addCleanup(self.fleet.hub.write_service, cluster)
        self.fleet.wait_backends("shop/web", [entry.ipv4 for entry in on_nodes])
        for cluster in plan.CLUSTERS:
            seen = curl_many(self.fleet.pod(cluster.name, "client"), url(self.vips[0], 80), 80)
            with self.subTest(cluster.name):
                self.assertEqual(seen["-"], 0, seen)
                self.assertEqual({name for name in seen if seen[name]}, {entry.full_name for entry in on_nodes}, seen)

    def test_a_claim_of_what_others_have_makes_no_route(self):
        """One value in north's ip cache: west's node, the world, a VIP, and a pod of ours."""
        taken = (plan.cluster("west").node_ipv4(plan.cluster("west").nodes[0]), "8.8.8.8", self.vips[0],
                 pod("east-web-0").ipv4)
        north = plan.cluster("north")
        before = self.routes()
        traffic = self.steady("claims")
        for address in taken:
            key = f"cilium/state/ip/v1/default/{address}"
            value = (f'{{"IP":"{address}","Mask":null,"HostIP":"192.0.2.21","ID":{north.identity("web")},"Key":0,'
                     f'"Metadata":""}}')
            self.fleet.hub.etcds["north"].write({key: value})
            wait_until(lambda at=address: any(f" {at}" in row["what"] for row in self.east.status()["problems"]),
                       what=f"{address} is listed")
            self.assertEqual(self.routes(), before)
            self.fleet.hub.etcds["north"].write({}, [key])
            wait_until(lambda at=address: not any(f" {at}" in row["what"] for row in self.east.status()["problems"]),
                       what=f"{address} goes")
        self.assert_undisturbed(traffic)
