"""Cilium's agent with Geneve as a gateway's peer, in a virtual machine (kernels_test.py) whose kernel has Geneve.

East has a gateway; west's node has the agent, which does DSR by Geneve, and no gateway: its hub says of none.
"""

import unittest

import agent_test
from fleet_case import addresses, plan, pod, url, wait_until
from fleet.mesh import Mesh
from fleet.traffic import curl

# Without hardware help, everything is slow.
agent_test.BYTES = 50000
CLIENT, BACKEND = pod("east-client"), pod("west-web-0")


class AgentsMesh(Mesh):
    def state(self, cluster):
        return {key: value for key, value in super().state(cluster).items()
                if cluster.name != "west" or "/services/" not in key}


class Geneve(agent_test.Remote):
    hub = AgentsMesh
    settings = {"services": "{dsr: geneve}"}

    @classmethod
    def make_fleet(cls):
        cls.addClassCleanup(setattr, plan, "encapsulation", plan.encapsulation)
        plan.encapsulation = "geneve"
        return super().make_fleet()

    @staticmethod
    def flags(fleet):
        return {**agent_test.Remote.flags(fleet), "tunnel-protocol": "geneve", "kube-proxy-replacement": True,
                "bpf-lb-mode": "dsr", "bpf-lb-dsr-dispatch": "geneve"}

    @classmethod
    def prepare(cls):
        super().prepare()
        hub, gateway = cls.fleet.hub, cls.fleet.gateways["east-1"]
        east, west = plan.cluster("east"), plan.cluster("west")
        cls.vips = cls.fleet.allocate("shop/far", "east")
        hub.write_service(east, "far", [])
        hub.write_service(west, "far", [BACKEND])
        cls.fleet.wait_backends("shop/far", addresses([BACKEND]), gateways=[gateway])

    def test_a_backend_answers_in_the_name_of_the_service(self):
        """Its node is told by Cilium's option what the client has asked: the gateway translates no answer back."""
        gateway = self.fleet.gateways["east-1"]
        for vip, address in zip(self.vips, (CLIENT.ipv4, CLIENT.ipv6)):
            with self.subTest(vip):
                status, body = curl(self.fleet.pod("east", "client"), url(vip, 80), timeout=10)
                rows = gateway.query("connections", "--address", vip)["connections"]
                self.assertEqual((status, body.split()), (0, [BACKEND.full_name, address]), (rows, self.drops()))


if __name__ == "__main__":
    unittest.main()
