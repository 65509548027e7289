"""The Fleet hub source against a real API server: objects created through the API must come out of the source."""

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

    def put(self, group_version, kind, ns, name, spec=None, status=None):
        group, version = group_version
        folder = f"/apis/{group}/{version}" + (f"/namespaces/{ns}" if ns else "")
        path = f"{folder}/{kind.lower()}s/{name}"
        body = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec or {}}
        if ns:
            body["metadata"]["namespace"] = ns
        current = self.hub.request("GET", path)
        if current is None:
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
        api_extensions.wait_for(lambda: follower.objects == set(objects), f"objects {objects}; last {follower.objects}")

    def test_exports_are_added_and_removed(self):
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

    def test_only_differences_are_applied_after_a_restart_with_new_credentials(self):
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

    def test_deletions_during_an_outage_are_found_after_a_compaction(self):
        self.member("west")
        self.export("west", "cart-1", ["10.2.0.5"])
        self.export("west", "cart-2", ["10.2.0.6"])
        self.elect("west")
        follower = self.follow()
        api_extensions.wait_for(lambda: len(follower.objects) == 5, "both slices")
        before = len(follower.changes)
        self.hub.proxy.block()
        self.hub.request("DELETE", "/apis/networking.fleet.azure.com/v1alpha1/namespaces/fleet-member-west/"
                                   "endpointsliceexports/west-shop-cart-2-abcde")
        self.hub.compact()
        self.hub.stop()
        self.hub.start()
        self.assertEqual(len(follower.changes), before)
        self.hub.proxy.unblock()
        self.expect(follower, "Service west shop/cart", "EndpointSlice west shop/cart-1", "address west /10.2.0.5")
        self.assertEqual(len(follower.changes), before + 2)


if __name__ == "__main__":
    unittest.main()
