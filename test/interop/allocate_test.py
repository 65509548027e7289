"""`isthmus allocate` at a real kube-apiserver: VIPs for Services, by several at once and with RBAC."""

import json
import os
import subprocess
import tempfile
import unittest

import api_extensions
import kube_apiserver
from object_status_test import PROGRAM, ours

USER = "allocator"
POOL = "10.200.0.0/28"  # 14 addresses


VIP, WANTED = "isthmus.io/vip", "isthmus.io/vip-wanted"
SERVICES = "/api/v1/namespaces/default/services"
ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"


def service(name, annotations):
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"ports": [{"port": 80}]}}


class AllocateCase(unittest.TestCase):
    """A server with our kinds, and a user of it with `rights`."""

    rights = [{"apiGroups": [""], "resources": ["services"], "verbs": ["list", "patch"]},
              {"apiGroups": ["isthmus.io"], "verbs": ["list"],
               "resources": ["clusters", "gateways", "crossclusternetworkprofiles"]},
              {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list"]}]

    @classmethod
    def setUpClass(cls):
        programs = tempfile.TemporaryDirectory(prefix="ist-interop-")
        cls.addClassCleanup(programs.cleanup)
        cls.program = kube_apiserver.build(programs.name)

    def setUp(self):
        self.hub = kube_apiserver.KubeApiServer(self.program)
        self.addCleanup(self.hub.close)
        self.hub.start()
        self.hub.install_ours()
        with open(self.hub.kubeconfig, encoding="utf-8") as file:
            access = json.load(file)
        access["users"][0]["user"]["as"] = USER
        self.kubeconfig = os.path.join(self.hub.folder, "allocator")
        with open(self.kubeconfig, "w", encoding="utf-8") as file:
            json.dump(access, file)
        self.grant(self.rights)
        self.bind()

    def rbac(self, kind, **more):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "allocate"}, **more}

    def grant(self, rules):
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        self.hub.request("DELETE", path + "/allocate")
        self.hub.request("POST", path, self.rbac("ClusterRole", rules=rules))

    def bind(self):
        self.hub.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", self.rbac(
            "ClusterRoleBinding", subjects=[{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "allocate"}))

    def started(self, *words):
        return subprocess.Popen([PROGRAM, "allocate", *words, "--kubeconfig", self.kubeconfig],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def answer(process):
        """(exit code, standard output, standard error)"""
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


class Allocate(AllocateCase):
    def create(self, *names, **annotations):
        for name in names:
            self.hub.request("POST", SERVICES, service(name, {
                f"isthmus.io/{key.replace('_', '-')}": text for key, text in annotations.items()}))

    def annotations(self, name):
        found = self.hub.request("GET", f"{SERVICES}/{name}")
        return found["metadata"].get("annotations", {})

    def refuse(self, expression):
        """A policy of the server's by which Services are changed only where that is true."""
        policy = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "tickets"}}
        self.hub.request("POST", ADMISSION + "ies", {**policy, "kind": "ValidatingAdmissionPolicy", "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"],
                                                    "resources": ["services"]}]},
            "validations": [{"expression": expression, "message": "VIPs need a ticket"}]}})
        self.hub.request("POST", ADMISSION + "ybindings", {
            **policy, "kind": "ValidatingAdmissionPolicyBinding",
            "spec": {"policyName": "tickets", "validationActions": ["Deny"]}})

    def refuses(self):
        """Whether the policy holds, for Service probe."""
        try:
            self.hub.request("PATCH", f"{SERVICES}/probe?dryRun=All", {"metadata": {"annotations": {VIP: "x"}}},
                             "application/merge-patch+json")
        except RuntimeError as error:
            return "VIPs need a ticket" in str(error)
        return False

    def start(self, name, *words):
        return self.started(f"default/{name}", *words)

    def allocate(self, name, *words):
        return self.answer(self.start(name, *words))

    def test_a_claim_is_made_once_and_says_the_same_again(self):
        self.create("web", "cart")
        code, out, err = self.allocate("web", "--pool", POOL, "--pool", "fd00:200::/120", "--dry-run")
        self.assertEqual((code, out), (0, "10.200.0.1\nfd00:200::1\n"), err)
        self.assertEqual(self.annotations("web"), {})
        for _ in range(2):
            code, out, err = self.allocate("web", "--pool", POOL, "--pool", "fd00:200::/120")
            self.assertEqual((code, out), (0, "10.200.0.1\nfd00:200::1\n"), err)
            self.assertEqual(self.annotations("web"), {"isthmus.io/vip": "10.200.0.1,fd00:200::1"})
        self.assertEqual(self.allocate("cart", "--pool", POOL)[1], "10.200.0.2\n")
        code, _, err = self.allocate("cart", "--pool", "10.201.0.0/24")
        self.assertEqual(code, 1)
        self.assertIn("already claims 10.200.0.2, which does not match the pools", err)

    def test_pools_are_those_that_a_profile_gives_the_cluster(self):
        self.create("web")
        code, _, err = self.allocate("web", "--cluster", "east")
        self.assertEqual(code, 1)
        self.assertIn("no CrossClusterNetworkProfile has VIP pools of cluster \"east\"", err)
        self.hub.request("POST", "/apis/isthmus.io/v1alpha1/crossclusternetworkprofiles", ours(
            "CrossClusterNetworkProfile", "fleet", clusters=["east"],
            members=[{"cluster": "east", "vipPools": ["10.203.0.0/24"]}]))
        self.assertEqual(self.allocate("web", "--cluster", "east")[:2], (0, "10.203.0.1\n"))

    def test_a_pool_within_a_cluster_is_refused(self):
        self.create("web")
        self.hub.request("POST", "/apis/isthmus.io/v1alpha1/clusters", ours(
            "Cluster", "east", id=1, podCIDRs=["10.200.0.0/16"]))
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("overlaps 10.200.0.0/16 of cluster east", err)

    def test_many_at_once_never_get_one_address_twice(self):
        names = [f"web-{number}" for number in range(14)]  # as many as there are addresses
        self.create(*names)
        started = [(name, self.start(name, "--pool", POOL)) for name in names for _ in range(2)]
        answers = {}
        for name, process in started:
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err)
            answers.setdefault(name, set()).add(out.strip())
        for name in names:
            self.assertEqual({self.annotations(name)["isthmus.io/vip"]}, answers[name])
            self.assertEqual(list(self.annotations(name)), ["isthmus.io/vip"])
        self.assertEqual(len(set.union(*answers.values())), len(names), answers)
        self.create("one-more")
        code, _, err = self.allocate("one-more", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("no free IPv4 address is left in the pools", err)

    def test_a_claim_that_is_spoilt_in_part_is_still_one(self):
        """A gateway keeps the Service as it was before, with the claim that it had then."""
        self.create("edited", vip="10.200.0.1,fd00:200::zz")
        self.create("mapped", vip="::ffff:10.200.0.2")
        self.hub.install("multicluster.x-k8s.io", "v1alpha1", "ServiceImport", True)
        self.hub.request("POST", "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceimports", {
            "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport",
            "metadata": {"name": "imported", "namespace": "default"},
            "spec": {"type": "ClusterSetIP", "ports": [{"port": 80}], "ips": ["10.200.0.3", "nowhere"]}})
        self.create("web")
        code, out, err = self.allocate("web", "--pool", POOL)
        self.assertEqual((code, out), (0, "10.200.0.4\n"), err)
        for words in ('Service default/edited: annotation isthmus.io/vip is "fd00:200::zz", not an IP address',
                      'Service default/mapped: ', 'ServiceImport default/imported: spec.ips is "nowhere"'):
            self.assertIn("isthmus: note: " + words, err)

    def test_a_service_whose_own_claim_is_spoilt_gets_no_other(self):
        for name, text in (("edited", "10.200.0.1,fd00:200::zz"), ("elsewhere", "10.209.9.9,oops"), ("empty", "")):
            with self.subTest(name):
                self.create(name, vip=text)
                code, out, err = self.allocate(name, "--pool", POOL)
                self.assertEqual((code, out), (1, ""), err)
                self.assertIn(f"Service default/{name}: annotation isthmus.io/vip is ", err)
                self.assertIn("correct it, or remove it", err)
                self.assertEqual(self.annotations(name), {VIP: text})

    def test_a_wish_does_not_outlive_an_error(self):
        """The server takes wishes and no claims."""
        self.refuse(f"!has(object.metadata.annotations) || !('{VIP}' in object.metadata.annotations)")
        self.create("probe", "a", "b", "c")
        api_extensions.wait_for(self.refuses, "the policy")
        for name in ("a", "b", "c"):  # for two addresses
            code, _, err = self.allocate(name, "--pool", "10.200.0.0/30")
            self.assertEqual(code, 1)
            self.assertIn("VIPs need a ticket", err)
            self.assertNotIn("could not be withdrawn", err)
            self.assertEqual(self.annotations(name), {})

    def test_a_wish_that_cannot_be_withdrawn_is_named(self):
        """The server takes wishes, and nothing that takes one back."""
        self.refuse(f"!has(oldObject.metadata.annotations) || !('{WANTED}' in oldObject.metadata.annotations)")
        self.create("probe", vip_wanted="x")
        self.create("web")
        api_extensions.wait_for(self.refuses, "the policy")
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("VIPs need a ticket", err)
        self.assertIn(f"annotation {WANTED}: 10.200.0.1 could not be withdrawn", err)
        self.assertEqual(self.annotations("web"), {WANTED: "10.200.0.1"})

    def test_a_wish_that_stands_is_named_and_goes_with_its_service_claim(self):
        self.create("killed", vip_wanted="10.200.0.1,fd00:200::1")
        self.create("other", vip="10.200.0.2")
        self.create("web")
        code, _, err = self.allocate("web", "--pool", "10.200.0.0/30")
        self.assertEqual(code, 1)
        self.assertIn(f"remove what one that was killed has left, the annotation {WANTED}: "
                      "10.200.0.1 of default/killed", err)
        self.assertNotIn("fd00:200::1", err)
        self.assertEqual(self.allocate("killed", "--pool", "10.200.0.0/30")[:2], (0, "10.200.0.1\n"))
        self.assertEqual(self.annotations("killed"), {VIP: "10.200.0.1"})
        self.create("both", vip="10.200.0.8", vip_wanted="10.200.0.9")
        self.assertEqual(self.allocate("both", "--pool", "10.200.0.8/30")[:2], (0, "10.200.0.8\n"))
        self.assertEqual(self.annotations("both"), {VIP: "10.200.0.8"})

    def test_a_pool_that_nothing_can_be_held_against_is_noted(self):
        self.create("web", "cart", "more")
        words = "has no Cluster of isthmus.io with address blocks"
        self.assertIn(words, self.allocate("web", "--pool", POOL)[2])
        self.hub.request("POST", "/apis/isthmus.io/v1alpha1/clusters", ours("Cluster", "east", id=1,
                                                                            podCIDRs=["10.1.0.0/16"]))
        self.assertNotIn(words, self.allocate("cart", "--pool", POOL)[2])
        for plural in ("clusters", "gateways", "crossclusternetworkprofiles"):
            self.hub.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.isthmus.io")
        api_extensions.wait_for(lambda: "isthmus.io" not in [
            group["name"] for group in self.hub.request("GET", "/apis")["groups"]], "the kinds' end")
        code, out, err = self.allocate("more", "--pool", POOL)
        self.assertEqual((code, out), (0, "10.200.0.3\n"), err)
        self.assertIn(words, err)

    def test_a_missing_right_or_service_is_named(self):
        self.create("web")
        self.grant([{"apiGroups": [""], "resources": ["services"], "verbs": ["patch"]}])
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("grant list on services", err)
        self.grant([{"apiGroups": ["", "isthmus.io", "multicluster.x-k8s.io"], "resources": ["*"], "verbs": ["list"]}])
        code, _, err = self.allocate("web", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("grant patch on services in namespace default", err)
        self.assertEqual(self.annotations("web"), {})
        code, _, err = self.allocate("none", "--pool", POOL)
        self.assertEqual(code, 1)
        self.assertIn("there is no Service default/none", err)


if __name__ == "__main__":
    unittest.main()
