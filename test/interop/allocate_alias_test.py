"""`isthmus allocate --alias` at a real kube-apiserver: aliases for clusters, by several at once and with RBAC."""

import unittest

from allocate_test import ADMISSION, SERVICES, AllocateCase, service
import api_extensions
from object_status_test import ours

FLEET = "/apis/isthmus.io/v1alpha1"
PROFILES = f"{FLEET}/crossclusternetworkprofiles"
POOLS = ("--pool", "100.64.0.0/10", "--pool", "fd64::/32")
WANTED = "isthmus.io/alias-wanted"
PODS = ["10.244.0.0/16", "fd00:244::/48"]


class AllocateAlias(AllocateCase):
    rights = [{"apiGroups": [""], "resources": ["services", "nodes"], "verbs": ["list"]},
              {"apiGroups": ["isthmus.io"], "verbs": ["list"], "resources": ["clusters", "gateways"]},
              {"apiGroups": ["isthmus.io"], "verbs": ["list", "create", "patch"],
               "resources": ["crossclusternetworkprofiles"]},
              {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list"]}]

    def cluster(self, name, number, pods=None, **more):
        spec = {"id": number, "podCIDRs": PODS if pods is None else pods, **more}
        self.hub.request("POST", f"{FLEET}/clusters", ours("Cluster", name, **spec))

    def repod(self, name, pods):
        self.hub.request("PATCH", f"{FLEET}/clusters/{name}", {"spec": {"podCIDRs": pods}},
                         "application/merge-patch+json")

    def allocate(self, name, *words):
        return self.answer(self.started("--alias", name, *(words or POOLS)))

    def claim(self, name):
        return self.hub.request("GET", f"{PROFILES}/alias-{name}")

    def members(self, name):
        return self.claim(name)["spec"].get("members")

    def test_a_claim_is_made_once_and_says_the_same_again(self):
        self.cluster("south", 1)
        self.cluster("north", 2)
        code, out, err = self.allocate("south", *POOLS, "--dry-run")
        self.assertEqual((code, out.split()), (0, ["100.64.0.0/16", "fd64::/48"]), err)
        self.assertEqual(self.hub.request("GET", PROFILES)["items"], [])
        for _ in range(2):
            code, out, err = self.allocate("south")
            self.assertEqual((code, out.split()), (0, ["100.64.0.0/16", "fd64::/48"]), err)
            self.assertEqual(self.claim("south")["spec"], {"clusters": ["south"], "members": [
                {"cluster": "south", "podCIDRs": PODS, "aliasCIDRs": ["100.64.0.0/16", "fd64::/48"]}]})
            self.assertNotIn("annotations", self.claim("south")["metadata"])
        self.assertIn("already claimed in", err)
        self.assertEqual(self.allocate("north")[1].split(), ["100.65.0.0/16", "fd64:0:1::/48"])

    def test_pods_that_are_added_get_the_missing_blocks_only(self):
        self.cluster("south", 1, PODS[:1])
        self.assertEqual(self.allocate("south")[1].split(), ["100.64.0.0/16"])
        self.repod("south", ["10.245.0.0/24", *PODS])
        code, out, err = self.allocate("south")
        self.assertEqual((code, out.split()), (0, ["100.65.0.0/24", "100.64.0.0/16", "fd64::/48"]), err)
        self.assertEqual(self.members("south"), [{
            "cluster": "south", "podCIDRs": ["10.244.0.0/16", "10.245.0.0/24", "fd00:244::/48"],
            "aliasCIDRs": ["100.64.0.0/16", "100.65.0.0/24", "fd64::/48"]}])

    def test_nothing_of_a_block_is_anybody_elses(self):
        self.cluster("south", 1, PODS[:1])
        self.cluster("east", 2, ["100.64.0.0/16"], nodeCIDRs=["100.65.7.0/24"])
        self.hub.request("POST", f"{FLEET}/gateways", ours("Gateway", "east-1", cluster="east",
                                                           underlayAddress="100.66.0.1"))
        self.hub.request("POST", PROFILES, ours(
            "CrossClusterNetworkProfile", "fleet", clusters=["east", "south"], vipPools=["100.67.0.0/24"],
            members=[{"cluster": "east", "vipPools": ["100.68.9.0/24"]}]))
        self.hub.request("POST", SERVICES, service("web", {"isthmus.io/vip": "100.69.0.1",
                                                           "isthmus.io/vip-wanted": "100.70.0.1"}))
        self.hub.request("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        self.hub.request("PATCH", "/api/v1/nodes/n1/status", {"status": {
            "addresses": [{"type": "InternalIP", "address": "100.71.0.1"}]}}, "application/merge-patch+json")
        code, out, err = self.allocate("south")
        self.assertEqual((code, out.split()), (0, ["100.72.0.0/16"]), err)

    def test_many_at_once_never_get_one_block_twice(self):
        names = [f"c{number}" for number in range(8)]  # as many as there are blocks
        for number, name in enumerate(names, 1):
            self.cluster(name, number, PODS[:1])
        pool = ("--pool", "100.64.0.0/13")
        started = [(name, self.started("--alias", name, *pool)) for name in names for _ in range(2)]
        answers = {}
        for name, process in started:
            code, out, err = self.answer(process)
            self.assertEqual(code, 0, err)
            answers.setdefault(name, set()).add(out.strip())
        for name in names:
            self.assertEqual({self.members(name)[0]["aliasCIDRs"][0]}, answers[name])
            self.assertNotIn("annotations", self.claim(name)["metadata"])
        self.assertEqual(len(set.union(*answers.values())), len(names), answers)
        self.cluster("one-more", 9, PODS[:1])
        code, _, err = self.allocate("one-more", *pool)
        self.assertEqual(code, 1)
        self.assertIn("no free IPv4 block as large as 10.244.0.0/16 is left in the pools", err)

    def test_a_wish_does_not_outlive_an_error(self):
        """The server takes wishes and no claims."""
        policy = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "tickets"}}
        self.hub.request("POST", ADMISSION + "ies", {**policy, "kind": "ValidatingAdmissionPolicy", "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["isthmus.io"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["crossclusternetworkprofiles"]}]},
            "validations": [{"expression": "!has(object.spec.members)", "message": "aliases need a ticket"}]}})
        self.hub.request("POST", ADMISSION + "ybindings", {
            **policy, "kind": "ValidatingAdmissionPolicyBinding",
            "spec": {"policyName": "tickets", "validationActions": ["Deny"]}})

        def refuses():
            try:
                self.hub.request("POST", PROFILES + "?dryRun=All", ours(
                    "CrossClusterNetworkProfile", "probe", clusters=["probe"], members=[{"cluster": "probe"}]))
            except RuntimeError as error:
                return "aliases need a ticket" in str(error)
            return False
        api_extensions.wait_for(refuses, "the policy")
        for number, name in enumerate(("a", "b", "c"), 1):
            self.cluster(name, number, PODS[:1])
            code, _, err = self.allocate(name, "--pool", "100.64.0.0/16")
            self.assertEqual(code, 1)
            self.assertIn("aliases need a ticket", err)
            self.assertNotIn("could not be withdrawn", err)
            self.assertEqual(self.claim(name)["spec"], {"clusters": [name]})
            self.assertNotIn("annotations", self.claim(name)["metadata"])

    def test_a_wish_that_stands_is_named_and_goes_with_its_own_claim(self):
        for number, name in enumerate(("killed", "other"), 1):
            self.cluster(name, number, PODS[:1])
        profile = ours("CrossClusterNetworkProfile", "alias-killed", clusters=["killed"])
        profile["metadata"]["annotations"] = {WANTED: "100.64.0.0/16"}
        self.hub.request("POST", PROFILES, profile)
        pool = ("--pool", "100.64.0.0/16")
        code, _, err = self.allocate("other", *pool)
        self.assertEqual(code, 1)
        self.assertIn(f"remove what one that was killed has left, the annotation {WANTED}: "
                      "100.64.0.0/16 of alias-killed", err)
        self.assertEqual(self.allocate("killed", *pool)[:2], (0, "100.64.0.0/16\n"))
        self.assertNotIn("annotations", self.claim("killed")["metadata"])

    def test_a_missing_right_or_cluster_is_named(self):
        code, _, err = self.allocate("south")
        self.assertEqual(code, 1)
        self.assertIn('there is no cluster "south"', err)
        self.cluster("south", 1)
        rights = {"clusters": "isthmus.io", "crossclusternetworkprofiles": "isthmus.io", "services": "", "nodes": ""}
        for missing, group in rights.items():
            with self.subTest(missing):
                self.grant([{"apiGroups": [of], "resources": [name], "verbs": ["list", "create", "patch"]}
                            for name, of in rights.items() if name != missing] +
                           [{"apiGroups": ["isthmus.io"], "resources": ["gateways"], "verbs": ["list"]},
                            self.rights[-1]])
                code, _, err = self.allocate("south")
                self.assertEqual(code, 1)
                self.assertIn(f"grant list on {missing}" + (f" of {group}" if group else ""), err)
        for verb in ("create", "patch"):
            with self.subTest(verb):
                self.grant([{**rule, "verbs": [each for each in rule["verbs"] if each != verb]}
                            for rule in self.rights])
                code, _, err = self.allocate("south")
                self.assertEqual(code, 1)
                self.assertIn(f"grant {verb} on crossclusternetworkprofiles of isthmus.io", err)


if __name__ == "__main__":
    unittest.main()
