"""The Fleet hub source against a real API server: objects go in through its API and come out of the source."""

import tempfile
import unittest

import api_extensions
from follower import Follower

NETWORKING = ("networking.fleet.azure.com", "v1alpha1")
CLUSTERS = ("cluster.kubernetes-fleet.io", "v1beta1")


class FleetHub(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(cls.programs.cleanup)
        cls.program = api_extensions.build(cls.programs.name)

    def setUp(self):
        self.hub = api_extensions.ApiServer(self.program)
        self.addCleanup(self.hub.close)
        self.hub.start()
        for kind in ("EndpointSliceExport", "InternalServiceExport", "ServiceImport"):
            self.hub.install(*NETWORKING, kind, True)
        self.hub.install(*CLUSTERS, "MemberCluster", False)

    def put(self, group_version, kind, name_space, name, spec=None, status=None):
        group, version = group_version
        folder = f"/apis/{group}/{version}" + (f"/namespaces/{name_space}" if name_space else "")
        path = f"{folder}/{kind.lower()}s/{name}"
        body = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec or {}}
        if name_space:
            body["metadata"]["namespace"] = name_space
        there = self.hub.request("GET", path)
        if there is None:
            self.hub.request("POST", f"{folder}/{kind.lower()}s", body)
        else:
            self.hub.request("PATCH", path, {"spec": body["spec"]}, "application/merge-patch+json")
        if status is not None:
            self.hub.request("PATCH", path + "/status", {"status": status}, "application/merge-patch+json")

    def export(self, cluster, slice_name, addresses):
        reference = {"clusterId": cluster, "kind": "EndpointSlice", "namespace": "shop", "name": slice_name,
                     "resourceVersion": "1", "generation": 1, "uid": slice_name, "namespacedName": f"shop/{slice_name}"}
        self.put(NETWORKING, "EndpointSliceExport", f"fleet-member-{cluster}", f"{cluster}-shop-{slice_name}-abcde",
                 {"addressType": "IPv4", "endpoints": [{"addresses": [address]} for address in addresses],
                  "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpointSliceReference": reference,
                  "ownerServiceReference": {"namespace": "shop", "name": "cart", "namespacedName": "shop/cart"}})

    def member(self, cluster):
        self.put(CLUSTERS, "MemberCluster", "", cluster, {"heartbeatPeriodSeconds": 60},
                 {"conditions": [{"type": "Joined", "status": "True"}]})
        self.put(NETWORKING, "InternalServiceExport", f"fleet-member-{cluster}", "shop-cart",
                 {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                  "serviceReference": {"clusterId": cluster, "namespace": "shop", "name": "cart"}},
                 {"conditions": [{"type": "Conflict", "status": "False"}]})

    def elect(self, *clusters):
        self.put(NETWORKING, "ServiceImport", "shop", "cart", None,
                 {"clusters": [{"cluster": cluster} for cluster in clusters]})

    def follow(self):
        follower = Follower(self.hub.kubeconfig)
        self.addCleanup(follower.kill)
        api_extensions.wait_for(lambda: follower.synced, "the first list")
        return follower

    def expect(self, follower, *objects):
        api_extensions.wait_for(lambda: follower.objects == set(objects), f"{objects}, not {follower.objects}")

    def test_exports_come_and_go_as_the_hub_has_them(self):
        self.member("west")
        self.export("west", "cart-1", ["10.2.0.5"])
        self.elect("west")
        follower = self.follow()
        west = ("Service west shop/cart", "EndpointSlice west shop/cart-1", "address west /10.2.0.5")
        self.expect(follower, *west)
        self.member("north")
        self.export("north", "cart-7", ["10.3.0.5"])
        self.elect("north", "west")
        north = ("Service north shop/cart", "EndpointSlice north shop/cart-7", "address north /10.3.0.5")
        self.expect(follower, *west, *north)
        self.elect("north")
        self.expect(follower, *north)
        self.assertEqual(follower.close(), 0)

    def test_a_server_that_comes_back_with_other_keys_is_followed_by_difference(self):
        self.member("west")
        self.export("west", "cart-1", ["10.2.0.5"])
        self.export("west", "cart-2", ["10.2.0.6"])
        self.elect("west")
        follower = self.follow()
        api_extensions.wait_for(lambda: len(follower.objects) == 5, "both slices")
        before = len(follower.changes)
        self.hub.stop()
        self.hub.start()
        self.hub.request("DELETE", "/apis/networking.fleet.azure.com/v1alpha1/namespaces/fleet-member-west/"
                                   "endpointsliceexports/west-shop-cart-2-abcde")
        self.expect(follower, "Service west shop/cart", "EndpointSlice west shop/cart-1", "address west /10.2.0.5")
        self.assertEqual(sorted(follower.changes[before:]),
                         ["- EndpointSlice west shop/cart-2", "- address west /10.2.0.6"])

    def test_what_went_while_nobody_looked_is_found_after_a_compaction(self):
        self.member("west")
        self.export("west", "cart-1", ["10.2.0.5"])
        self.export("west", "cart-2", ["10.2.0.6"])
        self.elect("west")
        follower = self.follow()
        api_extensions.wait_for(lambda: len(follower.objects) == 5, "both slices")
        before = len(follower.changes)
        self.hub.door.shut_off()
        self.hub.request("DELETE", "/apis/networking.fleet.azure.com/v1alpha1/namespaces/fleet-member-west/"
                                   "endpointsliceexports/west-shop-cart-2-abcde")
        self.hub.compact()
        self.hub.stop()
        self.hub.start()
        self.assertEqual(len(follower.changes), before)
        self.hub.door.shut = False
        self.expect(follower, "Service west shop/cart", "EndpointSlice west shop/cart-1", "address west /10.2.0.5")
        self.assertEqual(len(follower.changes), before + 2)


if __name__ == "__main__":
    unittest.main()
