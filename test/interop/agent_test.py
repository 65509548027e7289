"""Cilium's agent as the peer: its node is a cluster of its own, to which a gateway talks by VXLAN with identities.

The agent reads our cluster from an etcd as a ClusterMesh has it, and its pods and policies from an API server.
"""

import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

from fleet_case import LOAD, PREFIX, PROGRAM, FleetCase, addresses, plan, pod, url, wait_until  # noqa: E402
from fleet.fleet import Fleet  # noqa: E402
from fleet.load import PORT, LoadClient, LoadServer  # noqa: E402
from fleet.mesh import Mesh  # noqa: E402
from fleet.netns import POD_SYSCTLS  # noqa: E402
from fleet.policies import cilium_policy, peers, policy_file  # noqa: E402
from fleet.topology import Topology  # noqa: E402
from fleet.traffic import curl, ping  # noqa: E402
import cilium_agent  # noqa: E402

PODS = ("web-0", "client")
BYTES = 200000  # per round: about 140 full-size segments


def small(name):
    """A cluster of one node."""
    of = plan.cluster(name)
    return plan.Cluster(of.name, of.id, of.site_ipv4, of.http_port, nodes=(plan.Node("node1", 1, 11, pods=PODS),),
                        gateways=of.gateways[:1])


class AgentTopology(Topology):
    """The agent connects the pods of its node."""

    def _build_pod(self, cluster, pod):  # pylint: disable=redefined-outer-name
        if cluster.name == AgentFleet.cluster:
            self._add(f"{cluster.name}-{pod.name}", POD_SYSCTLS)
        else:
            super()._build_pod(cluster, pod)


class AgentFleet(Fleet):
    """A fleet with Cilium's agent on the node of a cluster."""

    programs = None
    cluster = "west"
    flags = {}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.topology = AgentTopology(self.prefix)
        self.server = self.agent = None

    def start_servers(self):
        cluster = plan.cluster(self.cluster)
        self.server = cilium_agent.Cluster(self.programs, cluster)
        self.server.start()
        for app in ("web", "client"):
            self.server.make_identity(app)
        self.agent = cilium_agent.Agent(self.programs, self.server, cluster.nodes[0], self.node(self.cluster, "node1"),
                                        self.folder, self.agent_flags())
        self.agent.start()
        for entry in cluster.pods():
            self.agent.add_pod(entry, self.pod(self.cluster, entry.name))
        super().start_servers()

    def agent_flags(self):
        return {**self.flags, "clustermesh-config": self.hub.clients(self.cluster)}

    def start_resolvers(self):
        """There are no names."""

    def close(self):
        for part in (self.agent, self.server):
            if part is not None:
                part.close()
        return super().close()


class AgentCase(FleetCase):
    @classmethod
    def make_fleet(cls):
        folder = tempfile.TemporaryDirectory(prefix="ist-agent-")
        cls.addClassCleanup(folder.cleanup)
        AgentFleet.programs = cilium_agent.Programs(folder.name)
        cls.addClassCleanup(setattr, plan, "CLUSTERS", plan.CLUSTERS)
        plan.CLUSTERS = (small("east"), small("west"))
        return AgentFleet(PROGRAM, PREFIX, cls.settings, Mesh)


class Remote(AgentCase):
    """East has a gateway; west's node has Cilium's agent and none."""

    @classmethod
    def make_fleet(cls):
        fleet = super().make_fleet()
        start = fleet.start_gateways
        fleet.start_gateways = lambda: start(["east-1"])
        return fleet

    @classmethod
    def prepare(cls):
        cls.agent = cls.fleet.agent
        cls.east = cls.fleet.gateways["east-1"]
        cls.east.wait_endpoints(addresses(plan.cluster("west").pods()))

    def answered(self, client, server):
        """Whether the pod `server` answers a request of the pod `client`; it must see the client's own address."""
        source, target = pod(client), pod(server)
        status, body = curl(self.fleet.pod(source.cluster, source.name),
                            url(target.ipv4, plan.cluster(target.cluster).http_port), timeout=1)
        if status == 0:
            self.assertEqual(body.split(), [server, source.ipv4])
        return status == 0

    def test_pings_are_answered_both_ways(self):
        for source, target in (("east", "west-web-0"), ("west", "east-web-0")):
            for address in (pod(target).ipv4, pod(target).ipv6):
                self.assertTrue(ping(self.fleet.pod(source, "client"), address), f"{source} to {address}")

    def test_pods_see_each_others_addresses(self):
        self.assertTrue(self.answered("east-client", "west-web-0"))
        self.assertTrue(self.answered("west-client", "east-web-0"))

    def test_full_size_tcp_and_udp_arrive_intact_both_ways(self):
        for client, server in (("east-client", "west-web-0"), ("west-client", "east-web-0")):
            target = pod(server)
            far = LoadServer(self.fleet, target, LOAD)
            self.addCleanup(far.stop)
            for kind, options in (("tcp", ("--bytes", BYTES)), ("udp", ("--udp", "--bytes", 1200))):
                near = LoadClient(self.fleet, pod(client), LOAD, f"{client}-{kind}",
                                  [(target.ipv4, PORT), (target.ipv6, PORT)], "--connections", 8, "--interval-ms", 20,
                                  *options)
                self.addCleanup(near.stop)
                near.wait_open(8)
                self.assertEqual(near.wait_rounds(3)["failures"], {}, (client, kind))
        self.assertEqual(self.checksum_errors(), {})

    def test_the_gateways_policy_goes_by_the_identity_that_the_agent_sends(self):
        self.assertTrue(self.answered("west-web-0", "east-web-0"))
        self.addCleanup(lambda: os.path.exists(self.fleet.hub.locate(policy_file("east", "web"))) and
                        self.fleet.hub.remove(policy_file("east", "web")))
        self.fleet.hub.write(policy_file("east", "web"), [
            cilium_policy("web", "web", f"  ingress:\n  - fromEndpoints: {peers('west', 'client')}\n")])
        wait_until(lambda: not self.answered("west-web-0", "east-web-0"), timeout=30, what="east denies west's web")
        self.assertTrue(self.answered("west-client", "east-web-0"))
        self.assertTrue(self.drops("east-1").get("policy_denied"), self.drops("east-1"))
        self.fleet.hub.remove(policy_file("east", "web"))
        wait_until(lambda: self.answered("west-web-0", "east-web-0"), timeout=30, what="east allows west's web again")


if __name__ == "__main__":
    unittest.main()
