"""Our own kinds on an API server: its validation and our decoder must agree on every object."""

import tempfile
import unittest

import api_extensions
from follower import Follower

CLUSTER, GATEWAY, PROFILE = "Cluster", "Gateway", "CrossClusterNetworkProfile"
PLURALS = {CLUSTER: "clusters", GATEWAY: "gateways", PROFILE: "crossclusternetworkprofiles"}
A_CLUSTER = {"id": 1, "podCIDRs": ["10.1.0.0/16"]}
A_GATEWAY = {"cluster": "east", "underlayAddress": "192.0.2.1"}


def without(spec, key):
    return {name: value for name, value in spec.items() if name != key}


def member(**values):
    return {"clusters": ["east", "west"], "members": [{"cluster": "east", **values}]}


VALID = (
    (CLUSTER, A_CLUSTER),
    (CLUSTER, {**A_CLUSTER, "id": 511, "podCIDRs": []}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["10.1.0.0/16", "fd00:1::/48", "10.1.0.0/16"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["FD00:1::/48", "0.0.0.0/0", "10.1.2.3/32"]}),
    (CLUSTER, {**A_CLUSTER, "nodeCIDRs": ["192.0.2.0/24"], "encapsulation": "none"}),
    (CLUSTER, {**A_CLUSTER, "encapsulation": "geneve"}),
    (GATEWAY, A_GATEWAY),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "2001:DB8::1"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "127.0.0.1"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "fe80::1"}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": ["192.0.2.1"]}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": ["2001:db8::1", "192.0.2.1"]}),
    (GATEWAY, {**A_GATEWAY, "port": 65535, "encapsulation": "geneve"}),
    (GATEWAY, {**A_GATEWAY, "cluster": "0"}),
    (PROFILE, {"clusters": []}),
    (PROFILE, {"clusters": ["1", "12e3", "true", "null"]}),
    (PROFILE, {"clusters": ["east", "west"], "maxConnectedClusters": 511, "vipPools": ["10.200.0.0/24"]}),
    (PROFILE, member()),
    (PROFILE, member(podCIDRs=[], vipPools=["10.201.0.0/24"], endpoints=0, services=1, megabytes=2,
                     gateways=100000000)),
    (PROFILE, {"clusters": [f"c{number}" for number in range(511)]}),
    (PROFILE, member(podCIDRs=["10.244.0.0/16", "fd00:244::/48"], aliasCIDRs=["fd64::/48", "100.64.0.0/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16", "fd00:244::/48"], aliasCIDRs=["100.64.0.0/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16", "10.245.0.0/24"], aliasCIDRs=["100.64.0.0/16", "10.245.0.0/24"])),
    (PROFILE, member(aliasCIDRs=[])),
    (PROFILE, member(podCIDRs=[f"10.{n >> 8}.{n & 255}.0/24" for n in range(1024)],
                     aliasCIDRs=[f"100.{64 + (n >> 8)}.{n & 255}.0/24" for n in range(1024)])),
    (PROFILE, {"clusters": [f"c{number}" for number in range(511)], "members": [
        {"cluster": f"c{number}", "podCIDRs": ["10.244.0.0/24"],
         "aliasCIDRs": [f"100.{64 + (number >> 8)}.{number & 255}.0/24"]}
        for number in range(511)]}),
)
INVALID = (
    (CLUSTER, without(A_CLUSTER, "id")),
    (CLUSTER, without(A_CLUSTER, "podCIDRs")),
    (CLUSTER, {**A_CLUSTER, "id": 0}),
    (CLUSTER, {**A_CLUSTER, "id": 512}),
    (CLUSTER, {**A_CLUSTER, "id": "1"}),
    (CLUSTER, {**A_CLUSTER, "id": 1.5}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["10.1.2.3/16"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["10.1.2.3"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["10.1.0.0/33"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["::ffff:10.1.0.0/16"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["::ffff:10.1.0.0/112"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["10.0.0.0/08"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["0.0.0.0/00"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": ["fd00::/048"]}),
    (CLUSTER, {**A_CLUSTER, "podCIDRs": "10.1.0.0/16"}),
    (CLUSTER, {**A_CLUSTER, "nodeCIDRs": ["here"]}),
    (CLUSTER, {**A_CLUSTER, "encapsulation": "gre"}),
    (CLUSTER, {**A_CLUSTER, "podCidrs": []}),
    (GATEWAY, without(A_GATEWAY, "cluster")),
    (GATEWAY, without(A_GATEWAY, "underlayAddress")),
    (GATEWAY, {**A_GATEWAY, "cluster": "East"}),
    (GATEWAY, {**A_GATEWAY, "cluster": True}),
    (GATEWAY, {**A_GATEWAY, "cluster": 0}),
    (GATEWAY, {**A_GATEWAY, "cluster": "a" * 33}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "0.0.0.0"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "224.0.0.1"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "255.255.255.255"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "ff02::1"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "::"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "::ffff:192.0.2.1"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "fe80::1%eth0"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "192.0.2.01"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddress": "gateway.example"}),
    (GATEWAY, {**A_GATEWAY, "underlayAddresses": ["192.0.2.1"]}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": []}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": ["192.0.2.1", "192.0.2.2"]}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": ["192.0.2.1", "2001:db8::1", "192.0.2.2"]}),
    (GATEWAY, {"cluster": "east", "underlayAddresses": "192.0.2.1"}),
    (GATEWAY, {**A_GATEWAY, "port": 0}),
    (GATEWAY, {**A_GATEWAY, "port": 65536}),
    (GATEWAY, {**A_GATEWAY, "encapsulation": "none"}),
    (PROFILE, {}),
    (PROFILE, {"clusters": "east"}),
    (PROFILE, {"clusters": [1]}),
    (PROFILE, {"clusters": ["east", False]}),
    (PROFILE, {"clusters": ["east", "east"]}),
    (PROFILE, {"clusters": ["east_1"]}),
    (PROFILE, {"clusters": ["east"], "maxConnectedClusters": 300}),
    (PROFILE, {"clusters": ["east"], "vipPools": ["10.200.0.1/24"]}),
    (PROFILE, {"clusters": [f"c{number}" for number in range(512)]}),
    (PROFILE, member(cluster="north")),
    (PROFILE, member(endpoints=-1)),
    (PROFILE, member(services=100000001)),
    (PROFILE, member(pods=1)),
    (PROFILE, member(aliasCIDRs=["100.64.0.0/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16"], aliasCIDRs=["100.64.0.0/16", "100.65.0.0/16"])),
    (PROFILE, {"clusters": ["east"], "members": [{}]}),
    (PROFILE, {"clusters": ["east"], "members": [{"cluster": "east"}, {"cluster": "east"}]}),
)
# What a server cannot afford to look for in lists of a thousand blocks for each of 511 clusters.
BEYOND_THE_SERVER = (
    (PROFILE, member(podCIDRs=["10.244.0.0/16"], aliasCIDRs=["100.64.0.0/17"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16"], aliasCIDRs=["fd64::/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16", "10.245.0.0/16"], aliasCIDRs=["100.64.0.0/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16", "10.245.0.0/24"], aliasCIDRs=["100.64.0.0/24", "100.65.0.0/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16"], aliasCIDRs=["100.64.0.1/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.1/16"])),
    (PROFILE, member(podCIDRs=["10.244.0.0/16"], aliasCIDRs=["224.1.0.0/16"])),
    (PROFILE, {"clusters": ["east", "west"], "members": [
        {"cluster": name, "podCIDRs": ["10.244.0.0/16"], "aliasCIDRs": ["100.64.0.0/16"]}
        for name in ("east", "west")]}),
)
NAMES = ((CLUSTER, "a" * 32, True), (CLUSTER, "a" * 33, False), (CLUSTER, "a.b", False),
         (GATEWAY, "a" * 63, True), (GATEWAY, "a" * 64, False), (GATEWAY, "a.b", True), (PROFILE, "a.b", True))


def cases():
    """(kind, name, spec, whether the server takes it, whether the decoder does)"""
    for title, group, answers in (("valid", VALID, (True, True)), ("invalid", INVALID, (False, False)),
                                  ("beyond", BEYOND_THE_SERVER, (True, False))):
        for number, (kind, spec) in enumerate(group):
            yield kind, f"{title}-{number}", spec, *answers
    specs = {CLUSTER: A_CLUSTER, GATEWAY: A_GATEWAY, PROFILE: {"clusters": ["east"]}}
    for kind, name, answer in NAMES:
        yield kind, name, specs[kind], answer, answer


def manifest(kind, name, spec):
    return {"apiVersion": "isthmus.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class CustomResources(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(programs.cleanup)
        cls.program = api_extensions.build(programs.name)

    def server(self):
        server = api_extensions.ApiServer(self.program)
        self.addCleanup(server.close)
        server.start()
        return server

    def test_the_server_and_the_decoder_accept_the_same_objects(self):
        server, anything = self.server(), self.server()
        server.install_ours()
        for kind, plural in PLURALS.items():
            anything.install("isthmus.io", "v1alpha1", kind, False, plural)
        for kind, name, spec, answer, _ in cases():
            path = f"/apis/isthmus.io/v1alpha1/{PLURALS[kind]}"
            with self.subTest(kind=kind, spec=spec, name=name):
                try:
                    server.request("POST", path + "?fieldValidation=Strict", manifest(kind, name, spec))
                    accepted = True
                except RuntimeError as error:
                    self.assertIn(": 4", str(error))
                    accepted = False
                self.assertEqual(accepted, answer, "the server")
            anything.request("POST", path, manifest(kind, name, spec))
        for kind in PLURALS:  # the last of its kind: what is before it has been read when it has
            anything.request("POST", f"/apis/isthmus.io/v1alpha1/{PLURALS[kind]}", manifest(
                kind, "zz-last", {CLUSTER: A_CLUSTER, GATEWAY: A_GATEWAY, PROFILE: {"clusters": ["east"]}}[kind]))
        follower = Follower(anything.kubeconfig, "east")
        self.addCleanup(follower.kill)
        last = {f"{kind}  /zz-last" for kind in PLURALS}
        api_extensions.wait_for(lambda: follower.synced and last <= follower.objects, "all objects are read")
        for kind, name, spec, _, answer in cases():
            with self.subTest(kind=kind, spec=spec, name=name):
                self.assertEqual(f"{kind}  /{name}" in follower.objects, answer, "the decoder")


if __name__ == "__main__":
    unittest.main()
