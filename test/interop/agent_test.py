"""Cilium's agent as the peer, and as the neighbour on a gateway's own node.

The agent compiles and attaches its BPF programs, and has its pods and policies from an API server. As a peer, its node
is a cluster of its own, to which a gateway talks by VXLAN with identities; it reads the gateway's cluster from an etcd
as a ClusterMesh has it. As a neighbour, the agent's overlay and the gateway share a node and a port. Of Geneve, no more
than what the agent says of a kernel without it: its device is the kernel's.
"""

import os
import shutil
import sys
import tempfile
import time
import unittest
from dataclasses import replace

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

from fleet_case import LOAD, PREFIX, PROGRAM, FleetCase, addresses, plan, pod, url, wait_until  # noqa: E402
from fleet.bpf_file_system import BpfFileSystem  # noqa: E402
from fleet.fleet import Fleet  # noqa: E402
from fleet.hub import Hub  # noqa: E402
from fleet.load import PORT, LoadClient, LoadServer  # noqa: E402
from fleet.netns import POD_SYSCTLS  # noqa: E402
from fleet.numbered import AFTER, SETTLED, Numbered  # noqa: E402
from fleet.policies import cilium_policy, peers, policy_file  # noqa: E402
from fleet.topology import Topology  # noqa: E402
from fleet.traffic import curl, ping  # noqa: E402
import cilium_agent  # noqa: E402

BYTES = 200000  # per round: about 140 full-size segments
APPLIED = 150  # seconds at most until the agent has compiled what a policy needs
CLUSTER_LABEL = "io.cilium.k8s.policy.cluster"
NODE = plan.Node("node1", 1, 11, pods=("web-0", "client"))


def cluster_of(name, *nodes):
    """That cluster of the plan with other nodes, and its first gateway."""
    of = plan.cluster(name)
    return replace(of, nodes=nodes, gateways=of.gateways[:1])


class AgentTopology(Topology):
    """On the nodes of a cluster, Cilium's agent connects and routes the pods."""

    def __init__(self, prefix, cilium):
        super().__init__(prefix)
        self.cilium = cilium

    def _build_pod(self, cluster, pod):  # pylint: disable=redefined-outer-name
        if cluster.name == self.cilium:
            self._add(f"{cluster.name}-{pod.name}", POD_SYSCTLS)
        else:
            super()._build_pod(cluster, pod)

    def _route_cluster(self, cluster, node):
        if cluster.name == self.cilium:
            cluster = replace(cluster, nodes=tuple(replace(each, pods=()) for each in cluster.nodes))
            node = cluster.node(node.name)
        super()._route_cluster(cluster, node)


class AgentHub(Hub):
    """A file hub, and for the gateways of the agents' cluster its API server, to which the agents write endpoints."""

    fleet = None

    def hub_config(self, cluster):
        text, number = super().hub_config(cluster)
        if cluster == self.fleet.cilium.name:
            folder = f"{self.folder}-{cluster}"
            shutil.copytree(self.folder, folder)
            shutil.rmtree(os.path.join(folder, "clusters", cluster))
            kubeconfig = self.fleet.agents[self.fleet.cilium.gateways[0].node].kubeconfig
            text = f"{{file: {{path: {folder}}}, kubernetes: {{cluster: {kubeconfig}}}}}"
        return text, number


class AgentFleet(Fleet):
    """A fleet with Cilium's agent on every node of a cluster. `flags`: its flags, given the fleet."""

    def __init__(self, programs, cilium, flags, gateways, hub, settings):
        super().__init__(PROGRAM, PREFIX, settings, hub)
        self.topology = AgentTopology(self.prefix, cilium)
        self.hub.fleet = self
        self.programs = programs
        self.cilium = plan.cluster(cilium)
        self.flags = flags
        self.gateway_names = gateways
        self.server = None
        self.agents = {}

    def start_agents(self):
        self.server = cilium_agent.Cluster(self.programs, self.cilium)
        self.server.start()
        for app in ("web", "client"):
            self.server.make_identity(app)
        for node in self.cilium.nodes:
            agent = cilium_agent.Agent(self.programs, self.server, node, self.node(self.cilium.name, node.name),
                                       self.folder, self.flags(self))
            self.agents[node.name] = agent
            agent.start(wait=False)

    def start_servers(self):
        self.start_agents()
        for agent in self.agents.values():
            agent.wait_ready()
        for entry in self.cilium.pods():
            self.agents[entry.node].add_pod(entry, self.pod(entry.cluster, entry.name))
        super().start_servers()

    def start_gateways(self, names=None):
        super().start_gateways(self.gateway_names)

    def start_resolvers(self):
        """There are no names."""

    def close(self):
        for agent in reversed(self.agents.values()):
            agent.close()
        if self.server is not None:
            self.server.close()
        return super().close()


class AgentCase(FleetCase):
    """`cilium`: the cluster whose nodes have agents. `clusters`: those of the fleet. `gateways`: of their gateways."""

    cilium = "west"
    clusters = (("east", NODE), ("west", NODE))
    gateways = None

    @classmethod
    def make_fleet(cls):
        folder = tempfile.TemporaryDirectory(prefix="ist-agent-")
        cls.addClassCleanup(folder.cleanup)
        programs = cilium_agent.Programs(folder.name)
        cls.addClassCleanup(setattr, plan, "CLUSTERS", plan.CLUSTERS)
        plan.CLUSTERS = tuple(cluster_of(*each) for each in cls.clusters)
        return AgentFleet(programs, cls.cilium, cls.flags, cls.gateways, cls.hub, cls.settings)

    @staticmethod
    def flags(fleet):
        """The agents' flags."""
        raise NotImplementedError

    @classmethod
    def prepare(cls):
        for gateway in cls.fleet.live():
            gateway.wait_endpoints(addresses([entry for cluster in plan.CLUSTERS for entry in cluster.pods()]))

    def answered(self, client, server):
        """Whether the pod `server` answers a request of the pod `client`; it must see the client's own address."""
        source, target = pod(client), pod(server)
        status, body = curl(self.fleet.pod(source.cluster, source.name),
                            url(target.ipv4, plan.cluster(target.cluster).http_port),
                            timeout=cilium_agent.PATIENCE)
        if status == 0:
            self.assertEqual(body.split(), [server, source.ipv4])
        return status == 0


class Remote(AgentCase):
    """East has a gateway; west's node has Cilium's agent and none."""

    hub = "etcd"
    gateways = ("east-1",)

    @staticmethod
    def flags(fleet):
        return {"clustermesh-config": fleet.hub.clients("west")}

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

    def test_the_agents_policy_goes_by_the_identity_of_pods_of_east(self):
        self.assertTrue(self.answered("east-web-0", "west-web-0"))
        self.addCleanup(self.fleet.server.policy, "web", None)
        self.fleet.server.policy("web", {
            "endpointSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"fromEndpoints": [{"matchLabels": {"app": "client", CLUSTER_LABEL: "east"}}]}]})
        wait_until(lambda: not self.answered("east-web-0", "west-web-0"), APPLIED, what="west denies east's web")
        self.assertTrue(self.answered("east-client", "west-web-0"))
        self.fleet.server.policy("web", None)
        wait_until(lambda: self.answered("east-web-0", "west-web-0"), APPLIED, what="west allows east's web again")

    def test_the_agents_policy_goes_by_where_its_pods_send_to(self):
        self.addCleanup(self.fleet.server.policy, "client", None)
        self.fleet.server.policy("client", {
            "endpointSelector": {"matchLabels": {"app": "client"}},
            "egressDeny": [{"toEndpoints": [{"matchLabels": {"app": "web", CLUSTER_LABEL: "east"}}]}]})
        wait_until(lambda: not self.answered("west-client", "east-web-0"), APPLIED, what="west denies its client")
        self.assertTrue(self.answered("west-web-0", "east-web-0"))

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


class Neighbour(Numbered, AgentCase):
    """East's agents on its nodes, of which one has the gateway, too; west is a cluster of Isthmus's own."""

    hub = AgentHub
    cilium = "east"
    clusters = (("east", plan.Node("node1", 1, 11, pods=("web-0", "client", "client3")),
                 plan.Node("node2", 2, 12, pods=("web-1",))), ("west", NODE))

    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(BpfFileSystem().close)  # where what the gateway pins outlives it
        return super().make_fleet()

    @staticmethod
    def flags(fleet):
        return {"enable-ipv4-masquerade": True, "enable-ipv6-masquerade": True,
                "ipv4-native-routing-cidr": "10.0.0.0/8", "ipv6-native-routing-cidr": "fd00::/16"}

    def assert_all_reached(self):
        """Of east's pods by their own overlay and by the gateway, both ways; with their own addresses."""
        for client, server in (("east-client", "east-web-0"), ("east-client", "east-web-1"),
                               ("east-client", "west-web-0"), ("east-web-1", "west-web-0"),
                               ("west-client", "east-web-0"), ("west-client", "east-web-1")):
            self.assertTrue(self.answered(client, server), (client, server))
            self.assertTrue(ping(self.fleet.pod(*client.split("-", 1)), pod(server).ipv6), (client, server))

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.node = cls.fleet.node("east", "node1")
        cls.gateway = cls.fleet.gateways["east-1"]
        cls.untracked("-I")

    @classmethod
    def untracked(cls, operation):
        """Inserts (-I) or deletes (-D) the rules by which the agent's masquerading leaves alone what comes from the
        gateway."""
        for program in ("iptables", "ip6tables"):
            cls.node.run([program, "-t", "raw", operation, "PREROUTING", "-i", "isthmus0", "-j", "NOTRACK"])

    def test_pods_reach_each_other_by_the_agents_overlay_and_by_the_gateway(self):
        self.assert_all_reached()
        self.assertEqual(self.gateway.status()["problems"], [])

    def test_the_agent_takes_the_nodes_device_and_not_the_gateways(self):
        health = self.fleet.agents["node1"].tell("GET", "/healthz")
        self.assertEqual(health["kube-proxy-replacement"]["devices"], ["eth0"])
        self.assertEqual(health["masquerading"]["mode"], "iptables")

    def test_without_the_rule_pods_of_other_nodes_see_the_agents_own_address(self):
        """Those of the gateway's node see their peers' as ever."""
        target = pod("east-web-1")
        self.untracked("-D")
        try:
            self.assertTrue(self.answered("west-client", "east-web-0"))
            status, body = curl(self.fleet.pod("west", "client"), url(target.ipv4, plan.cluster("east").http_port))
        finally:
            self.untracked("-I")
        own = self.fleet.agents["node1"].tell("GET", "/config")["status"]["addressing"]["ipv4"]["ip"]
        self.assertEqual((status, body.split()), (0, ["east-web-1", own]))

    def test_one_policy_is_the_agents_and_the_gateways(self):
        """To the agent, pods of other clusters are the world: it lets them in by their CIDR. To the gateway a CIDR
        selects no pods: it goes by their identities."""
        ingress = [{"fromEndpoints": [{"matchLabels": {"app": "client"}}]},
                   {"fromEndpoints": [{"matchLabels": {"app": "client", CLUSTER_LABEL: "west"}}]}]
        self.addCleanup(self.fleet.server.policy, "web", None)
        subject = {"endpointSelector": {"matchLabels": {"app": "web"}}}
        self.fleet.server.policy("web", {**subject, "ingress": ingress})
        wait_until(lambda: not self.answered("west-client", "east-web-0"), APPLIED, what="the agent denies west")
        self.assertTrue(self.answered("east-client", "east-web-0"))
        self.fleet.server.policy("web", None)
        by_cidr = {"fromCIDR": list(plan.cluster("west").pod_cidrs)}
        self.fleet.server.policy("web", {**subject, "ingress": [*ingress, by_cidr]})
        wait_until(lambda: self.answered("west-client", "east-web-0"), APPLIED, what="the agent allows west's CIDR")
        before = self.drops("east-1").get("policy_denied", 0)
        self.assertFalse(self.answered("west-web-0", "east-web-0"))
        self.assertGreater(self.drops("east-1")["policy_denied"], before)
        self.fleet.server.policy("web", None)
        for server in ("east-web-0", "east-web-1"):
            wait_until(lambda server=server: self.answered("west-web-0", server), APPLIED, what=f"{server} is open")

    def numbered(self):
        """Of the agents' overlay, and through the gateway both ways."""
        return self.traffic(("east-client3", "east-web-1", pod("east-web-1").ipv4),
                            ("east-client", "west-web-0", pod("west-web-0").ipv4),
                            ("west-client", "east-web-0", pod("east-web-0").ipv6), kinds=SETTLED)

    def test_nothing_is_lost_while_the_agent_is_started_again(self):
        pairs, agent = self.numbered(), self.fleet.agents["node1"]
        self.assertEqual(agent.stop(), 0)
        time.sleep(AFTER)
        agent.start()
        wait_until(lambda: len(agent.ready_pods()) == 3, APPLIED, what="the agent has its pods again")
        time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertEqual(agent.complaints(), [])
        self.assert_all_reached()

    def test_nothing_of_settled_flows_is_lost_while_the_gateway_is_started_again(self):
        pairs = self.numbered()
        wait_until(lambda: self.gateway.status()["handed_down"]["now"] >= 2 * len(SETTLED), 30,
                   what="flows are handed down")
        self.assertEqual(self.gateway.stop(), 0)
        time.sleep(AFTER)
        self.gateway.start()
        self.fleet.wait_peers()
        time.sleep(AFTER)
        self.assert_complete(pairs)
        self.assertEqual(self.gateway.status()["connections"]["start"], "adopted")
        self.assert_all_reached()


class BpfMasquerading(AgentCase):
    """As Neighbour, where the agent's BPF programs masquerade: no rule is needed."""

    hub = AgentHub
    cilium = Neighbour.cilium
    clusters = Neighbour.clusters

    @staticmethod
    def flags(fleet):
        return {**Neighbour.flags(fleet), "enable-bpf-masquerade": True}

    def test_pods_reach_each_other_by_the_agents_overlay_and_by_the_gateway(self):
        self.assertEqual(self.fleet.agents["node1"].tell("GET", "/healthz")["masquerading"]["mode"], "BPF")
        Neighbour.assert_all_reached(self)
        self.assertEqual(self.fleet.gateways["east-1"].status()["problems"], [])


class Geneve(AgentCase):
    """The agent's Geneve is the kernel's device. Where there is none, the agent is healthy by its own word, but it
    only tries again every ten seconds to make that device, and has no overlay until then."""

    @staticmethod
    def flags(fleet):
        return {"tunnel-protocol": "geneve"}

    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.make_fleet()
        cls.addClassCleanup(cls.close_fleet)
        cls.fleet.build()

    def test_where_the_kernel_has_none_the_agent_says_so(self):
        node = self.fleet.node("west", "node1")
        made = node.run(["ip", "link", "add", "probe", "type", "geneve", "external"], check=False)
        if made.returncode == 0:
            node.ip("link del probe")
            self.skipTest("this kernel has Geneve")
        self.fleet.start_agents()
        agent = self.fleet.agents["node1"]
        wait_until(lambda: "creating device cilium_geneve: operation not supported" in agent.log_text(), 120,
                   what="the agent says why it has no datapath")


if __name__ == "__main__":
    unittest.main()
